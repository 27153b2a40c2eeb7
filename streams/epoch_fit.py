"""A fit of one engine class's windows as it may go into force: usable, calibrated, complete where data are not."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from schemas.errors import AttributionError
from schemas.side_inputs import EngineDescriptor
from streams.attribution import EnergyModel, gpu_sheet
from streams.attribution.features import FEATURES
from streams.attribution.fit import Fit, FitSettings, fit_energy_model
from streams.attribution.fit_checks import Shape
from streams.meter_habits import level, seen_by_the_counter
from streams.uncertainty.held_out import held_out_errors
from streams.uncertainty.parameters import CALIBRATED, calibrate

__all__ = ["FitWindows", "UsableFit", "usable_fit"]

Floats = NDArray[np.float64]

FEWEST_WINDOWS: Final = 12
"""Fewer windows leave a dozen coefficients to noise: the model in force stays."""
WORST_FIT: Final = 0.10
"""A fit whose held-out error is above this describes its engine no better than the prior: it is not used."""
_LEVELLINGS: Final = 2
"""Rounds of levels and fits: what the first fit took for work, the next ones give back to the meters."""
UNFITTED: Final = frozenset({"adapters", "prefix_groups", "padding_tokens"})
"""Terms that ordinary windows do not vary enough to identify; a fit would hand them the noise of the others."""


@dataclass(frozen=True, slots=True)
class FitWindows:
    """W windows of one engine class, oldest first, that held nothing but iterations and idle time."""

    features: list[dict[str, float]]
    energy_j: Floats
    start_ns: NDArray[np.int64]
    group: tuple[str, ...] = ()
    """(W,) whose meter it was; empty where nobody says: then all have one."""
    owed: tuple[dict[str, float], ...] = ()
    """(W,) by feature, for a counter that averages: what it owed at the window's start minus what it owes at its
    end; empty where nobody says."""


@dataclass(frozen=True, slots=True)
class UsableFit:
    """A fit that describes its engine."""

    model: EnergyModel
    held_out_error: float
    """Median relative error on windows left out."""
    covariance: tuple[tuple[float, ...], ...]
    """Of the model's coefficients, in the order of `coefficients()`; 0 for what is not carried into shares."""


def usable_fit(
    descriptor: EngineDescriptor, current: EnergyModel, windows: FitWindows, ages: Floats, half_life: float
) -> UsableFit | None:
    """The fit, or None where there is too little to fit, or the fit does not describe the engine.

    Terms that the windows cannot tell apart (a constant batch size: is it the iteration or its requests?) keep
    the figure in force, and the others are fitted to what is left. `ages` (W,) and `half_life` are in one unit.
    """
    if len(windows.start_ns) < FEWEST_WINDOWS:
        return None
    features = [
        {name: value for name, value in window.items() if name not in UNFITTED} for window in windows.features
    ]
    weights = np.asarray(0.5 ** ((ages - ages.min()) / half_life))
    features = seen_by_the_counter(features, windows, weights)
    settings: FitSettings = {
        "expert_fraction": current.expert_fraction,
        "ages": ages,
        "half_life": half_life,
        "shape": _shape(descriptor),
    }
    energy_j = windows.energy_j
    try:
        fit, known_j = _complete(features, energy_j, current, settings)
        if len(set(windows.group)) > 1:
            terms: FitSettings = {**settings, "terms": fit.terms}
            for _ in range(_LEVELLINGS):
                energy_j = level(features, energy_j, windows.group, fit.model)
                fit, known_j = _complete(features, energy_j, current, terms)
    except AttributionError:
        return None
    if not (np.isfinite(fit.held_out_error) and fit.held_out_error <= WORST_FIT):
        return None
    if fit.regimes is not None:
        weights = weights * (fit.regimes.labels == fit.regimes.labels[-1])
    used = np.flatnonzero(weights > 0)
    errors = held_out_errors(
        [features[i] for i in used], energy_j[used], fit.terms, known_j[used], weights[used]
    )
    calibration = calibrate(
        [features[i] for i in used],
        energy_j[used],
        errors,
        fit.model,
        prior=current,
        fitted=fit.terms,
        weights=weights[used],
    )
    return UsableFit(fit.model, fit.held_out_error, _by_coefficient(fit.model, calibration.covariance))


def _complete(
    features: Sequence[Mapping[str, float]], energy_j: Floats, current: EnergyModel, settings: FitSettings
) -> tuple[Fit, Floats]:
    """The fit, with terms that could not be told apart as they were; and (W,) joules of those. AttributionError."""
    fit = fit_energy_model(features, energy_j, **settings)
    known_j = np.zeros(len(features))
    kept = _coefficients_kept(current, fit, features)
    if kept:
        for feature, value in kept.items():
            known_j += value * np.asarray([window.get(feature, 0.0) for window in features])
        others: FitSettings = {**settings, "terms": fit.terms}
        fit = fit_energy_model(features, energy_j - known_j, **others)
        model = EnergyModel.from_coefficients(
            fit.model.coefficients() | {FEATURES[feature]: value for feature, value in kept.items()}
        )
        fit = replace(fit, model=model)
    return fit, known_j


def _by_coefficient(model: EnergyModel, covariance: Floats) -> tuple[tuple[float, ...], ...]:
    """A calibration's covariance in the order of the model's coefficients."""
    names = list(model.coefficients())
    at = [names.index(name) for name in CALIBRATED]
    whole = np.zeros((len(names), len(names)))
    whole[np.ix_(at, at)] = covariance
    return tuple(tuple(row) for row in whole.tolist())


def _coefficients_kept(
    current: EnergyModel, fit: Fit, windows: Sequence[Mapping[str, float]]
) -> dict[str, float]:
    """By feature: coefficients in force of terms that occur and that the fit could not tell apart."""
    in_force = current.coefficients()
    fitted = {FEATURES[feature] for feature in fit.terms}
    return {
        feature: in_force[coefficient]
        for feature, coefficient in FEATURES.items()
        if coefficient not in fitted
        and coefficient != "excess_token_j"
        and in_force[coefficient] > 0
        and any(window.get(feature, 0.0) > 0 for window in windows)
    }


def _shape(descriptor: EngineDescriptor) -> Shape | None:
    try:
        sheet = gpu_sheet(descriptor.gpu_model)
    except AttributionError:
        return None
    return Shape(
        weight_bytes=descriptor.weight_bytes,
        kv_bytes_per_token=descriptor.kv_bytes_per_token,
        gpu=sheet,
        expert_weight_bytes=descriptor.expert_weight_bytes,
    )
