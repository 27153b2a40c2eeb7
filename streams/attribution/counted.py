"""A hinge among equals: where all but a few players have the same d, only how many of them are in matters."""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from streams.attribution.certificates import subset_sums, subsets

__all__ = ["equals_shares", "level_equals", "log_factorials"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def equals_shares(apart: Floats, equal: float, count: int, threshold: float) -> tuple[Floats, Floats]:
    """Exact Shapley values of T hinges max(0, Σd − threshold) with `count` ≥ 1 players of the same d = `equal`.

    `apart` (T, p): d of the others, padded with 0 (a null player changes nobody's share). Returns the share
    of one of the equals (T,) and those of the others (T, p). O(T 2^p count).
    """
    T, p = apart.shape
    members, sizes = subsets(p)
    k = np.arange(count + 1)
    energy = (subset_sums(apart) - threshold)[:, :, None] + equal * k
    np.maximum(energy, 0.0, out=energy)
    one = np.einsum("tuk,uk->t", energy[:, :, 1:] - energy[:, :, :-1], _chances(p + count, count - 1)[sizes])
    others = np.empty((T, p))
    for j in range(p):
        without = np.flatnonzero(members[:, j] == 0.0)
        pairs = energy.reshape(T, -1, 2, 2**j, count + 1)
        gain = (pairs[:, :, 1] - pairs[:, :, 0]).reshape(T, -1, count + 1)
        others[:, j] = np.einsum("tuk,uk->t", gain, _chances(p + count, count)[sizes[without]])
    return one, others


@lru_cache(maxsize=256)
def _chances(n: int, m: int) -> Floats:
    """(n − m, m + 1) C(m, k) · s! (n−1−s)! / n!, s = size + k: those of that size first, with k of m equals."""
    k = np.arange(m + 1)
    s = np.arange(n - m)[:, None] + k
    logs = log_factorials(n)
    chances = logs[s] + logs[n - 1 - s] - logs[n]
    return np.asarray(np.exp(chances + logs[m] - logs[k] - logs[m - k]))


@lru_cache(maxsize=64)
def log_factorials(n: int) -> Floats:
    """(n + 1,) ln k! for k = 0..n; beyond 170 players the factorials themselves overflow."""
    return np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, n + 1)))])


def level_equals(values: Floats, segment: Ints, d: Floats) -> Floats:
    """Give rows with equal d in one segment the mean of their values: rounding must not tell them apart.

    `values`, `segment` and `d` are (N,); O(N log N).
    """
    if values.size == 0:
        return values
    order = np.lexsort((d, segment))
    new = np.ones(values.size, np.bool_)
    new[1:] = (np.diff(segment[order]) != 0) | (np.diff(d[order]) != 0)
    group = np.cumsum(new) - 1
    levelled = np.empty(values.size)
    levelled[order] = (np.bincount(group, values[order]) / np.bincount(group))[group]
    return levelled
