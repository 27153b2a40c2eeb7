"""What a group did at each instant of a batch, as cumulative expected energy per account.

The meter steps about every 100 ms, and one step may hold iterations, idle moments and the end of a load. Each
step's measured energy is divided by what was expected of each account in it: a step in which only one thing
happened goes there whole, whatever was expected.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from streams.metering import MeterInterval

__all__ = ["FIRST_LOAD", "GAP", "IDLE", "OVERHEAD", "SERVING", "Interval", "Timeline", "divide", "lay_out"]

SERVING, OVERHEAD, IDLE, GAP, FIRST_LOAD = range(5)
"""Rows of a timeline: iterations that served requests, iterations that served none, no iteration, no data,
then one row per load."""

Interval = tuple[int, int]
"""`[start_ns, end_ns)`."""


@dataclass(frozen=True, slots=True)
class Timeline:
    """Cumulative expected joules per account over a batch; piecewise linear between T instants."""

    at_ns: NDArray[np.int64]
    """(T,) strictly ascending, from the batch's start to its end."""
    expected_j: NDArray[np.float64]
    """(A, T) cumulative expectation; rows as the constants below say."""
    busy_ns: int
    idle_ns: int
    gap_ns: int


def lay_out(
    start_ns: int,
    end_ns: int,
    iteration_start_ns: NDArray[np.int64],
    iteration_end_ns: NDArray[np.int64],
    iteration_j: NDArray[np.float64],
    iteration_serves: NDArray[np.bool_],
    *,
    idle_power_w: float,
    gaps: Sequence[Interval],
    loads: Sequence[Interval],
) -> Timeline:
    """Lay iterations (I,), gaps and loads out over `[start_ns, end_ns)`, in O((I + gaps + loads) log).

    Where an iteration runs, its energy is expected (several at once add up: pipeline parallelism, engines
    that share a GPU). A gap expects the batch's mean busy power, also beside iterations of another engine.
    Elsewhere a load, and elsewhere idle, expect the idle power (loads at the same time share it evenly); in a
    meter step that holds only one of them the expectation does not matter.
    """
    seconds = (iteration_end_ns - iteration_start_ns) / 1e9
    power_w = iteration_j / seconds
    starts = np.clip(iteration_start_ns, start_ns, end_ns)
    ends = np.clip(iteration_end_ns, start_ns, end_ns)
    busy_j = float((power_w * (ends - starts)).sum()) / 1e9
    edges = [start_ns, end_ns, *(t for pair in (*gaps, *loads) for t in pair)]
    at_ns = np.unique(np.concatenate((np.asarray(edges, np.int64), starts, ends)))
    at_ns = at_ns[(at_ns >= start_ns) & (at_ns <= end_ns)]

    first, last = np.searchsorted(at_ns, starts), np.searchsorted(at_ns, ends)
    size = len(at_ns)

    def rate_w(chosen: NDArray[np.bool_]) -> NDArray[np.float64]:
        steps = np.bincount(first, power_w * chosen, size) - np.bincount(last, power_w * chosen, size)
        return np.maximum(np.cumsum(steps)[:-1], 0.0)  # rounding must not owe anybody energy

    running = np.cumsum(np.bincount(first, minlength=size) - np.bincount(last, minlength=size))[:-1]
    span_ns = np.diff(at_ns)
    busy = running > 0
    gap = _covered(at_ns, gaps)
    free = ~busy & ~gap
    busy_ns = int(span_ns[busy].sum())
    gap_power_w = busy_j / (busy_ns / 1e9) if busy_ns else idle_power_w

    powers = [
        np.where(busy, rate_w(iteration_serves), 0.0),
        np.where(busy, rate_w(~iteration_serves), 0.0),
        np.zeros(size - 1),
        np.where(gap, gap_power_w, 0.0),
    ]
    loading = np.asarray([free & _covered(at_ns, [load]) for load in loads]).reshape(-1, size - 1)
    at_once = loading.sum(axis=0)
    powers += [np.where(one, idle_power_w / np.maximum(at_once, 1), 0.0) for one in loading]
    free &= at_once == 0
    powers[IDLE] = np.where(free, idle_power_w, 0.0)
    expected_j = np.zeros((len(powers), size))
    np.cumsum(np.asarray(powers) * (span_ns / 1e9), axis=1, out=expected_j[:, 1:])
    return Timeline(at_ns, expected_j, busy_ns, int(span_ns[free].sum()), int(span_ns[gap].sum()))


def _covered(at_ns: NDArray[np.int64], intervals: Sequence[Interval]) -> NDArray[np.bool_]:
    """Which of the spans between consecutive instants lie inside any of the intervals."""
    inside = np.zeros(len(at_ns) - 1, np.bool_)
    for start, end in intervals:
        inside[np.searchsorted(at_ns, start) : np.searchsorted(at_ns, end)] = True
    return inside


def divide(timeline: Timeline, intervals: Sequence[MeterInterval]) -> NDArray[np.float64]:
    """(A,) microjoules per account: each meter step divided by the expectations that fall into it.

    A step in which nothing was expected (zero idle power) goes to idle. Sums to the intervals' energy up to
    float rounding; integers are made once, later.
    """
    accounts_uj = np.zeros(len(timeline.expected_j))
    origin_ns = timeline.at_ns[0]  # a double holds nanoseconds since the batch began, not since 1970
    at_ns = timeline.at_ns - origin_ns
    for interval in intervals:
        cell_edges_ns = interval.cell_edges_ns - origin_ns
        cumulative = np.asarray([np.interp(cell_edges_ns, at_ns, row) for row in timeline.expected_j])
        expected = np.diff(cumulative, axis=1)
        total = expected.sum(axis=0)
        expected[IDLE, total <= 0] = 1.0
        accounts_uj += (expected / np.where(total > 0, total, 1.0)) @ interval.cell_uj
    return accounts_uj
