"""How far a window's meter may be off because the counter shows late, or in part, what happened at its edges."""

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from streams.metering import MeterInterval
from streams.uncertainty.sensors import Sensor

__all__ = ["edge_error"]

Floats = NDArray[np.float64]

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
    edges_s = (interval.cell_edges_ns - interval.cell_edges_ns[0]) / 1e9
    length_s = np.maximum(np.diff(edges_s), 1e-9)
    power = interval.cell_uj / length_s
    step_s = float(np.mean(length_s))
    late_s = max(sensor.average_s, step_s)
    # Neighbouring steps share all of an average but its ends: what they differ by says how power varies inside.
    within = (
        _scatter(power) * float(np.sqrt(late_s / step_s)) if sensor.average_s > step_s else _scatter(power)
    )
    late_uj = abs(float(power[-1] - power[0])) * late_s / 2.0
    shape_uj = within * late_s * float(np.sqrt(2.0 / 12.0))
    part_uj = _PART * _scatter(power) * float(np.sqrt((length_s**2).sum() * (1.0 - sensor.duty)))
    return float(np.sqrt(_LATE**2 * (late_uj**2 + shape_uj**2) + part_uj**2))


def _scatter(power: Floats) -> float:
    """Standard deviation of the power from one step to the next."""
    return float(np.sqrt(np.mean(np.diff(power) ** 2) / 2.0)) if len(power) > 1 else 0.0
