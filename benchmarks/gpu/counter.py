"""Power from a counter that moves in steps: pure arithmetic on readings.

The counter is only known when it changes: between two changes it has grown by an exact number of millijoules, and
a change is known to have happened between the last reading of the old value and the first of the new one.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import gcd
from statistics import median

import numpy as np
from numpy.typing import NDArray

__all__ = ["Power", "Steps", "change_times", "counter_power", "resolution_mj", "response_s", "student_95"]

Floats = NDArray[np.float64]

_Z95 = 1.6448536269514722


@dataclass(frozen=True, slots=True)
class Steps:
    """The counter's changes."""

    times_s: Floats
    """(m,) midpoints between the readings on either side."""
    joules: Floats
    """(m,) the counter after each change."""
    gaps_s: Floats
    """(m,) between the two readings that hold the change: it is known to half of that."""


@dataclass(frozen=True, slots=True)
class Power:
    """Mean power over whole steps."""

    watts: float
    half_width_w: float
    """90 %: Student t on the scatter of the steps and the timing of the two ends."""
    seconds: float
    steps: int


def change_times(times_s: Sequence[float], millijoules: Sequence[int]) -> Steps:
    """Changes among (k,) readings in order of time."""
    at: list[float] = []
    joules: list[float] = []
    gaps: list[float] = []
    for before, now, old, new in zip(times_s, times_s[1:], millijoules, millijoules[1:], strict=False):
        if new != old:
            at.append((before + now) / 2.0)
            joules.append(new / 1000.0)
            gaps.append(now - before)
    return Steps(np.array(at), np.array(joules), np.array(gaps))


def counter_power(steps: Steps) -> Power | None:
    """Energy between the first and the last change over the time between them; None with fewer than three.

    A change that is seen late makes one step long and the next one short: such timing errors cancel but for
    those of the two ends, so their part is taken out of the steps' scatter and the ends' is put in.
    """
    count = len(steps.times_s) - 1
    if count < 2:
        return None
    lengths = np.diff(steps.times_s)
    seconds = float(lengths.sum())
    watts = float(steps.joules[-1] - steps.joules[0]) / seconds
    timing = float(np.mean(steps.gaps_s**2)) / 12.0
    of_timing = 2.0 * timing * (watts / seconds) ** 2
    scatter = float((np.diff(steps.joules) / lengths).var(ddof=1)) - of_timing * count**2
    error = (max(scatter, 0.0) / count + of_timing) ** 0.5
    return Power(watts, student_95(count - 1) * error, seconds, count)


def student_95(freedom: int) -> float:
    """95th percentile of Student's t: half width of a 90 % interval in standard errors.

    Exact for one and two degrees of freedom; above, the expansion in 1/ν (Abramowitz and Stegun 26.7.5), good
    to half a per cent from three on.
    """
    if freedom < 1:
        return float("inf")
    if freedom == 1:
        return 6.313751514675
    if freedom == 2:
        return 2.919985580354
    z = _Z95
    first = (z**3 + z) / 4.0
    second = (5 * z**5 + 16 * z**3 + 3 * z) / 96.0
    third = (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384.0
    return z + first / freedom + second / freedom**2 + third / freedom**3


def resolution_mj(millijoules: Sequence[int]) -> int:
    """Largest figure that divides every increase: the counter's unit; 0 if it never moved."""
    return gcd(*(new - old for old, new in pairwise(millijoules)))


def response_s(steps: Steps, switched_s: float) -> float | None:
    """How long after the load was switched the counter's slope had made nine tenths of the way to where it ends.

    None where the slope hardly changed. The last three steps are taken for the end, the last before the switch
    for the beginning.
    """
    each = np.diff(steps.joules) / np.diff(steps.times_s)
    ends = steps.times_s[1:]
    before, after = each[ends <= switched_s], each[ends > switched_s]
    if before.size == 0 or after.size < 4:
        return None
    start, end = float(before[-1]), median(after[-3:].tolist())
    if abs(end - start) < 0.1 * max(abs(start), abs(end)):
        return None
    there = np.flatnonzero((after - start) / (end - start) >= 0.9)
    return float(ends[ends > switched_s][there[0]] - switched_s)
