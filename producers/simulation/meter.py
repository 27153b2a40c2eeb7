"""A simulated energy counter with NVML's habits: cumulative millijoules that step about every 100 ms.

A sensor may see less than there is: `window_us` is what it averages before each step (H100: the trailing
second; A100: 25 ms of every 100 ms; see "Part-time Power Measurements", arXiv 2312.02741), `gain` its
proportional error.
The counter is read at its first and last instant too, as an agent does when it starts and stops.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["A100", "EXACT", "H100", "STEP_US", "Readings", "Sensor", "read_counter"]

Floats = NDArray[np.float64]
Int64s = NDArray[np.int64]

STEP_US = 100_000
"""Mean period of the counter's steps (observed on A100, H100 and B200)."""
_JITTER_US = 3_000
"""Steps scatter by a few milliseconds around the period; small against it, so that they stay in order."""


@dataclass(frozen=True, slots=True)
class Sensor:
    """What the counter integrates."""

    window_us: int = 0
    """Length of the average taken before each step; 0 integrates the full signal."""
    gain: float = 1.0


EXACT = Sensor()
H100 = Sensor(window_us=1_000_000)
A100 = Sensor(window_us=25_000)


@dataclass(frozen=True, slots=True, eq=False)
class Readings:
    """P readings at the instants at which a counter changed."""

    time_us: Int64s
    """(P,) ascending."""
    cumulative_uj: Int64s
    """(P,) ascending, whole multiples of the counter's unit."""


def read_counter(
    cumulative_j: Callable[[Int64s], Floats],
    end_us: int,
    *,
    seed: int,
    sensor: Sensor = EXACT,
    start_uj: int = 0,
    unit_uj: int = 1000,
) -> Readings:
    """Readings over [0, end_us] of a counter that stood at `start_uj`; `cumulative_j` is the energy since 0.

    `seed` fixes the phase and the jitter of the steps. NVML's unit is 1 mJ, RAPL's is below 100 µJ.
    """
    rng = np.random.default_rng(seed)
    steps = np.arange(int(rng.integers(0, STEP_US)), end_us, STEP_US)
    steps = steps + rng.integers(-_JITTER_US, _JITTER_US + 1, len(steps))
    steps = steps[(steps > 0) & (steps < end_us)]
    time_us = np.concatenate([[0], steps, [end_us]]).astype(np.int64)
    seen_j = cumulative_j(time_us)
    if sensor.window_us:
        opened = np.maximum(time_us - sensor.window_us, 0)
        span_us = np.maximum(time_us - opened, 1)
        power = (seen_j - cumulative_j(opened)) / span_us
        seen_j = np.concatenate([[0.0], np.cumsum(power[1:] * np.diff(time_us))])
    units = np.floor(seen_j * sensor.gain * 1e6 / unit_uj + 1e-6).astype(np.int64)
    changed = np.concatenate([[True], np.diff(units) > 0])
    return Readings(time_us=time_us[changed], cumulative_uj=start_uj + units[changed] * unit_uj)
