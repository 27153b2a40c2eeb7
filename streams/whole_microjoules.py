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
        booked_uj, remainder, left = _rounded_down(weights, total_uj / weighed, total_uj)
        if abs(left) < weights.size:
            if left:
                count = left if left > 0 else weights.size + left
                least = np.partition(remainder, weights.size - count)[weights.size - count]
                _serve(booked_uj, remainder, least, count, left)
            return booked_uj
    return apportion(weights, total_uj)


@compiled
def _rounded_down(weights: Floats, scale: float, total_uj: int) -> tuple[Ints, Floats, int]:
    """Integers, remainders, what is left of the total: as much as there are weights where one cannot be rounded."""
    size = weights.size
    booked_uj, remainder = np.empty(size, np.int64), np.empty(size)
    left = total_uj
    for i in range(size):
        exact = weights[i] * scale
        if not abs(exact) < 2.0**62:
            return booked_uj, remainder, size
        floor = np.floor(exact)
        booked_uj[i] = np.int64(floor)
        remainder[i] = exact - floor
        left -= booked_uj[i]
    return booked_uj, remainder, left


@compiled
def _serve(booked_uj: Ints, remainder: Floats, least: float, count: int, left: int) -> None:
    """One more to each of the `count` largest remainders, of which `least` is the smallest.

    Of equal ones the earlier come first. Where too much was booked (`left` < 0), one less to each of the others.
    """
    equals = count
    for i in range(remainder.size):
        equals -= remainder[i] > least
    for i in range(remainder.size):
        is_first = remainder[i] > least
        if remainder[i] == least and equals > 0:
            is_first = True
            equals -= 1
        if left > 0 and is_first:
            booked_uj[i] += 1
        elif left < 0 and not is_first:
            booked_uj[i] -= 1
