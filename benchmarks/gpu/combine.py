"""Visits of a cell into one figure with an honest error: the scatter between visits, or within them.

Pure arithmetic; used by the planner to decide what to look at again and by the data set that is published.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

__all__ = ["Figure", "between_visits", "combined"]

_Z95: Final = 1.6448536269514722
_ENOUGH: Final = 8
"""Repeated cells before their scatter is believed instead of the prior one."""


@dataclass(frozen=True, slots=True)
class Figure:
    """A cell's iteration, over all of its visits."""

    energy_j: float
    half_width_j: float
    """90 %: scatter within and between visits; the meter's common error of scale is not in it."""
    period_s: float
    power_w: float
    visits: int
    iterations: int
    temperature_c: float | None
    sm_clock_mhz: float | None
    throttle_reasons: int


def between_visits(visits: Mapping[str, Sequence[Mapping[str, Any]]], prior: float) -> float:
    """Relative standard deviation of one visit, pooled over cells seen more than once; `prior` with too few."""
    squares, freedom, cells = 0.0, 0, 0
    for seen in visits.values():
        if len(seen) > 1:
            energy = np.array([visit["energy_j"] for visit in seen])
            squares += float(np.sum((energy / energy.mean() - 1.0) ** 2))
            freedom += len(seen) - 1
            cells += 1
    return prior if cells < _ENOUGH else float((squares / freedom) ** 0.5)


def combined(seen: Sequence[Mapping[str, Any]], scatter: float) -> Figure:
    """One cell's visits as one figure; `scatter` is what `between_visits` found. At least one visit."""
    energy = np.array([visit["energy_j"] for visit in seen])
    within = np.array([visit["half_width_j"] for visit in seen]) / _Z95
    mean = float(energy.mean())
    # Scatter between visits contains what scatters within them: the larger of the two, not their sum.
    error = max(scatter * mean, float(np.sqrt(np.mean(within**2)))) / len(seen) ** 0.5
    return Figure(
        energy_j=mean,
        half_width_j=_Z95 * error,
        period_s=_mean(seen, "period_s") or 0.0,
        power_w=_mean(seen, "power_w") or 0.0,
        visits=len(seen),
        iterations=sum(int(visit["iterations"]) for visit in seen),
        temperature_c=_mean(seen, "temperature_c"),
        sm_clock_mhz=_mean(seen, "sm_clock_mhz"),
        throttle_reasons=int(np.bitwise_or.reduce([int(visit["throttle_reasons"] or 0) for visit in seen])),
    )


def _mean(seen: Sequence[Mapping[str, Any]], name: str) -> float | None:
    values = [float(visit[name]) for visit in seen if visit[name] is not None]
    return float(np.mean(values)) if values else None
