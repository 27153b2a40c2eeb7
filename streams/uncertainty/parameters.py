"""The covariance of a fitted energy model's coefficients, calibrated on windows that the fit did not see.

    C = s² · H⁻¹ (B · Xᵀ W² X + s² · P⁻¹) H⁻¹,    H = Xᵀ W X + s² · P⁻¹

X are the windows' features over their energy, W their weights (older ones count less), s the scatter of held-out
windows (conformal: the quantile of their absolute relative errors that covers 90 % of new ones, whatever their
law), P the width of the prior, which is all that is known of a coefficient that the windows cannot tell from
another, and B the factor by which the mean errors of like windows exceed what scatter alone would leave (Birge
1932): where the model lacks something, windows of one composition err together, and averaging does not help.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from streams.attribution import EnergyModel
from streams.attribution.features import FEATURES
from streams.uncertainty.loadings import COEFFICIENTS
from streams.uncertainty.sums import Z_90

__all__ = ["CALIBRATED", "Calibration", "calibrate", "conformal_quantile", "prior_covariance"]

Floats = NDArray[np.float64]

_BINS: Final = 8
"""Groups of like windows by each property; few, so that each mean rests on many windows."""
_FEWEST_IN_BIN: Final = 4
_BYTES_SD: Final = 0.15
"""Of the terms that read memory: dense fits lie within 15 % of weights and cache bytes (docs/uncertainty.md)."""
_TOKENS_SD: Final = 0.5
"""Of the terms per token: good to a factor of two."""
_PRIOR_SD: Final[Mapping[str, float]] = {
    "fixed_j": _BYTES_SD, "request_j": _TOKENS_SD, "prefill_token_j": _TOKENS_SD, "context_token_j": _BYTES_SD,
    "attention_j": _TOKENS_SD, "experts_j": _BYTES_SD, "excess_token_j": _TOKENS_SD, "idle_w": _BYTES_SD,
}  # fmt: skip
CALIBRATED: Final = (*COEFFICIENTS, "idle_w")
"""Order of a calibration's covariance."""


@dataclass(frozen=True, slots=True)
class Calibration:
    """What held-out windows say of a model."""

    covariance: Floats
    """(8, 8) in the order of CALIBRATED."""
    scatter: float
    """Relative standard deviation of a window's energy around the model, by its conformal quantile."""
    birge: float
    """B, at least 1."""


def conformal_quantile(errors: ArrayLike, coverage: float = 0.9) -> float:
    """The value that covers a new error with probability of at least `coverage`, from n exchangeable ones.

    The ⌈(n + 1) · coverage⌉-th smallest (split conformal prediction, Vovk 2005); the largest where n is too
    small for that. At least one error.
    """
    ordered = np.sort(np.asarray(errors, np.float64))
    rank = int(np.ceil((ordered.size + 1) * coverage))
    return float(ordered[min(rank, ordered.size) - 1])


def prior_covariance(model: EnergyModel, relative: float | None = None) -> Floats:
    """(8, 8) covariance of a model that nothing was fitted to: every coefficient off by its own prior's width.

    relative: one width for all coefficients, for a model that knows nothing of its engine.
    """
    widths = [
        (relative if relative is not None else _PRIOR_SD[name]) * float(getattr(model, name))
        for name in CALIBRATED
    ]
    return np.diag(np.square(widths))


def calibrate(
    windows: Sequence[Mapping[str, float]],
    energy_j: ArrayLike,
    errors: ArrayLike,
    model: EnergyModel,
    *,
    prior: EnergyModel,
    weights: ArrayLike,
) -> Calibration:
    """Calibrate `model` on n windows, oldest first.

    energy_j: (n,) measured, above 0. errors: (n,) relative errors of each window's energy as predicted by a fit
    that did not see it. prior: the model in force before, for coefficients that the windows do not determine.
    weights: (n,) of the windows in the fit, at most 1. O(n).
    """
    energy, error, weight = (np.asarray(values, np.float64) for values in (energy_j, errors, weights))
    knee = f"excess_tokens_{model.knee_tokens:g}"
    names = {
        coefficient: knee if coefficient == "excess_token_j" else feature
        for feature, coefficient in FEATURES.items()
        if coefficient in CALIBRATED
    }
    design = np.asarray([[float(window.get(names[name], 0.0)) for name in CALIBRATED] for window in windows])
    relative = design / energy[:, None]
    scatter = conformal_quantile(np.abs(error - np.median(error))) / Z_90
    widths = np.asarray(
        [
            _PRIOR_SD[name] * max(float(getattr(model, name)), float(getattr(prior, name)))
            for name in CALIBRATED
        ]
    )
    used = (widths > 0) & (relative != 0).any(axis=0)
    birge = _birge(_properties(relative, design), error, weight, scatter)
    covariance = np.zeros((len(used), len(used)))
    if used.any():
        scaled = relative[:, used] * widths[used]  # coefficients in units of their prior's width
        ridge = scatter**2 * np.eye(int(used.sum()))
        inverse = np.linalg.inv(scaled.T @ (scaled * weight[:, None]) + ridge)
        noise = scaled.T @ (scaled * weight[:, None] ** 2) * birge + ridge
        covariance[np.ix_(used, used)] = (
            np.outer(widths[used], widths[used]) * (inverse @ noise @ inverse) * scatter**2
        )
    return Calibration(covariance, scatter, birge)


def _properties(relative: Floats, design: Floats) -> list[Floats]:
    """(n,) each: what windows may be alike in: the terms' shares of their energy, the mean batch, and time."""
    iterations = np.maximum(design[:, 0], 1e-300)
    shares = [column for column in relative[:, 2:7].T if column.any()]
    return [design[:, 1] / iterations, *shares, np.arange(len(design), dtype=np.float64)]


def _birge(properties: Sequence[Floats], error: Floats, weight: Floats, scatter: float) -> float:
    """Largest ratio of the groups' squared mean errors to what scatter alone explains, of all properties; ≥ 1."""
    largest = 1.0
    groups = min(_BINS, error.size // _FEWEST_IN_BIN)
    if groups < 2 or scatter <= 0:
        return largest
    centred = error - np.average(error, weights=weight)
    clipped = np.clip(centred, -3.0 * scatter, 3.0 * scatter)
    for values in properties:
        order = np.argsort(values, kind="stable")
        chi = [
            float((weight[part] @ clipped[part]) ** 2 / (weight[part] @ weight[part]))
            for part in np.array_split(order, groups)
        ]
        largest = max(largest, sum(chi) / (groups - 1) / scatter**2)
    return largest
