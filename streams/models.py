"""The energy model that a batch is split with: the fit in force for its engine class, else a marked prior."""

import hashlib
import json
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from schemas.errors import AttributionError
from schemas.side_inputs import EngineDescriptor
from streams.attribution import EnergyModel
from streams.side_inputs import SideInputs
from streams.uncertainty.loadings import COEFFICIENTS, root
from streams.uncertainty.parameters import prior_covariance

__all__ = ["ModelInForce", "model_in_force"]

PRIOR_ERROR: Final = 0.15
"""Median relative error granted to a prior: weight bytes predict an iteration's energy to about 15 %
across the public H100 and B200 measurements; docs/attribution.md has the table."""

GENERIC: Final = EnergyModel(
    fixed_j=1.0, request_j=9e-3, prefill_token_j=7e-3, context_token_j=3.5e-6, idle_w=100.0
)
"""Ratios of a dense model on H100, for an engine whose size or GPU nobody declared: the meter scales them,
and rows say `generic`."""
GENERIC_ERROR: Final = 0.6
"""Granted to a model that knows nothing of the engine: its fixed share may be off by this much."""


@dataclass(frozen=True, slots=True)
class ModelInForce:
    """An energy model with its name and what is known of its error."""

    energy: EnergyModel
    version: str
    origin: str
    """`fit`, `prior` (from the model's shape and the GPU's data sheet) or `generic` (nothing declared)."""
    relative_error: float
    """Median relative error per window on data it was not fitted to."""
    spread: NDArray[np.float64]
    """(7, 7) root of the covariance of `loadings.COEFFICIENTS`, as `loadings.root` makes it."""


def model_in_force(descriptor: EngineDescriptor, side: SideInputs, at_ns: int) -> ModelInForce:
    """The version whose effective_from is the latest not after `at_ns`; the prior before the first."""
    version = side.model(descriptor.engine_class, at_ns)
    if version is None:
        return _prior(descriptor)
    return ModelInForce(
        energy=_energy(tuple(version.coefficients.items())),
        version=version.version,
        origin=version.origin,
        relative_error=PRIOR_ERROR if version.fit_error is None else version.fit_error,
        spread=_spread(tuple(version.coefficients.items()), version.covariance),
    )


@lru_cache(maxsize=1024)
def _energy(coefficients: tuple[tuple[str, float], ...]) -> EnergyModel:
    return EnergyModel.from_coefficients(dict(coefficients))


@lru_cache(maxsize=1024)
def _spread(
    coefficients: tuple[tuple[str, float], ...], covariance: tuple[tuple[float, ...], ...]
) -> NDArray[np.float64]:
    """Root of a version's covariance; of its prior's width where it has none."""
    size = len(COEFFICIENTS)
    if not covariance:
        return root(prior_covariance(EnergyModel.from_coefficients(dict(coefficients)))[:size, :size])
    at = {name: index for index, (name, _) in enumerate(coefficients)}
    full = np.zeros((size, size))
    known = [index for index, name in enumerate(COEFFICIENTS) if name in at]
    chosen = [at[COEFFICIENTS[index]] for index in known]
    full[np.ix_(known, known)] = np.asarray(covariance)[np.ix_(chosen, chosen)]
    return root(full)


@lru_cache(maxsize=4096)
def _prior(descriptor: EngineDescriptor) -> ModelInForce:
    try:
        energy = EnergyModel.prior(
            gpu=descriptor.gpu_model,
            gpus=len(descriptor.gpu_uuids),
            weight_bytes=descriptor.weight_bytes,
            kv_bytes_per_token=descriptor.kv_bytes_per_token,
            expert_weight_bytes=descriptor.expert_weight_bytes,
            experts_total=descriptor.experts_total,
            experts_active=descriptor.experts_active,
        )
    except AttributionError:
        return ModelInForce(GENERIC, "generic", "generic", GENERIC_ERROR, _root_of(GENERIC, GENERIC_ERROR))
    named = json.dumps(energy.coefficients(), sort_keys=True).encode()
    version = f"prior-{hashlib.blake2b(named, digest_size=6).hexdigest()}"
    return ModelInForce(energy, version, "prior", PRIOR_ERROR, _root_of(energy, None))


def _root_of(energy: EnergyModel, relative: float | None) -> NDArray[np.float64]:
    size = len(COEFFICIENTS)
    return root(prior_covariance(energy, relative)[:size, :size])
