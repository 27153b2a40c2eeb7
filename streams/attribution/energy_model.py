"""The energy of one iteration as a sum of declared terms, so that its Shapley values have closed forms.

    E = fixed_j · 1[n > 0] + request_j · requests + prefill_token_j · prefill tokens
      + context_token_j · Σ context + attention_j · Σ new tokens × context
      + experts_j · (1 − (1 − expert_fraction)^tokens) + excess_token_j · max(0, tokens − knee_tokens)
      + padding_token_j · padding tokens + adapter_j · adapters + prefix_group_j · prefix groups + hinges

over the whole engine (all its GPUs), in joules. Prefill tokens are those beyond a row's first: a chunk's, or
speculative drafts. `coefficients` and `from_coefficients` are the form in which models are stored.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Unpack

import numpy as np
from numpy.typing import ArrayLike, NDArray

from schemas.errors import AttributionError
from streams.attribution.gpus import GpuSheet, gpu_sheet
from streams.attribution.hinges import Hinge
from streams.attribution.trace import IterationSums, Trace, iteration_sums
from streams.attribution.unions import distinct_groups

if TYPE_CHECKING:
    from streams.attribution.fit import Fit, FitSettings

__all__ = ["EnergyModel", "iteration_energy"]

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class EnergyModel:
    """Coefficients of the terms, all at least 0; joules unless the name says otherwise."""

    fixed_j: float = 0.0
    """Reading the weights, launch overhead, static power meanwhile; once per iteration."""
    request_j: float = 0.0
    """Per request in the iteration."""
    prefill_token_j: float = 0.0
    """Per new token beyond a row's first."""
    context_token_j: float = 0.0
    """Per token of context: reading the KV cache."""
    attention_j: float = 0.0
    """Per new token and token of context."""
    experts_j: float = 0.0
    """Reading all routed experts once."""
    expert_fraction: float = 0.0
    """k/E, the part of the experts that one token uses; 0 for a dense model."""
    excess_token_j: float = 0.0
    """Per token above the knee."""
    knee_tokens: float = 128.0
    """Tokens up to which an iteration's time does not grow."""
    padding_token_j: float = 0.0
    """Per token of padding to a CUDA graph's size."""
    adapter_j: float = 0.0
    """Per distinct adapter in the iteration."""
    prefix_group_j: float = 0.0
    """Per distinct shared prefix in the iteration."""
    idle_w: float = 0.0
    """Watts of the engine's GPUs while no iteration runs; no part of a game, it is the idle account's."""
    hinges: tuple[Hinge, ...] = ()
    """Further hinges, such as a roofline."""

    def __post_init__(self) -> None:
        for name, value in self.coefficients().items():
            if not np.isfinite(value):
                raise AttributionError(f"{name} = {value!r}: a finite number is needed")
            if value < 0 and not name.startswith("hinge"):
                raise AttributionError(f"{name} = {value!r}: must be at least 0, no work gives energy back")
        if self.expert_fraction > 1 or (self.experts_j > 0 and self.expert_fraction == 0):
            raise AttributionError(
                f"expert_fraction = {self.expert_fraction!r} with experts_j = {self.experts_j!r}: "
                "k/E must be in (0, 1] for a mixture of experts"
            )

    @classmethod
    def prior(
        cls,
        *,
        weight_bytes: float,
        kv_bytes_per_token: float,
        gpu: str | GpuSheet,
        gpus: int = 1,
        bytes_per_weight: float = 2.0,
        expert_weight_bytes: float = 0.0,
        experts_active: int = 0,
        experts_total: int = 0,
    ) -> "EnergyModel":
        """A model from the shape of the weights and the GPU's data sheet, for use before the first fit.

        An iteration reads the dense weights (`weight_bytes`) once, the routed experts that its tokens touch,
        and each token of context once, at the GPU's joules per byte; a prefill token costs two operations
        per active weight, a decode token 1.5 times that (ML.ENERGY v3, dense, prefill and context taken
        out); attention six operations per KV byte (4 to 8 query heads share one of the cache). Dense fits on
        H100 and B200 lie within 15 % of the byte terms; the token terms are good to a factor of two.

        `weight_bytes` of 0 is an AttributionError: a prior needs the model's size.
        """
        sheet = gpu_sheet(gpu) if isinstance(gpu, str) else gpu
        if not (weight_bytes > 0 and gpus >= 1 and bytes_per_weight > 0 and kv_bytes_per_token >= 0):
            raise AttributionError(
                f"weight_bytes = {weight_bytes!r}, kv_bytes_per_token = {kv_bytes_per_token!r}, "
                f"gpus = {gpus!r}: a prior needs the model's size; set it in the engine's descriptor"
            )
        fraction = experts_active / experts_total if expert_weight_bytes > 0 and experts_total > 0 else 0.0
        active_weights = (weight_bytes + expert_weight_bytes * fraction) / bytes_per_weight
        token_j = 2.0 * active_weights * sheet.flop_j
        return cls(
            fixed_j=sheet.byte_j * weight_bytes,
            request_j=1.5 * token_j,
            prefill_token_j=token_j,
            context_token_j=sheet.byte_j * kv_bytes_per_token,
            attention_j=6.0 * kv_bytes_per_token * sheet.flop_j,
            experts_j=sheet.byte_j * expert_weight_bytes,
            expert_fraction=fraction,
            idle_w=sheet.idle_w * gpus,
        )

    @staticmethod
    def fit(
        rows: Sequence[Mapping[str, float]], energy: ArrayLike, **settings: Unpack["FitSettings"]
    ) -> "Fit":
        """Fit a model to windows' features and measured joules: see `streams.attribution.fit`."""
        from streams.attribution.fit import fit_energy_model

        return fit_energy_model(rows, energy, **settings)

    @property
    def all_hinges(self) -> tuple[Hinge, ...]:
        """The token knee, where there is one, and the further hinges."""
        knee = Hinge(self.excess_token_j, self.knee_tokens, per_token=1.0)
        return ((knee,) if self.excess_token_j > 0 else ()) + tuple(h for h in self.hinges if h.weight_j > 0)

    def coefficients(self) -> dict[str, float]:
        """Flat names and numbers; hinge i is stored as `hinge.<i>.<field>`."""
        flat = {name: float(getattr(self, name)) for name in _SCALARS}
        for i, hinge in enumerate(self.hinges):
            flat |= {f"hinge.{i}.{field.name}": float(getattr(hinge, field.name)) for field in fields(Hinge)}
        return flat

    @classmethod
    def from_coefficients(cls, coefficients: Mapping[str, float]) -> "EnergyModel":
        """The inverse of `coefficients`; a name left out is 0 (the knee: 128), an unknown one an error."""
        scalars: dict[str, float] = {}
        hinges: dict[int, dict[str, float]] = {}
        for name, value in coefficients.items():
            kind, _, rest = name.partition(".")
            index, _, part = rest.partition(".")
            if name in _SCALARS:
                scalars[name] = float(value)
            elif kind == "hinge" and index.isdigit() and part in Hinge.__slots__:
                hinges.setdefault(int(index), {})[part] = float(value)
            else:
                raise AttributionError(
                    f"coefficient {name!r} is unknown; there are {', '.join(_SCALARS)}, hinge.<i>.*"
                )
        try:
            return cls(**scalars, hinges=tuple(Hinge(**hinges[i]) for i in sorted(hinges)))
        except TypeError as error:
            raise AttributionError(f"hinge coefficients are incomplete: {error}") from error


_SCALARS = tuple(field.name for field in fields(EnergyModel) if field.name != "hinges")


def iteration_energy(model: EnergyModel, trace: Trace, sums: IterationSums | None = None) -> Floats:
    """v(N) of every iteration, (T,) joules, not weighted; 0 for an iteration without rows."""
    of = iteration_sums(trace) if sums is None else sums
    energy = model.fixed_j * (of.requests > 0) + model.request_j * of.requests
    energy += model.prefill_token_j * (of.tokens - of.requests)
    energy += model.context_token_j * of.context + model.attention_j * of.attention
    energy += model.padding_token_j * of.padding
    if model.experts_j > 0:
        energy += model.experts_j * (1.0 - (1.0 - model.expert_fraction) ** of.tokens)
    if model.adapter_j > 0:
        energy += model.adapter_j * distinct_groups(trace, trace.adapter)
    if model.prefix_group_j > 0:
        energy += model.prefix_group_j * distinct_groups(trace, trace.prefix_group)
    for hinge in model.all_hinges:
        demand = (
            hinge.per_request * of.requests
            + hinge.per_token * of.tokens
            + hinge.per_context * of.context
            + hinge.per_attention * of.attention
        )
        energy += hinge.weight_j * np.maximum(0.0, demand - hinge.threshold)
    return energy * (of.requests > 0)
