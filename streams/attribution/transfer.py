"""Predicting an engine that nobody has measured from those that somebody has."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from schemas.errors import AttributionError
from streams.attribution.fit_checks import Shape
from streams.attribution.nnls import robust_regression

__all__ = ["MeasuredPair", "PairPrediction", "leave_one_pair_out"]

Floats = NDArray[np.float64]

_FLAGGED: Final = 0.15
"""Median error above which a prediction of an unseen pair must not be used without a fit of its own."""


@dataclass(frozen=True, slots=True)
class MeasuredPair:
    """One model on one GPU, measured."""

    name: str
    shape: Shape
    active_parameters: float
    """Weights that one token uses."""
    windows: Sequence[Mapping[str, float]]
    energy_j: Floats


@dataclass(frozen=True, slots=True)
class PairPrediction:
    """How well a pair is predicted by the others."""

    name: str
    windows: int
    median_error: float
    """Median relative error over its windows."""
    bias: float
    """Median of predicted / measured − 1."""
    flagged: bool
    """The median error is above 15 %."""


def leave_one_pair_out(pairs: Sequence[MeasuredPair]) -> list[PairPrediction]:
    """Predict every pair from a regression on all the others, each pair weighing the same.

    The regression's coefficients are joules per byte of dense weights, of experts and of cache, and per active
    weight and token: on current software a byte costs the same on H100 and on B200, whatever its bandwidth.
    Pairs of one software generation belong together; 2024 and 2025 differ by up to a factor of two.
    """
    if len(pairs) < 3:
        raise AttributionError(f"{len(pairs)} pairs: predicting one from the others needs at least three")
    designs = [_design(pair) for pair in pairs]
    predictions = []
    for left_out, pair in enumerate(pairs):
        others = [i for i in range(len(pairs)) if i != left_out]
        regression = robust_regression(
            np.concatenate([designs[i] for i in others]),
            np.concatenate([pairs[i].energy_j for i in others]),
            np.concatenate([np.full(pairs[i].energy_j.size, 1.0 / pairs[i].energy_j.size) for i in others]),
        )
        ratio = designs[left_out] @ regression.coefficients / pair.energy_j - 1.0
        error = float(np.median(np.abs(ratio)))
        predictions.append(
            PairPrediction(pair.name, pair.energy_j.size, error, float(np.median(ratio)), error > _FLAGGED)
        )
    return predictions


def _design(pair: MeasuredPair) -> Floats:
    """(windows, 4) bytes of dense weights, experts and cache read, and active weights times tokens."""
    shape = pair.shape
    rows = [
        (
            window["iterations"] * shape.weight_bytes,
            window.get("experts", 0.0) * shape.expert_weight_bytes,
            window.get("context_tokens", 0.0) * shape.kv_bytes_per_token,
            (window["requests"] + window.get("prefill_tokens", 0.0)) * pair.active_parameters,
        )
        for window in pair.windows
    ]
    return np.array(rows)
