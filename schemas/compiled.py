"""What the certificates of frames are made of: compilation, and columns of varints read in one pass.

Importing this needs Numba (the extra `worker` has it).
"""

from collections.abc import Callable
from typing import Any, TypeVar

import numba
import numpy as np
from numpy.typing import NDArray

__all__ = ["compiled", "read_columns", "unzigzag"]

Int64s = NDArray[np.int64]
Kernel = TypeVar("Kernel", bound=Callable[..., Any])


def compiled(function: Kernel) -> Kernel:
    """Compiled for any thread, each index checked: the bytes are not ours."""
    try:
        kernel: Kernel = numba.njit(function, cache=True, nogil=True, boundscheck=True)
    except RuntimeError:  # no directory that could hold the cache
        kernel = numba.njit(function, nogil=True, boundscheck=True)
    return kernel


@compiled
def unzigzag(value: int) -> int:
    """The signed number of Protobuf's zigzag form."""
    return (value >> 1) ^ -(value & 1)


@compiled
def read_columns(data: NDArray[np.uint8], column_bytes: Int64s, counts: Int64s, values: Int64s) -> bool:
    """Every column's varints into `values`; False unless each column holds its count of them, below 2^56."""
    at = filled = 0
    for column in range(column_bytes.size):
        end = at + column_bytes[column]
        for _ in range(counts[column]):
            value = np.int64(0)
            shift = 0
            while True:
                if at >= end or shift > 49:
                    return False
                byte = np.int64(data[at])
                at += 1
                value |= (byte & 127) << shift
                if byte < 128:
                    break
                shift += 7
            values[filled] = value
            filled += 1
        if at != end:
            return False
    return True
