"""A window that no GPU's counter covers is booked with what the energy model expects of it, marked as tier 2.

It happens after the bounded wait for the meter (agent down, a cloud GPU without NVML, energy frames lost), by the
policy `unmetered` in event time, so that everybody who books the window does the same. A later revision with the
meter's data replaces the estimate.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from streams.models import model_in_force
from streams.side_inputs import SideInputs
from streams.timeline import GAP, Timeline
from streams.windows import ClosedWindow

__all__ = ["Estimate", "estimate_of", "estimated_uj"]

_MEDIAN: Final = 0.6745
"""Median of a normal law's absolute error, in standard deviations."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """What is expected of a window beside its iterations, and how sure that is."""

    idle_power_w: float
    relative_sd: float
    """By which single windows scatter around the fit; 0 for a prior, whose width says more than that."""


def estimate_of(closed: ClosedWindow, side: SideInputs) -> Estimate | None:
    """None where nothing may be estimated: no engine's frame is there, the policy says to leave such windows
    unbooked, or an engine's model is generic, which has the right proportions and no scale of its own.
    """
    if not side.estimates_unmetered(closed.start_ns):
        return None
    engines = sorted({held.frame.engine_id for held in closed.iterations})
    found = (side.engine(engine, closed.start_ns) for engine in engines)
    models = [model_in_force(one, side, closed.start_ns) for one in found if one is not None]
    if not models or any(model.origin == "generic" for model in models):
        return None
    return Estimate(
        idle_power_w=max(model.energy.idle_w for model in models),
        relative_sd=max(model.relative_error / _MEDIAN if model.origin == "fit" else 0.0 for model in models),
    )


def estimated_uj(timeline: Timeline) -> NDArray[np.float64]:
    """(A,) microjoules per account of `timeline` as the model has them; a gap has none: nobody saw that time."""
    expected_uj = 1e6 * timeline.expected_j[:, -1]
    expected_uj[GAP] = 0.0
    return expected_uj
