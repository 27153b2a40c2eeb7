"""How far a window's meter may be off because the counter shows late, or in part, what happened at its edges."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from streams.metering import MeterInterval
from streams.uncertainty.sensors import Sensor

__all__ = ["edge_error"]

Floats = NDArray[np.float64]


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
    span_s = float(edges_s[-1])
    cumulative_uj = np.concatenate([[0.0], np.cumsum(interval.cell_uj)])
    look_s = min(max(sensor.average_s, _step_s(edges_s)), span_s)
    at_left = float(np.interp(look_s, edges_s, cumulative_uj)) / look_s
    at_right = float(cumulative_uj[-1] - np.interp(span_s - look_s, edges_s, cumulative_uj)) / look_s
    late_uj = abs(at_right - at_left) * max(sensor.average_s, _step_s(edges_s)) / 2.0
    return float(np.hypot(late_uj, _part_time_uj(edges_s, interval.cell_uj, sensor.duty)))


def _step_s(edges_s: Floats) -> float:
    """Mean length of a cell: what interpolation between two readings cannot resolve."""
    return float(edges_s[-1]) / max(len(edges_s) - 1, 1)


def _part_time_uj(edges_s: Floats, cell_uj: NDArray[np.int64], duty: float) -> float:
    """Error of extrapolating each step from a part of it, by what neighbouring steps differ."""
    if duty >= 1.0 or len(cell_uj) < 2:
        return 0.0
    length_s = np.diff(edges_s)
    power = cell_uj / np.maximum(length_s, 1e-9)
    scatter = float(np.sqrt(np.mean(np.diff(power) ** 2) / 2.0))
    return scatter * float(np.sqrt((length_s**2).sum())) * float(np.sqrt(1.0 - duty))
