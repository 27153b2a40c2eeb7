"""The covariance of a fitted energy model's coefficients, calibrated on windows that the fit did not see.

    C = s² · H⁻¹ (B · Xᵀ W² X + s² · P⁻¹) H⁻¹,    H = Xᵀ W X + s² · P⁻¹

X are the windows' features over their energy, W their weights (older ones count less), s the scatter of held-out
windows (conformal: the quantile of their absolute relative errors that covers 90 % of new ones, whatever their
law), P the width of the prior for what the windows do not determine, and B the factor by which neighbouring
windows err together, more than scatter alone would let them (after Birge 1932): minutes share a temperature,
windows of one composition share what the model lacks.
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

_WIDE: Final = 1e-6
"""Part of the prior's precision that a coefficient keeps which the windows determine: none that matters."""
_BLOCKS: Final = 16
"""Blocks of neighbouring windows: enough for a variance, each long enough to hold what neighbours share."""
_FEWEST_IN_BLOCK: Final = 3
_CLIP: Final = 3.0
"""Scatters beyond which an error counts as this much: the fit's own loss gives such windows little weight."""
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
FEATURE_OF: Final[Mapping[str, str]] = {
    coefficient: feature for feature, coefficient in FEATURES.items() if coefficient in CALIBRATED
}
"""Coefficient → the feature it is multiplied with; the knee's depends on the model."""


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
    fitted: Sequence[str],
    weights: ArrayLike,
) -> Calibration:
    """Calibrate `model` on n windows, oldest first.

    energy_j: (n,) measured, above 0. errors: (n,) relative errors of each window's energy as predicted by a fit
    that did not see it. prior: the model in force before. fitted: features whose coefficients were fitted; all
    others, and those that the fit holds at 0, are as uncertain as a prior. weights: (n,) of the windows in the
    fit, at most 1. O(n).
    """
    energy, error, weight = (np.asarray(values, np.float64) for values in (energy_j, errors, weights))
    knee = f"excess_tokens_{model.knee_tokens:g}"
    names = [knee if name == "excess_token_j" else FEATURE_OF[name] for name in CALIBRATED]
    design = np.asarray([[float(window.get(name, 0.0)) for name in names] for window in windows])
    relative = design / energy[:, None]
    scatter = conformal_quantile(np.abs(error - np.median(error))) / Z_90
    widths = np.asarray(
        [
            _PRIOR_SD[name] * max(float(getattr(model, name)), float(getattr(prior, name)))
            for name in CALIBRATED
        ]
    )
    used = (widths > 0) & (relative != 0).any(axis=0)
    covariance = np.zeros((len(used), len(used)))
    birge = 1.0
    if used.any() and scatter > 0:
        scaled = relative[:, used] * widths[used]  # coefficients in units of their prior's width
        determined = [
            feature in fitted and float(getattr(model, name)) > 0
            for feature, name in zip(names, CALIBRATED, strict=True)
        ]
        ridge = scatter**2 * np.diag(np.where(np.asarray(determined)[used], _WIDE, 1.0))
        inverse = np.linalg.inv(scaled.T @ (scaled * weight[:, None]) + ridge)
        independent = scaled.T @ (scaled * weight[:, None] ** 2)
        scores = scaled * (weight * np.clip(error / scatter, -_CLIP, _CLIP))[:, None]
        birge = _birge(scores, independent + ridge, _orders(relative, design))
        noise = independent * birge + ridge
        covariance[np.ix_(used, used)] = (
            np.outer(widths[used], widths[used]) * (inverse @ noise @ inverse) * scatter**2
        )
    return Calibration(covariance, scatter, birge)


def _orders(relative: Floats, design: Floats) -> list[Floats]:
    """(n,) each: what neighbours may have in common: time, the mean batch, each term's part of the energy."""
    batch = design[:, 1] / np.maximum(design[:, 0], 1e-300)
    parts = [column for column in relative[:, 2:7].T if column.any()]
    return [np.arange(len(design), dtype=np.float64), batch, *parts]


def _birge(scores: Floats, independent: Floats, orders: Sequence[Floats]) -> float:
    """How much larger the sums of neighbours' scores are than if windows erred independently; at least 1.

    scores: (n, k) what each window pulls the coefficients by, in units of the scatter; independent: (k, k) their
    covariance if no window knew of another. Sums over blocks of neighbours have the same covariance then, and
    their squared length, whitened, is k on average; the largest ratio over all orders of neighbourhood counts.
    """
    n, k = scores.shape
    blocks = min(_BLOCKS, n // _FEWEST_IN_BLOCK)
    if blocks < 2:
        return 1.0
    inverse = np.linalg.inv(independent)
    largest = 1.0
    for values in orders:
        order = np.argsort(values, kind="stable")
        sums = np.asarray([scores[part].sum(axis=0) for part in np.array_split(order, blocks)])
        largest = max(largest, float(np.einsum("bi,ij,bj->", sums, inverse, sums)) / k)
    return largest
