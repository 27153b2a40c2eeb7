"""Proofs that a hinge is linear where it matters, and the Shapley values that follow in closed form.

The hinge is max(0, Σ d_j − w). Single out p players. If, for every subset U of them, the other players can
never carry the sum across w (an interval test on their positive and negative sums), the hinge is linear on
each of the 2^p pieces. Players arrive at uniform times, so U is the set before time t with probability
t^|U| (1−t)^(p−|U|), and the integrals over t are Beta functions. A sign test on intervals is a proof: a
straddling piece is reported, never guessed.
"""

from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from streams.attribution.exact import coalition_weights

__all__ = ["MAX_SINGLED_OUT", "Certified", "certify", "subset_sums", "subsets"]

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

MAX_SINGLED_OUT: Final = 6
"""64 pieces per iteration; each further player doubles the work and certifies little more."""
_BLOCK: Final = 4096

Certified = tuple[Bools, Floats, Floats]
"""certified (T,), slope (T,), shares of the singled-out players (T, p)."""


def certify(singled: Floats, positive: Floats, negative: Floats, threshold: float) -> Certified:
    """Test T hinges at once and give their Shapley values where the test holds; O(T 2^p p).

    `singled` (T, p): d of the players singled out, padded with 0 (a null player changes nobody's share).
    `positive` ≥ 0 and `negative` ≤ 0 (T,): sums of d over the other players by sign. In a certified
    hinge, another player's share is slope · d; rows that are not certified hold meaningless shares.
    """
    T, p = singled.shape
    certified = np.empty(T, np.bool_)
    slope = np.empty(T)
    shares = np.empty((T, p))
    for start in range(0, T, _BLOCK):
        part = slice(start, start + _BLOCK)
        certified[part], slope[part], shares[part] = _pieces(
            singled[part], positive[part], negative[part], threshold
        )
    return certified, slope, shares


def _pieces(singled: Floats, positive: Floats, negative: Floats, threshold: float) -> Certified:
    p = singled.shape[1]
    members, sizes = subsets(p)
    above = subset_sums(singled) - threshold
    active = above + negative[:, None] >= 0.0
    inactive = above + positive[:, None] <= 0.0
    certified: Bools = np.all(active | inactive, axis=1)
    slope = _in_order(active * coalition_weights(p + 1)[sizes])
    rest = (positive + negative)[:, None]
    height = np.where(active, above, 0.0)
    shares = np.empty_like(singled)
    for j in range(p):
        without = np.flatnonzero(members[:, j] == 0.0)
        joined = without + 2**j
        first = coalition_weights(p)[sizes[without]]
        second = coalition_weights(p + 1)[sizes[without] + 1]
        turned_on = active[:, joined].astype(np.float64) - active[:, without]
        shares[:, j] = _in_order((height[:, joined] - height[:, without]) * first)
        shares[:, j] += _in_order(rest * turned_on * second)
    return certified, slope, shares


def _in_order(values: Floats) -> Floats:
    """(T,) sums over the last axis, first to last: BLAS would add in an order that is the machine's."""
    return np.asarray(np.cumsum(values, axis=-1)[:, -1])


def subset_sums(d: Floats) -> Floats:
    """(T, 2^p) of each row's d (T, p) over all subsets, added in the order of the members."""
    members, _ = subsets(d.shape[1])
    sums = np.zeros((d.shape[0], members.shape[0]))
    for j in range(d.shape[1]):
        sums += d[:, j, None] * members[:, j]
    return sums


@lru_cache(maxsize=MAX_SINGLED_OUT + 1)
def subsets(p: int) -> tuple[Floats, NDArray[np.int64]]:
    """Indicators (2^p, p) and sizes (2^p,) of all subsets; bit j of the index is member j."""
    index = np.arange(2**p)
    members = (index[:, None] >> np.arange(p)) & 1
    return members.astype(np.float64), members.sum(axis=1)
