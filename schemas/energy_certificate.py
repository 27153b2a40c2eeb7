"""An energy frame's readings decoded and found sound in one compiled pass: the fast way of the ordinary frame.

A certificate, as `schemas.certificate` is for iterations: False sends the caller the way of arrays (energy_codec),
which decides and names what is wrong.
"""

import numpy as np
from numpy.typing import NDArray

from schemas.compiled import compiled, read_columns, unzigzag
from schemas.limits import MAX_ENERGY_UJ, MAX_OFFSET_NS

__all__ = ["certify_readings"]

Int64s = NDArray[np.int64]


@compiled
def certify_readings(
    data: NDArray[np.uint8],
    column_bytes: Int64s,
    start_ns: int,
    end_ns: int,
    base_uj: Int64s,
    readings: Int64s,
) -> bool:
    """Decode all readings into `readings` (3, n): meter, Unix ns, µJ; False if anything is not plainly sound.

    data: the columns' bytes, one after another; column_bytes (3,): how many each has. base_uj (meters,): what each
    meter's readings count from. O(bytes + meters).
    """
    count, meters = readings.shape[1], base_uj.size
    if not read_columns(data, column_bytes, np.full(3, count), readings.reshape(readings.size)):
        return False
    last_ns = np.full(meters, np.int64(-1))
    last_uj = np.zeros(meters, np.int64)
    for i in range(count):
        meter, offset = readings[0, i], unzigzag(readings[1, i])
        if meter >= meters or offset < -MAX_OFFSET_NS or offset > MAX_OFFSET_NS:
            return False
        at_ns = start_ns + offset
        energy_uj = base_uj[meter] + readings[2, i]
        if at_ns <= last_ns[meter] or at_ns < 0 or at_ns > end_ns:
            return False
        if energy_uj < last_uj[meter] or energy_uj > MAX_ENERGY_UJ:
            return False
        last_ns[meter], last_uj[meter] = at_ns, energy_uj
        readings[1, i], readings[2, i] = at_ns, energy_uj
    return True
