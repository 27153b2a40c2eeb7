"""Hinges that cross their threshold inside a batch: largest d singled out, equals counted, else a series."""

import numpy as np
from numpy.typing import NDArray

from streams.attribution.certificates import MAX_SINGLED_OUT, certify
from streams.attribution.counted import equals_shares, level_equals
from streams.attribution.series import hinge_series
from streams.attribution.trace import totals

__all__ = ["ridge_shares"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


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
        if shares is None:
            shares, errors[start:end] = hinge_series(part, threshold)
            series += bool(errors[start:end].any())
        values[start:end] = shares
    segment = np.repeat(np.arange(starts.size), ends - starts)
    return level_equals(values, segment, d), level_equals(errors, segment, d), series


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
    """Exact values where all but at most six players are equal; None otherwise."""
    distinct, index, count = np.unique(d, return_inverse=True, return_counts=True)
    common = int(np.argmax(count))
    apart = np.flatnonzero(index != common)
    if apart.size > MAX_SINGLED_OUT or count[common] < 2:
        return None
    one, others = equals_shares(d[apart][None], float(distinct[common]), int(count[common]), threshold)
    values = np.full(d.size, one[0])
    values[apart] = others[0]
    return values
