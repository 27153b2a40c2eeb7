"""The sum that NumPy makes of an array, for compiled passes: the same additions in the same order, to the last bit.

NumPy adds up to 128 numbers in eight running sums, and halves what is longer ("pairwise", notes of `np.sum`). A
plain running sum rounds otherwise, and what is booked may not depend on who adds.
"""

import numpy as np
from numpy.typing import NDArray

from schemas.compiled import compiled

__all__ = ["pairwise_sum"]

_AT_ONCE = 8
_BLOCK = 128


@compiled
def pairwise_sum(values: NDArray[np.float64]) -> float:
    """`values.sum()` of a contiguous (n,) array."""
    size = values.size
    if size > _BLOCK:
        half = size // 2
        half -= half % _AT_ONCE
        return pairwise_sum(values[:half]) + pairwise_sum(values[half:])
    whole = size - size % _AT_ONCE
    total = -0.0
    if whole:
        sums = values[:_AT_ONCE].copy()
        for at in range(_AT_ONCE, whole, _AT_ONCE):
            for place in range(_AT_ONCE):
                sums[place] += values[at + place]
        total = ((sums[0] + sums[1]) + (sums[2] + sums[3])) + ((sums[4] + sums[5]) + (sums[6] + sums[7]))
    for at in range(whole, size):
        total += values[at]
    return total
