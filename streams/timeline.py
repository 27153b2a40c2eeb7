"""What a group did at each instant of a batch, as cumulative expected energy per account.

The meter steps about every 100 ms, and one step may hold iterations, idle moments and the end of a load. Each
step's measured energy is divided by what was expected of each account in it: a step in which only one thing
happened goes there whole, whatever was expected.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from schemas.compiled import compiled
from streams.metering import MeterInterval
from streams.pairwise import pairwise_sum

__all__ = ["FIRST_LOAD", "GAP", "IDLE", "OVERHEAD", "SERVING", "Interval", "Timeline", "divide", "lay_out"]

Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]
Int64s = NDArray[np.int64]
Iterations = tuple[Int64s, Int64s, Floats, Bools]

SERVING, OVERHEAD, IDLE, GAP, FIRST_LOAD = range(5)
"""Rows of a timeline: iterations that served requests, iterations that served none, no iteration, no data,
then one row per load."""

Interval = tuple[int, int]
"""`[start_ns, end_ns)`."""


@dataclass(frozen=True, slots=True)
class Timeline:
    """Cumulative expected joules per account over a batch; piecewise linear between T instants."""

    at_ns: Int64s
    """(T,) strictly ascending, from the batch's start to its end."""
    expected_j: Floats
    """(A, T) cumulative expectation; rows as the constants below say."""
    busy_ns: int
    idle_ns: int
    gap_ns: int


def lay_out(
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
    """Lay iterations (I,), gaps and loads out over `[start_ns, end_ns)`, in O((I + gaps + loads) log).

    Where an iteration runs, its energy is expected (several at once add up: pipeline parallelism, engines
    that share a GPU). A gap expects the batch's mean busy power, also beside iterations of another engine.
    Elsewhere a load, and elsewhere idle, expect the idle power (loads at the same time share it evenly); in a
    meter step that holds only one of them the expectation does not matter.
    """
    fields = _lay_out(
        start_ns,
        end_ns,
        (iteration_start_ns, iteration_end_ns, np.asarray(iteration_j, np.float64), iteration_serves),
        float(idle_power_w),
        np.asarray(gaps, np.int64).reshape(-1, 2),
        np.asarray(loads, np.int64).reshape(-1, 2),
    )
    return Timeline(*fields)


def divide(timeline: Timeline, intervals: Sequence[MeterInterval]) -> Floats:
    """(A,) microjoules per account: each meter step divided by the expectations that fall into it.

    A step in which nothing was expected (zero idle power) goes to idle. Sums to the intervals' energy up to
    float rounding; integers are made once, later.
    """
    accounts_uj = np.zeros(len(timeline.expected_j))
    for interval in intervals:
        accounts_uj += _parts(timeline.at_ns, timeline.expected_j, interval.cell_edges_ns) @ interval.cell_uj
    return accounts_uj


@compiled
def _lay_out(
    start_ns: int, end_ns: int, iterations: Iterations, idle_power_w: float, gaps: Int64s, loads: Int64s
) -> tuple[Int64s, Floats, int, int, int]:
    """The fields of a Timeline; gaps (G, 2), loads (L, 2). Loops, for whole-array forms compile for seconds."""
    iteration_start_ns, iteration_end_ns, iteration_j, serves = iterations
    count = iteration_j.size
    moments = np.empty(2 * (count + len(gaps) + len(loads) + 1), np.int64)
    moments[0], moments[-1] = start_ns, end_ns
    power_w, energy_j = np.empty(count), np.empty(count)
    for i in range(count):
        power_w[i] = iteration_j[i] / ((iteration_end_ns[i] - iteration_start_ns[i]) / 1e9)
        begin = min(max(iteration_start_ns[i], start_ns), end_ns)
        end = min(max(iteration_end_ns[i], start_ns), end_ns)
        energy_j[i] = power_w[i] * (end - begin)
        moments[1 + 2 * i], moments[2 + 2 * i] = begin, end
    gaps_at = 1 + 2 * count
    loads_at = gaps_at + 2 * len(gaps)
    _put(gaps, start_ns, end_ns, moments[gaps_at:loads_at])
    _put(loads, start_ns, end_ns, moments[loads_at:-1])
    at_ns, places = _in_order(moments, _order(moments))
    running, rates_w = _rates(places[1:gaps_at], power_w, serves, at_ns.size)
    in_gap = _covered(places[gaps_at:loads_at], at_ns.size - 1)
    loading = _covered(places[loads_at:-1], at_ns.size - 1)
    busy_j = pairwise_sum(energy_j) / 1e9
    return at_ns, *_expected(at_ns, running, rates_w, in_gap, loading, busy_j, idle_power_w)


@compiled
def _put(intervals: Int64s, start_ns: int, end_ns: int, moments: Int64s) -> None:
    """Where intervals (n, 2) begin and end within the window, into `moments` (2n,)."""
    for place in range(len(intervals)):
        for side in range(2):
            moments[2 * place + side] = min(max(intervals[place, side], start_ns), end_ns)


@compiled
def _order(moments: Int64s) -> Int64s:
    """What sorts the moments."""
    for place in range(1, moments.size):
        if moments[place] < moments[place - 1]:
            return np.argsort(moments, kind="mergesort")
    return np.arange(moments.size)  # iterations one after another, and nothing else


@compiled
def _in_order(moments: Int64s, order: Int64s) -> tuple[Int64s, Int64s]:
    """The distinct moments in order, and which of them each moment is."""
    places = np.empty(moments.size, np.int64)
    distinct = np.empty(moments.size, np.int64)
    distinct[0] = moments[order[0]]
    last = 0
    for place in order:
        if moments[place] != distinct[last]:
            last += 1
            distinct[last] = moments[place]
        places[place] = last
    return distinct[: last + 1].copy(), places


@compiled
def _rates(places: Int64s, power_w: Floats, serves: Bools, size: int) -> tuple[Int64s, Floats]:
    """By span, (size - 1,) and (2, size - 1): iterations that run, and power of those that serve and of others.

    places: where each iteration begins and ends, in turn.
    """
    begun, ended = np.zeros((2, size)), np.zeros((2, size))
    steps = np.zeros(size, np.int64)
    for i in range(power_w.size):
        row = SERVING if serves[i] else OVERHEAD
        first, last = places[2 * i], places[2 * i + 1]
        steps[first] += 1
        steps[last] -= 1
        begun[row, first] += power_w[i]
        ended[row, last] += power_w[i]
    running, rates_w = np.empty(size - 1, np.int64), np.empty((2, size - 1))
    for row in range(2):
        count, rate_w = 0, 0.0
        for span in range(size - 1):
            count += steps[span]
            running[span] = count
            rate_w += begun[row, span] - ended[row, span]
            rates_w[row, span] = max(rate_w, 0.0)  # rounding must not owe anybody energy
    return running, rates_w


@compiled
def _covered(places: Int64s, spans: int) -> Bools:
    """(n, spans) which spans lie inside each of the n intervals that begin and end at `places` in turn."""
    inside = np.zeros((places.size // 2, spans), np.bool_)
    for interval in range(len(inside)):
        for span in range(places[2 * interval], places[2 * interval + 1]):
            inside[interval, span] = True
    return inside


@compiled
def _expected(
    at_ns: Int64s,
    running: Int64s,
    rates_w: Floats,
    gaps: Bools,
    loading: Bools,
    busy_j: float,
    idle_power_w: float,
) -> tuple[Floats, int, int, int]:
    """Cumulative expectation (A, T); busy, idle and gap nanoseconds. gaps (G, T - 1), loading (L, T - 1)."""
    spans = at_ns.size - 1
    power_w = np.zeros((FIRST_LOAD + len(loading), spans))
    busy_ns = idle_ns = gap_ns = 0
    for span in range(spans):
        span_ns = at_ns[span + 1] - at_ns[span]
        if running[span] > 0:
            busy_ns += span_ns
            power_w[SERVING, span], power_w[OVERHEAD, span] = rates_w[SERVING, span], rates_w[OVERHEAD, span]
        if _how_many(gaps, span):
            gap_ns += span_ns
            power_w[GAP, span] = 1.0
        elif running[span] == 0:
            at_once = _how_many(loading, span)
            if at_once == 0:
                idle_ns += span_ns
                power_w[IDLE, span] = idle_power_w
            for load in range(len(loading)):
                if loading[load, span]:
                    power_w[FIRST_LOAD + load, span] = idle_power_w / at_once
    gap_power_w = busy_j / (busy_ns / 1e9) if busy_ns else idle_power_w
    expected_j = np.zeros((len(power_w), at_ns.size))
    for account in range(len(power_w)):
        scale = gap_power_w if account == GAP else 1.0
        for span in range(spans):
            step_j = power_w[account, span] * scale * ((at_ns[span + 1] - at_ns[span]) / 1e9)
            expected_j[account, span + 1] = expected_j[account, span] + step_j
    return expected_j, busy_ns, idle_ns, gap_ns


@compiled
def _how_many(covering: Bools, span: int) -> int:
    """How many of the intervals (n, spans) cover the span."""
    count = 0
    for interval in range(len(covering)):
        count += covering[interval, span]
    return count


@compiled
def _parts(at_ns: Int64s, expected_j: Floats, cell_edges_ns: Int64s) -> Floats:
    """(A, C) what part of each meter step is expected of each account; a step's parts sum to 1.

    The expectation at a step's edge is interpolated as `np.interp` does it.
    """
    accounts, cells = len(expected_j), cell_edges_ns.size - 1
    parts = np.zeros((accounts, cells))
    left_j, right_j = np.zeros(accounts), np.zeros(accounts)
    span = 0
    for edge in range(cells + 1):
        while span + 2 < at_ns.size and at_ns[span + 1] <= cell_edges_ns[edge]:
            span += 1
        since_ns, span_ns = cell_edges_ns[edge] - at_ns[span], at_ns[span + 1] - at_ns[span]
        for account in range(accounts):
            before_j, after_j = expected_j[account, span], expected_j[account, span + 1]
            slope = (after_j - before_j) / span_ns
            right_j[account] = after_j if since_ns == span_ns else slope * since_ns + before_j
        if edge:
            total_j = 0.0
            for account in range(accounts):
                parts[account, edge - 1] = right_j[account] - left_j[account]
                total_j += parts[account, edge - 1]
            for account in range(accounts):
                parts[account, edge - 1] /= total_j if total_j > 0 else 1.0
            if total_j <= 0:
                parts[IDLE, edge - 1] = 1.0
        left_j, right_j = right_j, left_j
    return parts
