"""Hinges that cross their threshold inside a batch: largest d singled out, equals counted, else a series."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from streams.attribution.certificates import MAX_SINGLED_OUT, certify
from streams.attribution.exact import enumerate_values
from streams.attribution.games import CountedGame, SumGame
from streams.attribution.series import hinge_series
from streams.attribution.trace import totals

__all__ = ["ridge_shares"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_FEW = 10
"""Players up to which 2^n sums cost less than the series."""


def ridge_shares(d: Floats, starts: Ints, threshold: float) -> tuple[Floats, Floats, int]:
    """Shapley values of max(0, Σd − threshold), segment by segment of `d` (N,) beginning at `starts` (T,).

    Returns values (N,), error estimates (N,) (0 where exact) and how many segments needed a series.
    """
    values = np.zeros(d.size)
    errors = np.zeros(d.size)
    series = 0
    ends = np.append(starts[1:], d.size)
    certified = _largest_singled_out(d, starts, ends, threshold, values)
    for start, end in zip(starts[~certified].tolist(), ends[~certified].tolist(), strict=True):
        part = d[start:end]
        shares = _counted(part, threshold)
        if shares is None and part.size <= _FEW:
            shares = enumerate_values(CountedGame(hinge_game(part, threshold), part.size))
        if shares is None:
            shares, errors[start:end] = hinge_series(part, threshold)
            series += 1
        values[start:end] = shares
    return values, errors, series


def hinge_game(d: Floats, threshold: float) -> SumGame:
    """The hinge as a game."""
    return SumGame(d[:, None], lambda sums: np.maximum(0.0, sums[..., 0] - threshold))


def _largest_singled_out(
    d: Floats, starts: Ints, ends: Ints, threshold: float, values: Floats
) -> NDArray[np.bool_]:
    """Certify every segment with its six largest |d| singled out; fill `values` where that is a proof."""
    segment = np.repeat(np.arange(starts.size), ends - starts)
    order = np.lexsort((-np.abs(d), segment))
    rank = np.empty(d.size, np.int64)
    rank[order] = np.arange(d.size) - np.repeat(starts, ends - starts)
    large = rank < MAX_SINGLED_OUT
    singled = np.zeros((starts.size, MAX_SINGLED_OUT))
    singled[segment[large], rank[large]] = d[large]
    rest = np.where(large, 0.0, d)
    positive = totals(segment, np.maximum(rest, 0.0), starts.size)
    negative = totals(segment, np.minimum(rest, 0.0), starts.size)
    certified, slope, shares = certify(singled, positive, negative, threshold)
    values[:] = np.where(large, shares[segment, np.minimum(rank, MAX_SINGLED_OUT - 1)], slope[segment] * d)
    values[~certified[segment]] = 0.0
    return certified


def _counted(d: Floats, threshold: float) -> Floats | None:
    """Exact values where all but a few players are equal: only how many of them are in matters.

    With p others and m equals, O(2^p m). None if more than six players stand apart.
    """
    distinct, index, count = np.unique(d, return_inverse=True, return_counts=True)
    common = int(np.argmax(count))
    apart = np.flatnonzero(index != common)
    p, m = apart.size, int(count[common])
    if p > MAX_SINGLED_OUT or m < 2:
        return None
    n = p + m
    members = ((np.arange(2**p)[:, None] >> np.arange(p)) & 1).astype(np.float64)
    size = members.sum(axis=1).astype(np.int64)[:, None]
    equals = np.arange(m + 1)
    energy = np.maximum(0.0, (members @ d[apart])[:, None] + distinct[common] * equals - threshold)
    ways = _ways(n)
    values = np.empty(n)
    step = np.diff(energy, axis=1)
    values[index == common] = float(np.sum(ways(size + equals[:-1], m - 1, equals[:-1]) * step))
    for j in range(p):
        without = np.flatnonzero(members[:, j] == 0.0)
        gain = energy[without + 2**j] - energy[without]
        values[apart[j]] = float(np.sum(ways(size[without] + equals, m, equals) * gain))
    return values


def _ways(n: int) -> Callable[[Ints, int, Ints], Floats]:
    """s, m, k → C(m, k) · s! (n-1-s)! / n!: the chance of s predecessors, k of them of m equals."""
    log_factorial = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, n + 1)))])

    def chance(s: Ints, m: int, k: Ints) -> Floats:
        logs = log_factorial[s] + log_factorial[n - 1 - s] - log_factorial[n]
        return np.asarray(np.exp(logs + log_factorial[m] - log_factorial[k] - log_factorial[m - k]))

    return chance
