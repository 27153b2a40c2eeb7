"""Float shares to integer microjoules: the total is met exactly, by largest remainder in a fixed order."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from schemas.errors import AttributionError

__all__ = ["MAX_TOTAL_UJ", "apportion", "largest_remainder"]

Floats = NDArray[np.float64]
Int64s = NDArray[np.int64]

MAX_TOTAL_UJ: Final = 2**53
"""Above this a float no longer resolves one microjoule; it is 9 GJ, a batch of 5 s at 1.8 GW."""


def largest_remainder(values: Floats, total: int) -> Int64s:
    """Round `values` (n,) to integers that sum to exactly `total`; O(n log n).

    Each value is rounded down; the units left over go one each to the largest fractional parts. Among equal
    fractional parts the earlier position wins: this is the fixed order, so that a recomputation gives the
    same microjoules. `values` must already sum to `total` within rounding (less than one unit each);
    otherwise they describe another total, and AttributionError says so.
    """
    exact = np.asarray(values, np.float64)
    if exact.ndim != 1 or not np.isfinite(exact).all():
        raise AttributionError("values must be a vector of finite numbers; a share that is NaN has no owner")
    if abs(total) > MAX_TOTAL_UJ:
        raise AttributionError(f"total = {total} µJ is beyond 2^53: split it over shorter windows")
    if exact.size == 0:
        if total != 0:
            raise AttributionError(f"total = {total} µJ but nobody to book it to: use an account")
        return np.zeros(0, np.int64)
    floors = np.floor(exact)
    booked = floors.astype(np.int64)
    left = total - int(booked.sum())
    if not -exact.size <= left <= exact.size:
        raise AttributionError(
            f"values sum to {float(exact.sum())!r}, not to total = {total}: scale them first (see apportion)"
        )
    order = np.argsort(-(exact - floors), kind="stable")
    if left > 0:
        booked[order[:left]] += 1
    elif left < 0:  # rounding of the floats themselves: the smallest fractional parts give back
        booked[order[left:]] -= 1
    return booked


def apportion(weights: Floats, total: int) -> Int64s:
    """Split `total` in proportion to `weights` (n,), as integers that sum to it exactly.

    A total of 0 gives zeros. Weights that sum to zero or less cannot carry a total that is not 0:
    AttributionError (the caller knows which account owns such energy, this function does not).
    """
    parts = np.asarray(weights, np.float64)
    if total == 0:
        return np.zeros(parts.size, np.int64)
    whole = float(parts.sum())
    if parts.size == 0 or not whole > 0 or not np.isfinite(whole):
        raise AttributionError(
            f"cannot split {total} µJ by weights that sum to {whole!r} over {parts.size} entries: "
            "book it to an account instead"
        )
    return largest_remainder(parts * (total / whole), total)
