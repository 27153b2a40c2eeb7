"""What a fit is held against: the physics of reading memory, and the signature of a mixture of experts."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from streams.attribution.energy_model import EnergyModel
from streams.attribution.gpus import GpuSheet
from streams.attribution.nnls import robust_regression

__all__ = ["Flag", "PhysicsCheck", "Shape", "mixture_flags", "physics_check"]

Floats = NDArray[np.float64]

_GATE: Final = 0.25
"""A coefficient further than this from the GPU's energy per byte is flagged: dense fits lie within 15 %."""
_SATURATION: Final = (1 / 64, 1 / 32, 1 / 16, 1 / 8, 1 / 4)
"""Parts of the experts that a token uses, from the finest mixtures to Mixtral."""


@dataclass(frozen=True, slots=True)
class Flag:
    """One thing that a reader of the fit must know."""

    kind: str
    """not_separable, two_regimes, poor_fit, physics_weights, physics_cache or mixture_without_experts."""
    message: str


@dataclass(frozen=True, slots=True)
class Shape:
    """What is known of the engine without measuring."""

    weight_bytes: float
    """Read by every iteration: dense part and shared layers."""
    kv_bytes_per_token: float
    gpu: GpuSheet
    expert_weight_bytes: float = 0.0
    """All routed experts together; 0 for a dense model."""


@dataclass(frozen=True, slots=True)
class PhysicsCheck:
    """Energy per byte as fitted, beside what the GPU needs per byte."""

    weights_pj_per_byte: float
    """Fixed (and experts') energy over the weights' bytes."""
    cache_pj_per_byte: float
    """Context energy over the cache's bytes."""
    expected_pj_per_byte: float
    flags: tuple[Flag, ...]


def physics_check(model: EnergyModel, shape: Shape) -> PhysicsCheck:
    """Compare coefficients with bytes: a warning with the numbers, never a correction.

    Holds for dense models on current software; 2024 engines needed up to twice as much per weight byte.
    """
    weights = shape.weight_bytes + shape.expert_weight_bytes
    per_weight = (model.fixed_j + model.experts_j) / weights * 1e12 if weights > 0 else float("nan")
    per_cache = (
        model.context_token_j / shape.kv_bytes_per_token * 1e12
        if shape.kv_bytes_per_token > 0
        else float("nan")
    )
    expected = shape.gpu.byte_j * 1e12
    flags = tuple(
        Flag(
            f"physics_{what}",
            f"{value:.0f} pJ per byte of {what}, {shape.gpu.name} needs about {expected:.0f}: "
            f"{value / expected - 1.0:+.0%}",
        )
        for what, value in (("weights", per_weight), ("cache", per_cache))
        if value > 0 and abs(value / expected - 1.0) > _GATE
    )
    return PhysicsCheck(per_weight, per_cache, expected, flags)


def mixture_flags(
    basics: Floats, design: Floats, energy: Floats, prior: Floats, shape: Shape | None
) -> list[Flag]:
    """Flag a fit without an expert term on a mixture of experts, known by its shape or seen in the data.

    `basics` (n, 2) are iterations and requests. Seen in the data, where no shape is given: the share of
    experts that the mean batch touches halves the error of a fit that errs by more than a twentieth, and is
    worth a term by Schwarz's criterion.
    """
    error = _error(design, energy, prior)
    known = shape is not None and shape.expert_weight_bytes > 0
    if not known and (error < 0.05 or shape is not None):
        return []
    iterations, requests = basics.T
    batch = requests / np.maximum(iterations, 1e-300)
    with_term = {
        fraction: _error(
            np.column_stack([design, iterations * (1.0 - (1.0 - fraction) ** batch)]), energy, prior
        )
        for fraction in _SATURATION
    }
    fraction = min(with_term, key=with_term.__getitem__)
    gain = energy.size * np.log(error / max(with_term[fraction], 1e-12))
    if not known and (with_term[fraction] > 0.5 * error or gain < 1.5 * np.log(energy.size)):
        return []
    return [
        Flag(
            "mixture_without_experts",
            f"{'a' if known else 'looks like a'} mixture of experts fitted without the expert term: it errs by "
            f"{error:.1%}, with the term (k/E = 1/{1 / fraction:.0f}) by {with_term[fraction]:.1%}",
        )
    ]


def _error(design: Floats, energy: Floats, prior: Floats) -> float:
    coefficients = robust_regression(design, energy, prior).coefficients
    return float(np.mean(np.abs(design @ coefficients / energy - 1.0)))
