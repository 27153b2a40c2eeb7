"""Energy of an interval from cumulative counters, in exact integers: the joules that everything else splits.

A counter's value at an instant is interpolated between the readings on either side and rounded once, half up
(`value_at`); an interval's energy is the difference at its two edges, so neighbouring windows share the same
figure and nothing is lost or counted twice between them. The view `books` repeats the same arithmetic in SQL.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from schemas.compiled import compiled
from schemas.energy import EnergyFrame, Meter
from streams.counters import counters_of

__all__ = ["Edge", "MeterInterval", "MeterReadings", "collect_readings", "measure", "value_at"]

Int64s = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class MeterReadings:
    """One counter epoch's readings in time order."""

    meter: Meter
    times_ns: Int64s
    """(P,) strictly ascending."""
    values_uj: Int64s
    """(P,) non-decreasing cumulative microjoules."""


@dataclass(frozen=True, slots=True)
class Edge:
    """An instant and the readings on either side of it: all that is needed to check `value_uj`."""

    at_ns: int
    before_ns: int
    before_uj: int
    after_ns: int
    after_uj: int

    @property
    def value_uj(self) -> int:
        """The counter at `at_ns`."""
        return value_at(self.at_ns, self.before_ns, self.before_uj, self.after_ns, self.after_uj)


@dataclass(frozen=True, slots=True)
class MeterInterval:
    """One counter over one batch, with the steps between its readings."""

    meter: Meter
    left: Edge
    right: Edge
    energy_uj: int
    """Microjoules between the two edges."""
    cell_edges_ns: Int64s
    """(C + 1,) the interval cut at every reading inside it."""
    cell_uj: Int64s
    """(C,) energy of each cell; sums to `energy_uj`."""


def value_at(at_ns: int, before_ns: int, before_uj: int, after_ns: int, after_uj: int) -> int:
    """Cumulative microjoules at `at_ns`, linear between two readings, rounded half up in integers."""
    span_ns = after_ns - before_ns
    if span_ns == 0:
        return before_uj
    return before_uj + (2 * (after_uj - before_uj) * (at_ns - before_ns) + span_ns) // (2 * span_ns)


def collect_readings(frames: Iterable[EnergyFrame]) -> list[MeterReadings]:
    """Join frames' readings by meter and epoch; the order of frames and repeats of one do not matter."""
    found = list(frames)
    meters, counters = counters_of(found)
    if not meters:
        return []
    bounds, times_ns, values_uj, rising = _by_counter(
        np.concatenate(counters),
        np.concatenate([frame.reading_time_ns for frame in found]),
        np.concatenate([frame.reading_uj for frame in found]),
        len(meters),
    )
    edges = bounds.tolist()
    collected = []
    for place, meter in enumerate(meters):
        chosen = slice(edges[place], edges[place + 1])
        own = times_ns[chosen], values_uj[chosen]
        collected.append(MeterReadings(meter, *(own if rising[place] else _rising(*own))))
    return sorted(collected, key=lambda one: (one.meter.meter_id, one.meter.epoch))


@compiled
def _by_counter(
    counter: NDArray[np.int32], times_ns: Int64s, values_uj: Int64s, counters: int
) -> tuple[Int64s, Int64s, Int64s, NDArray[np.bool_]]:
    """Readings sorted by counter, else in order: where each counter's begin and the last one's end
    (counters + 1,), their times and values (P,), and whether each counter's rise as they stand (counters,).
    """
    bounds = np.zeros(counters + 1, np.int64)
    for place in counter:
        bounds[place + 1] += 1
    bounds = np.cumsum(bounds)
    filled = bounds[:-1].copy()
    times, values = np.empty(counter.size, np.int64), np.empty(counter.size, np.int64)
    rising = np.ones(counters, np.bool_)
    for i in range(counter.size):
        place = counter[i]
        at = filled[place]
        times[at], values[at] = times_ns[i], values_uj[i]
        if at > bounds[place] and (times[at] <= times[at - 1] or values[at] < values[at - 1]):
            rising[place] = False
        filled[place] += 1
    return bounds, times, values, rising


def _rising(times_ns: Int64s, values_uj: Int64s) -> tuple[Int64s, Int64s]:
    """Readings by ascending time, one per instant, none below one before it.

    A counter never falls, but a node's clock may be set back, and then two stretches of readings claim the
    same time: what was counted last is true, and all of it lies in the time that is claimed twice.
    """
    order = np.lexsort((values_uj, times_ns))
    times_ns, values_uj = times_ns[order], values_uj[order]
    highest_uj = np.maximum.accumulate(values_uj)
    kept = (values_uj == highest_uj) & np.append(times_ns[1:] != times_ns[:-1], True)
    return times_ns[kept], values_uj[kept]


def measure(readings: Sequence[MeterReadings], start_ns: int, end_ns: int) -> list[MeterInterval]:
    """Energy of `[start_ns, end_ns)` by each counter epoch that knows a part of it.

    An epoch that begins or ends inside the interval contributes from its first to its last reading: what a
    counter did not count, nobody can book. An epoch with fewer than two readings in reach contributes nothing.
    """
    intervals = []
    for one in readings:
        times, values = one.times_ns, one.values_uj
        if len(times) == 0:
            continue
        left_ns, right_ns = max(start_ns, int(times[0])), min(end_ns, int(times[-1]))
        if right_ns <= left_ns:
            continue
        left, right = (Edge(at_ns, *_around(times, values, at_ns)) for at_ns in (left_ns, right_ns))
        left_uj, right_uj = left.value_uj, right.value_uj
        cells = _cells(times, values, left_ns, left_uj, right_ns, right_uj)
        intervals.append(MeterInterval(one.meter, left, right, right_uj - left_uj, *cells))
    return intervals


@compiled
def _around(times_ns: Int64s, values_uj: Int64s, at_ns: int) -> tuple[int, int, int, int]:
    """Time and value of the last reading until `at_ns` and of the first from it on; there are both."""
    after = np.searchsorted(times_ns, at_ns)
    before = after if times_ns[after] == at_ns else after - 1
    return times_ns[before], values_uj[before], times_ns[after], values_uj[after]


@compiled
def _cells(
    times_ns: Int64s, values_uj: Int64s, left_ns: int, left_uj: int, right_ns: int, right_uj: int
) -> tuple[Int64s, Int64s]:
    """Edges (C + 1,) and energy (C,) of the steps from `left_ns` to `right_ns`."""
    first = np.searchsorted(times_ns, left_ns, side="right")
    last = np.searchsorted(times_ns, right_ns)
    edges_ns, energy_uj = np.empty(last - first + 2, np.int64), np.empty(last - first + 1, np.int64)
    edges_ns[0], edges_ns[-1] = left_ns, right_ns
    edges_ns[1:-1] = times_ns[first:last]
    before_uj = left_uj
    for place in range(first, last):
        energy_uj[place - first] = values_uj[place] - before_uj
        before_uj = values_uj[place]
    energy_uj[-1] = right_uj - before_uj
    return edges_ns, energy_uj
