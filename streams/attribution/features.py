"""What an energy model is fitted on: each term's sum over a window, under names that the ledger keeps.

The names are stored in `batches.features` and outlive any one model: add names, never change one.
"""

from collections.abc import Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

from streams.attribution.energy_model import EnergyModel
from streams.attribution.trace import IterationSums, Trace, iteration_sums
from streams.attribution.unions import distinct_groups

__all__ = ["FEATURES", "KNEES", "iteration_features", "modelled_energy", "weighted_sums", "window_features"]

Floats = NDArray[np.float64]

KNEES: Final = (64, 128, 256, 512)
"""Knees whose excess tokens are kept, so that a fit can choose; measured: about 128 on A100 and H100."""

FEATURES: Final[Mapping[str, str]] = {
    "iterations": "fixed_j",
    "requests": "request_j",
    "prefill_tokens": "prefill_token_j",
    "context_tokens": "context_token_j",
    "attention_tokens": "attention_j",
    "experts": "experts_j",
    "padding_tokens": "padding_token_j",
    "adapters": "adapter_j",
    "prefix_groups": "prefix_group_j",
    "idle_s": "idle_w",
    **{f"excess_tokens_{knee}": "excess_token_j" for knee in KNEES},
}
"""Feature → the coefficient it is multiplied with."""


def window_features(trace: Trace, *, expert_fraction: float = 0.0, idle_s: float = 0.0) -> dict[str, float]:
    """Weighted sums of every term over the window; `idle_s`, no iteration running, is given.

    `experts` is Σ (1 − (1 − expert_fraction)^tokens), 0 for a dense model. All other sums are in requests or
    tokens, each times its iteration's weight.
    """
    terms = iteration_features(trace, iteration_sums(trace), expert_fraction=expert_fraction)
    return weighted_sums(terms, trace.weights) | {"idle_s": float(idle_s)}


def weighted_sums(terms: Mapping[str, Floats], weights: Floats) -> dict[str, float]:
    """Each term's sum over the iterations, by `weights` (T,)."""
    return {name: float(values @ weights) for name, values in terms.items()}


def iteration_features(
    trace: Trace, sums: IterationSums, *, expert_fraction: float = 0.0
) -> dict[str, Floats]:
    """Every term of every iteration, (T,) each, without its weight."""
    return {
        "iterations": (sums.requests > 0).astype(np.float64),
        "requests": sums.requests,
        "prefill_tokens": sums.tokens - sums.requests,
        "context_tokens": sums.context,
        "attention_tokens": sums.attention,
        "experts": 1.0 - (1.0 - expert_fraction) ** sums.tokens,
        "padding_tokens": sums.padding * (sums.requests > 0),
        "adapters": distinct_groups(trace, trace.adapter),
        "prefix_groups": distinct_groups(trace, trace.prefix_group),
        **{f"excess_tokens_{knee}": np.maximum(0.0, sums.tokens - knee) for knee in KNEES},
    }


def modelled_energy(model: EnergyModel, features: Mapping[str, float]) -> float:
    """Joules that a model expects of a window, from its features alone.

    A knee that is not among `KNEES`, and hinges other than the knee, are not in the features and count 0.
    """
    coefficients = model.coefficients()
    knee = f"excess_tokens_{model.knee_tokens:g}"
    return sum(
        coefficients[coefficient] * features.get(name, 0.0)
        for name, coefficient in FEATURES.items()
        if coefficient != "excess_token_j" or name == knee
    )
