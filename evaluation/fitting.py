"""The energy model that a provider would have: fitted to the run's accounting windows, as the pipeline fits it.

Only sums over windows are used, never the energy of an iteration: that is what the counters give. A run too
short or too even for a fit gets the prior from the model's shape and the GPU's data sheet, as a new engine does.
"""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from evaluation.runs import Run, Segment
from producers.simulation.engine_types import EngineType
from schemas.errors import AttributionError
from streams.attribution import EnergyModel
from streams.attribution.features import modelled_energy, window_features
from streams.attribution.fit import fit_energy_model as fit_windows

__all__ = ["WINDOW_US", "FittedModel", "fit_energy_model", "windows_of"]

Int64s = NDArray[np.int64]

WINDOW_US: Final = 5_000_000
"""The accounting window of the pipeline."""


@dataclass(frozen=True, slots=True)
class FittedModel:
    """An energy model and how well it describes the run."""

    energy: EnergyModel
    source: str
    """`fit` or `prior`."""
    median_error: float
    """Median relative error of a window's energy; held out, where fitted."""
    windows: int


def windows_of(segment: Segment) -> Int64s:
    """(T,) the window in which each iteration ends."""
    return np.asarray((segment.schedule.end_us - 1) // WINDOW_US, np.int64)


def fit_energy_model(run: Run) -> FittedModel:
    """Fit to the run's windows, or fall back to the prior where they cannot carry a fit."""
    engine = run.system.engine
    features, energy_j = _windows(run)
    try:
        fit = fit_windows(features, energy_j, expert_fraction=_expert_fraction(engine))
    except AttributionError:
        model = _prior(engine)
        modelled = np.array([modelled_energy(model, window) for window in features])
        return FittedModel(model, "prior", float(np.median(np.abs(modelled / energy_j - 1.0))), len(features))
    return FittedModel(fit.model, "fit", fit.held_out_error, fit.windows)


def _windows(run: Run) -> tuple[list[Mapping[str, float]], NDArray[np.float64]]:
    """Features and joules of every window with iterations; one that crosses two segments is added up."""
    fraction = _expert_fraction(run.system.engine)
    sums: defaultdict[int, defaultdict[str, float]] = defaultdict(lambda: defaultdict(float))
    joules: defaultdict[int, float] = defaultdict(float)
    for segment in run.segments():
        window = windows_of(segment)
        for number in np.unique(window).tolist():
            inside = window == number
            joules[number] += float(segment.energy_j[inside].sum())
            part = window_features(
                segment.trace.reweighted(inside.astype(np.float64)), expert_fraction=fraction
            )
            for name, value in part.items():
                sums[number][name] += value
    return [dict(sums[number]) for number in joules], np.array(list(joules.values()))


def _expert_fraction(engine: EngineType) -> float:
    return 0.0 if engine.experts is None else engine.experts.active / engine.experts.total


def _prior(engine: EngineType) -> EnergyModel:
    experts = engine.experts
    return EnergyModel.prior(
        weight_bytes=engine.weight_bytes,
        kv_bytes_per_token=engine.kv_bytes_per_token,
        gpu=engine.gpu_model,
        gpus=engine.gpus,
        expert_weight_bytes=0.0 if experts is None else experts.weight_bytes,
        experts_active=0 if experts is None else experts.active,
        experts_total=0 if experts is None else experts.total,
    )
