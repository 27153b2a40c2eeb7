"""Robust least squares with coefficients of at least 0, and how uncertain the coefficients are."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

__all__ = ["Regression", "nonnegative_least_squares", "robust_regression"]

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

_HUBER: Final = 1.345
"""Standard deviations beyond which a residual counts linearly: 95 % efficient on normal noise (Huber 1964)."""
_ROUNDS: Final = 30
_LEAST_SPREAD: Final = 1e-9
"""Relative spread below which residuals are rounding and every window counts in full."""


@dataclass(frozen=True, slots=True)
class Regression:
    """Coefficients of energy = X · coefficients, fitted on relative errors."""

    coefficients: Floats
    """(k,) ≥ 0."""
    covariance: Floats
    """(k, k) of the coefficients; 0 where a coefficient is held at 0."""
    weights: Floats
    """(n,) Huber's weight of each window, 1 for an inlier, times its prior weight."""


def robust_regression(design: Floats, energy: Floats, prior: Floats) -> Regression:
    """Fit `energy` (n,) > 0 by `design` (n, k) ≥ 0 with Huber's loss on relative errors.

    Iteratively reweighted: the spread is the median absolute residual, so that up to half of the windows
    may be wrong. `prior` (n,) weighs windows, as forgetting does.
    """
    relative = design / energy[:, None]
    weights = prior.copy()
    coefficients = np.zeros(design.shape[1])
    for _ in range(_ROUNDS):
        root = np.sqrt(weights)
        previous = coefficients
        coefficients = nonnegative_least_squares(relative * root[:, None], root)
        residual = np.abs(relative @ coefficients - 1.0)
        spread = max(1.4826 * _weighted_median(residual, prior), _LEAST_SPREAD)
        weights = prior * np.minimum(1.0, _HUBER * spread / np.maximum(residual, 1e-300))
        if np.allclose(coefficients, previous, rtol=1e-8, atol=0.0):
            break
    return Regression(coefficients, _covariance(relative, coefficients, weights), weights)


def nonnegative_least_squares(design: Floats, target: Floats) -> Floats:
    """(k,) x ≥ 0 that minimises |design x − target|², by Lawson and Hanson's active sets (1974, ch. 23)."""
    scale = np.sqrt((design * design).sum(axis=0))
    scaled = design / np.where(scale > 0, scale, 1.0)
    k = design.shape[1]
    if len(target) > k:  # the same minimum on k rows: what lies outside the columns' space no x can reach
        basis, scaled = np.linalg.qr(scaled)
        target = basis.T @ target
    x = np.zeros(k)
    free = np.zeros(k, np.bool_)
    tolerance = 1e-12 * float(np.abs(scaled.T @ target).max(initial=1e-300))
    for _ in range(10 * k + 10):
        gradient = scaled.T @ (target - scaled @ x)
        gradient[free | (scale == 0)] = -np.inf
        best = int(np.argmax(gradient))
        if gradient[best] <= tolerance:
            break
        free[best] = True
        x = _restrict(scaled, target, x, free)
    return np.asarray(x / np.where(scale > 0, scale, 1.0))


def _restrict(design: Floats, target: Floats, x: Floats, free: Bools) -> Floats:
    """Solve on the free set, stepping back to the boundary while a coefficient would turn negative."""
    while True:
        solution = np.zeros(x.size)
        solution[free] = np.linalg.lstsq(design[:, free], target, rcond=None)[0]
        negative = free & (solution <= 0)
        if not negative.any():
            return solution
        step = float(np.min(x[negative] / np.maximum(x[negative] - solution[negative], 1e-300)))
        x = x + step * (solution - x)
        free &= x > 1e-14
        x = np.where(free, x, 0.0)
        if not free.any():
            return x


def _covariance(relative: Floats, coefficients: Floats, weights: Floats) -> Floats:
    """Sandwich-free covariance σ² (XᵀWX)⁻¹ over the coefficients above 0."""
    k = coefficients.size
    covariance = np.zeros((k, k))
    free = np.flatnonzero(coefficients > 0)
    if free.size == 0:
        return covariance
    used = relative[:, free]
    residual = relative @ coefficients - 1.0
    freedom = max(float(weights.sum() ** 2 / (weights @ weights)) - free.size, 1.0)
    variance = float(weights @ residual**2) / float(weights.sum()) * (freedom + free.size) / freedom
    normal = used.T @ (used * weights[:, None])
    covariance[np.ix_(free, free)] = variance * np.linalg.pinv(normal, hermitian=True)
    return covariance


def _weighted_median(values: Floats, weights: Floats) -> float:
    order = np.argsort(values, kind="stable")
    reached = np.cumsum(weights[order])
    return float(values[order][np.searchsorted(reached, reached[-1] / 2.0)])
