"""A timeline and its division written out as formulas over whole arrays, in NumPy: what the compiled passes say."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from streams.timeline import IDLE, Interval, Timeline

Floats = NDArray[np.float64]
Int64s = NDArray[np.int64]
Bools = NDArray[np.bool_]


def plain_timeline(
    start_ns: int,
    end_ns: int,
    iteration_start_ns: Int64s,
    iteration_end_ns: Int64s,
    iteration_j: Floats,
    iteration_serves: Bools,
    *,
    idle_power_w: float,
    gaps: Sequence[Interval],
    loads: Sequence[Interval],
) -> Timeline:
    power_w = iteration_j / ((iteration_end_ns - iteration_start_ns) / 1e9)
    starts = np.clip(iteration_start_ns, start_ns, end_ns)
    ends = np.clip(iteration_end_ns, start_ns, end_ns)
    busy_j = float((power_w * (ends - starts)).sum()) / 1e9
    edges = [start_ns, end_ns, *(t for pair in (*gaps, *loads) for t in pair)]
    at_ns = np.unique(np.concatenate((np.asarray(edges, np.int64), starts, ends)))
    at_ns = at_ns[(at_ns >= start_ns) & (at_ns <= end_ns)]
    first, last = np.searchsorted(at_ns, starts), np.searchsorted(at_ns, ends)
    size = len(at_ns)

    def rate_w(chosen: Bools) -> Floats:
        steps = np.bincount(first, power_w * chosen, size) - np.bincount(last, power_w * chosen, size)
        return np.maximum(np.cumsum(steps)[:-1], 0.0)

    running = np.cumsum(np.bincount(first, minlength=size) - np.bincount(last, minlength=size))[:-1]
    span_ns = np.diff(at_ns)
    busy = running > 0
    gap = _covered(at_ns, gaps)
    free = ~busy & ~gap
    busy_ns = int(span_ns[busy].sum())
    loading = np.asarray([free & _covered(at_ns, [load]) for load in loads]).reshape(-1, size - 1)
    at_once = loading.sum(axis=0)
    idle = free & (at_once == 0)
    powers = [
        np.where(busy, rate_w(iteration_serves), 0.0),
        np.where(busy, rate_w(~iteration_serves), 0.0),
        np.where(idle, idle_power_w, 0.0),
        np.where(gap, busy_j / (busy_ns / 1e9) if busy_ns else idle_power_w, 0.0),
        *(np.where(one, idle_power_w / np.maximum(at_once, 1), 0.0) for one in loading),
    ]
    expected_j = np.zeros((len(powers), size))
    np.cumsum(np.asarray(powers) * (span_ns / 1e9), axis=1, out=expected_j[:, 1:])
    return Timeline(at_ns, expected_j, busy_ns, int(span_ns[idle].sum()), int(span_ns[gap].sum()))


def _covered(at_ns: Int64s, intervals: Sequence[Interval]) -> Bools:
    inside = np.zeros(len(at_ns) - 1, np.bool_)
    for start, end in intervals:
        inside[np.searchsorted(at_ns, start) : np.searchsorted(at_ns, end)] = True
    return inside


def plain_division(timeline: Timeline, steps: Sequence[tuple[Int64s, Int64s]]) -> Floats:
    """steps: by meter the edges (C + 1,) of its steps in ns, and their microjoules (C,)."""
    accounts_uj = np.zeros(len(timeline.expected_j))
    origin_ns = timeline.at_ns[0]  # a double holds nanoseconds since the batch began, not since 1970
    at_ns = timeline.at_ns - origin_ns
    for edges_ns, cell_uj in steps:
        cumulative = np.asarray([np.interp(edges_ns - origin_ns, at_ns, row) for row in timeline.expected_j])
        expected = np.diff(cumulative, axis=1)
        total = expected.sum(axis=0)
        expected[IDLE, total <= 0] = 1.0
        accounts_uj += (expected / np.where(total > 0, total, 1.0)) @ cell_uj
    return accounts_uj
