"""Functions compiled, and the smallest of those that are.

Importing this needs Numba (the extra `worker` has it).
"""

from collections.abc import Callable
from typing import Any, TypeVar

import numba

__all__ = ["compiled", "unzigzag"]

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
