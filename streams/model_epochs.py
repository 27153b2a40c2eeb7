"""Which energy model an epoch of event time is booked with, and how it comes about.

Epoch j is [j·E, (j+1)·E). Its model is fitted on windows that ended before (j−1)·E, one epoch earlier, so that it
can be known before the first batch that needs it. Whoever books that batch first decides; the decision is an
event (`wattledger.models.v1`), the first one counts, and every batch records the version it was split with.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from schemas.errors import AttributionError
from schemas.side_inputs import EngineDescriptor, ModelVersion
from streams.attribution import EnergyModel, gpu_sheet
from streams.attribution.features import FEATURES
from streams.attribution.fit import Fit, FitSettings, fit_energy_model
from streams.attribution.fit_checks import Shape
from streams.models import ModelInForce, model_in_force
from streams.side_inputs import SideInputs

__all__ = ["EpochRules", "FitWindows", "decide", "undecided"]

FEWEST_WINDOWS: Final = 12
"""Fewer windows leave a dozen coefficients to noise: the model in force stays."""
WORST_FIT: Final = 0.10
"""A fit whose held-out error is above this describes its engine no better than the prior: it is not used."""


@dataclass(frozen=True, slots=True)
class FitWindows:
    """W windows of one engine class, oldest first, that held nothing but iterations and idle time."""

    features: list[dict[str, float]]
    energy_j: NDArray[np.float64]
    start_ns: NDArray[np.int64]


UNFITTED: Final = frozenset({"adapters", "prefix_groups", "padding_tokens"})
"""Terms that ordinary windows do not vary enough to identify; a fit would hand them the noise of the others."""

ReadWindows = Callable[[str, int, int], FitWindows]
"""(engine class, from, to) → its windows in that event time."""


@dataclass(frozen=True, slots=True)
class EpochRules:
    """When models change."""

    epoch_ns: int = 600_000_000_000
    """A regime change is followed within two epochs; shorter epochs have fewer windows to learn from."""
    memory_epochs: int = 6
    """Windows older than this are forgotten."""
    half_life_epochs: float = 2.0
    """A window counts half as much after so many epochs."""

    def epoch(self, at_ns: int) -> int:
        """The epoch that `at_ns` lies in."""
        return at_ns // self.epoch_ns


def undecided(
    engines: Collection[tuple[EngineDescriptor, int]], side: SideInputs, rules: EpochRules
) -> list[tuple[EngineDescriptor, int]]:
    """Of engines and the instants they are booked at: one engine per class and epoch without a decision."""
    open_decisions: dict[tuple[str, int], EngineDescriptor] = {}
    for descriptor, at_ns in engines:
        epoch = rules.epoch(at_ns)
        if not side.has_model_from(descriptor.engine_class, epoch * rules.epoch_ns):
            open_decisions.setdefault((descriptor.engine_class, epoch), descriptor)
    return [
        (descriptor, epoch) for (_, epoch), descriptor in sorted(open_decisions.items(), key=lambda i: i[0])
    ]


def decide(
    descriptor: EngineDescriptor, epoch: int, side: SideInputs, read: ReadWindows, rules: EpochRules
) -> ModelVersion:
    """The model of `epoch` for the engine's class: a fit, or the model in force before it."""
    effective_ns = epoch * rules.epoch_ns
    until_ns = effective_ns - rules.epoch_ns
    windows = read(descriptor.engine_class, until_ns - rules.memory_epochs * rules.epoch_ns, until_ns)
    current = model_in_force(descriptor, side, effective_ns)
    fit = _fit(descriptor, current, windows, until_ns, rules)
    if fit is None:
        return ModelVersion(
            engine_class=descriptor.engine_class,
            version=current.version,
            effective_from_ns=max(effective_ns, 1),
            origin="fit" if current.origin == "fit" else "prior",
            coefficients=current.energy.coefficients(),
            fit_error=current.relative_error,
        )
    return ModelVersion(
        engine_class=descriptor.engine_class,
        version=f"fit-{until_ns // 1_000_000_000}-{len(windows.start_ns)}",
        effective_from_ns=effective_ns,
        origin="fit",
        coefficients=fit.model.coefficients(),
        fit_error=fit.held_out_error,
        covariance=_covariance(fit),
    )


def _covariance(fit: Fit) -> tuple[tuple[float, ...], ...]:
    """The fit's covariance in the order of the model's coefficients; 0 for what was not fitted."""
    names = list(fit.model.coefficients())
    at = [names.index(FEATURES[term]) for term in fit.terms]
    whole = np.zeros((len(names), len(names)))
    whole[np.ix_(at, at)] = fit.covariance
    return tuple(tuple(row) for row in whole.tolist())


def _fit(
    descriptor: EngineDescriptor, current: ModelInForce, windows: FitWindows, until_ns: int, rules: EpochRules
) -> Fit | None:
    """The fit, or None where there is too little to fit, or the fit does not describe the engine.

    Terms that the windows cannot tell apart (a constant batch size: is it the iteration or its requests?) keep
    the figure in force, and the others are fitted to what is left.
    """
    if len(windows.start_ns) < FEWEST_WINDOWS:
        return None
    features = [
        {name: value for name, value in window.items() if name not in UNFITTED} for window in windows.features
    ]
    settings: FitSettings = {
        "expert_fraction": current.energy.expert_fraction,
        "ages": (until_ns - windows.start_ns) / rules.epoch_ns,
        "half_life": rules.half_life_epochs,
        "shape": _shape(descriptor),
    }
    try:
        fit = fit_energy_model(features, windows.energy_j, **settings)
        kept = _coefficients_kept(current.energy, fit, features)
        if kept:
            known_j = np.zeros(len(features))
            for feature, value in kept.items():
                known_j += value * np.asarray([window.get(feature, 0.0) for window in features])
            others: FitSettings = {**settings, "terms": fit.terms}
            fit = fit_energy_model(features, windows.energy_j - known_j, **others)
            model = EnergyModel.from_coefficients(
                fit.model.coefficients() | {FEATURES[feature]: value for feature, value in kept.items()}
            )
            fit = replace(fit, model=model)
    except AttributionError:
        return None
    return fit if np.isfinite(fit.held_out_error) and fit.held_out_error <= WORST_FIT else None


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
