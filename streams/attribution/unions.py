"""Energy paid once by a group that is present (an adapter, a shared prefix): C/|G| for each member."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from streams.attribution.trace import Trace, totals

__all__ = ["distinct_groups", "union_shares"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_CELLS: Final = 2**21
"""Cells of one (groups, iterations) table: 16 MB; more groups are taken in slices."""


def union_shares(trace: Trace, group: Ints, scale: Floats) -> tuple[Floats, Floats]:
    """Per request (R,) the Shapley value of Σ_t scale_t · (distinct groups present), and that count (T,).

    `group` (R,) numbers from 0, -1 for none. O(runs + groups × iterations).
    """
    T = trace.iterations
    shares = np.zeros(trace.requests)
    distinct = np.zeros(T)
    groups = int(group.max(initial=-1)) + 1
    if groups == 0 or T == 0:
        return shares, distinct
    width = max(1, _CELLS // T)
    for start in range(0, groups, width):
        _slice(trace, group, scale, start, min(start + width, groups), shares, distinct)
    return shares, distinct


def distinct_groups(trace: Trace, group: Ints) -> Floats:
    """(T,) how many distinct groups are present in each iteration."""
    return union_shares(trace, group, np.zeros(trace.iterations))[1]


def _slice(
    trace: Trace, group: Ints, scale: Floats, start: int, stop: int, shares: Floats, distinct: Floats
) -> None:
    """Add the groups in [start, stop) to `shares` and `distinct`."""
    T = trace.iterations
    runs = np.flatnonzero((group[trace.decode_request] >= start) & (group[trace.decode_request] < stop))
    wide = np.flatnonzero((group[trace.wide_request] >= start) & (group[trace.wide_request] < stop))
    row = (group[trace.decode_request[runs]] - start) * (T + 1)
    first, end = trace.decode_first[runs], trace.decode_first[runs] + trace.decode_length[runs]
    cells = (stop - start) * (T + 1)
    steps = np.bincount(row + first, minlength=cells) - np.bincount(row + end, minlength=cells)
    members = np.cumsum(steps.reshape(-1, T + 1), axis=1)[:, :T]
    wide_row, wide_at = group[trace.wide_request[wide]] - start, trace.wide_iteration[wide]
    members += np.bincount(wide_row * T + wide_at, minlength=(stop - start) * T).reshape(-1, T)
    distinct += np.count_nonzero(members, axis=0)
    each = scale / np.maximum(members, 1)
    total = np.zeros((stop - start, T + 1))
    np.cumsum(each, axis=1, out=total[:, 1:])
    flat = total.ravel()
    shares += totals(trace.decode_request[runs], flat[row + end] - flat[row + first], shares.size)
    shares += totals(trace.wide_request[wide], each[wide_row, wide_at], shares.size)
