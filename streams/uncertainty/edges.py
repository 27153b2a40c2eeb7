"""How far a window's meter may be off because the counter shows late, or in part, what happened at its edges."""

from collections.abc import Sequence
from math import sqrt
from typing import Final

import numpy as np
from numpy.typing import NDArray

from schemas.compiled import compiled
from streams.metering import MeterInterval
from streams.pairwise import pairwise_sum
from streams.uncertainty.sensors import Sensor

__all__ = ["edge_error"]

Int64s = NDArray[np.int64]

_LATE: Final = 1.3
_PART: Final = 0.6
"""What the two errors below are multiplied with, so that nine in ten windows of simulated engines (busy, idle, and
changing between the two; single iterations that scatter) lie inside 1.64 of them: steps of the counter are neither
independent nor alike. Samples that knew nothing of their neighbours would need a _PART of 1; an iteration as long
as the sample makes them alike."""


def edge_error(intervals: Sequence[MeterInterval], sensor: Sensor) -> float:
    """Standard error of the intervals' summed energy, relative to it; 0 where nothing was drawn.

    A counter that averages the trailing `average_s` lags the truth by half of that: a window is off by the lag
    times the difference of power between its edges, which falls with the window's length. A counter that
    samples a part of each step is off, step by step, by what power varies from step to step. Counters of one
    node see the same work: their errors are added, not averaged. O(cells).
    """
    total_uj = sum(one.energy_uj for one in intervals)
    if total_uj <= 0:
        return 0.0
    return sum(_error_uj(one, sensor) for one in intervals) / total_uj


def _error_uj(interval: MeterInterval, sensor: Sensor) -> float:
    step_s, square_s2, scatter_uw, change_uw = _steps(interval.cell_edges_ns, interval.cell_uj)
    late_s = max(sensor.average_s, step_s)
    # Neighbouring steps share all of an average but its ends: what they differ by says how power varies inside.
    within = scatter_uw * sqrt(late_s / step_s) if sensor.average_s > step_s else scatter_uw
    late_uj = abs(change_uw) * late_s / 2.0
    shape_uj = within * late_s * sqrt(2.0 / 12.0)
    part_uj = _PART * scatter_uw * sqrt(square_s2 * (1.0 - sensor.duty))
    return sqrt(_LATE**2 * (late_uj**2 + shape_uj**2) + part_uj**2)


@compiled
def _steps(edges_ns: Int64s, energy_uj: Int64s) -> tuple[float, float, float, float]:
    """A counter's steps, edges (C + 1,), energy (C,): mean length in seconds, sum of the lengths' squares, standard
    deviation of the power from one step to the next, and how much power changed from the first to the last, in µW.
    """
    edges_s = (edges_ns - edges_ns[0]) / 1e9
    length_s = np.maximum(edges_s[1:] - edges_s[:-1], 1e-9)
    power_uw = energy_uj / length_s
    steps_uw = power_uw[1:] - power_uw[:-1]
    scatter_uw = np.sqrt(pairwise_sum(steps_uw * steps_uw) / steps_uw.size / 2.0) if steps_uw.size else 0.0
    step_s = pairwise_sum(length_s) / length_s.size
    return step_s, pairwise_sum(length_s * length_s), scatter_uw, power_uw[-1] - power_uw[0]
