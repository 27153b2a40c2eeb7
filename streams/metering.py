"""Energy of an interval from cumulative counters, in exact integers: the joules that everything else splits.

A counter's value at an instant is interpolated between the readings on either side and rounded once, half up
(`value_at`); an interval's energy is the difference at its two edges, so neighbouring windows share the same
figure and nothing is lost or counted twice between them. The view `books` repeats the same arithmetic in SQL.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from schemas.energy import EnergyFrame, Meter

__all__ = ["Edge", "MeterInterval", "MeterReadings", "collect_readings", "measure", "value_at"]


@dataclass(frozen=True, slots=True)
class MeterReadings:
    """One counter epoch's readings in time order."""

    meter: Meter
    times_ns: NDArray[np.int64]
    """(P,) strictly ascending."""
    values_uj: NDArray[np.int64]
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
    cell_edges_ns: NDArray[np.int64]
    """(C + 1,) the interval cut at every reading inside it."""
    cell_uj: NDArray[np.int64]
    """(C,) energy of each cell; sums to `energy_uj`."""

    @property
    def energy_uj(self) -> int:
        """Microjoules between the two edges."""
        return self.right.value_uj - self.left.value_uj


def value_at(at_ns: int, before_ns: int, before_uj: int, after_ns: int, after_uj: int) -> int:
    """Cumulative microjoules at `at_ns`, linear between two readings, rounded half up in integers."""
    span_ns = after_ns - before_ns
    if span_ns == 0:
        return before_uj
    return before_uj + (2 * (after_uj - before_uj) * (at_ns - before_ns) + span_ns) // (2 * span_ns)


def collect_readings(frames: Iterable[EnergyFrame]) -> list[MeterReadings]:
    """Join frames' readings by meter and epoch; the order of frames and repeats of one do not matter."""
    found = list(frames)
    numbers: dict[tuple[str, str], int] = {}
    meters: list[Meter] = []
    numbered = []
    for frame in found:
        for meter in frame.meters:
            if numbers.setdefault((meter.meter_id, meter.epoch), len(meters)) == len(meters):
                meters.append(meter)
        own = [numbers[meter.meter_id, meter.epoch] for meter in frame.meters]
        numbered.append(np.asarray(own, np.int64)[frame.reading_meter])
    if not meters:
        return []
    number = np.concatenate(numbered)
    times_ns = np.concatenate([frame.reading_time_ns for frame in found])
    values_uj = np.concatenate([frame.reading_uj for frame in found])
    collected = []
    for key in sorted(numbers):
        chosen = number == numbers[key]
        collected.append(MeterReadings(meters[numbers[key]], *_rising(times_ns[chosen], values_uj[chosen])))
    return collected


def _rising(
    times_ns: NDArray[np.int64], values_uj: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Readings by ascending time, one per instant, none below one before it.

    A counter never falls, but a node's clock may be set back, and then two stretches of readings claim the
    same time: what was counted last is true, and all of it lies in the time that is claimed twice.
    """
    if (np.diff(times_ns) > 0).all() and (np.diff(values_uj) >= 0).all():
        return times_ns, values_uj
    order = np.lexsort((values_uj, times_ns))
    times_ns, values_uj = times_ns[order], values_uj[order]
    highest_uj = np.maximum.accumulate(values_uj)
    kept = (values_uj == highest_uj) & np.append(times_ns[1:] != times_ns[:-1], True)
    return times_ns[kept], values_uj[kept]


def _edge(readings: MeterReadings, at_ns: int) -> Edge:
    times, values = readings.times_ns, readings.values_uj
    after = int(np.searchsorted(times, at_ns, side="left"))
    before = after if after < len(times) and times[after] == at_ns else after - 1
    return Edge(at_ns, int(times[before]), int(values[before]), int(times[after]), int(values[after]))


def measure(readings: Sequence[MeterReadings], start_ns: int, end_ns: int) -> list[MeterInterval]:
    """Energy of `[start_ns, end_ns)` by each counter epoch that knows a part of it.

    An epoch that begins or ends inside the interval contributes from its first to its last reading: what a
    counter did not count, nobody can book. An epoch with fewer than two readings in reach contributes nothing.
    """
    intervals = []
    for one in readings:
        if len(one.times_ns) == 0:
            continue
        left_ns = max(start_ns, int(one.times_ns[0]))
        right_ns = min(end_ns, int(one.times_ns[-1]))
        if right_ns <= left_ns:
            continue
        left, right = _edge(one, left_ns), _edge(one, right_ns)
        inside = slice(
            int(np.searchsorted(one.times_ns, left_ns, side="right")),
            int(np.searchsorted(one.times_ns, right_ns, side="left")),
        )
        edges_ns = np.concatenate(([left_ns], one.times_ns[inside], [right_ns]))
        values_uj = np.concatenate(([left.value_uj], one.values_uj[inside], [right.value_uj]))
        intervals.append(MeterInterval(one.meter, left, right, edges_ns, np.diff(values_uj)))
    return intervals
