"""A batch's float shares as integers that sum to its total, by largest remainder in one compiled pass.

The plain way, which decides and names errors, is `streams.attribution.apportion`.
"""

import numpy as np
from numpy.typing import NDArray

from schemas.compiled import compiled
from streams.attribution.apportion import MAX_TOTAL_UJ, apportion

__all__ = ["whole_microjoules"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def whole_microjoules(weights: Floats, total_uj: int) -> Ints:
    """`apportion(weights, total_uj)`, for weights (n,) in the order in which equal remainders are served."""
    weighed = float(weights.sum())
    if total_uj and 0.0 < weighed < np.inf and abs(total_uj) <= MAX_TOTAL_UJ:
        booked_uj, is_exact = _largest_remainder(weights, total_uj / weighed, total_uj)
        if is_exact:
            return booked_uj
    return apportion(weights, total_uj)


@compiled
def _largest_remainder(weights: Floats, scale: float, total_uj: int) -> tuple[Ints, bool]:
    """The integers, and whether the scaled weights were fit to be rounded to them; O(n)."""
    size = weights.size
    booked_uj, remainder = np.empty(size, np.int64), np.empty(size)
    left = total_uj
    for i in range(size):
        exact = weights[i] * scale
        if not abs(exact) < 2.0**62:
            return booked_uj, False
        floor = np.floor(exact)
        booked_uj[i] = np.int64(floor)
        remainder[i] = exact - floor
        left -= booked_uj[i]
    if abs(left) > size:
        return booked_uj, False
    if left:
        is_first = _first(remainder, left if left > 0 else size + left)
        for i in range(size):
            if left > 0 and is_first[i]:
                booked_uj[i] += 1
            elif left < 0 and not is_first[i]:  # the smallest remainders give back
                booked_uj[i] -= 1
    return booked_uj, True


@compiled
def _first(remainder: Floats, count: int) -> NDArray[np.bool_]:
    """(n,) whether among the `count` largest remainders; of equal ones the earlier come first."""
    is_first = np.zeros(remainder.size, np.bool_)
    if count == 0:
        return is_first
    least = np.partition(remainder, remainder.size - count)[remainder.size - count]
    equals = count
    for i in range(remainder.size):
        equals -= remainder[i] > least
    for i in range(remainder.size):
        if remainder[i] == least and equals > 0:
            is_first[i] = True
            equals -= 1
        elif remainder[i] > least:
            is_first[i] = True
    return is_first
