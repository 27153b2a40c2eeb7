"""Shapley values of a hinge that crosses its threshold: quadratic plus cosines, each a product game.

On [lo, hi] with L = hi − lo, y = (x − lo)/L and θ = (w − lo)/L,
    max(0, x − w)/L = y²/2 + a_0 − Σ_k 2 cos(kπθ)/(kπ)² cos(kπy),
since what is left after y²/2 has zero slope at both ends and one kink. A cosine of a sum is the real part of
a product, and a product game has φ_i = ∫₀¹ (z_i − 1) Π_{j≠i} (1 − t + t z_j) dt (Owen 1972).
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from streams.attribution.experts import unit_nodes

__all__ = ["hinge_series"]

Floats = NDArray[np.float64]
Complexes = NDArray[np.complex128]

_TERMS: Final = 64
"""2M cosines; the difference to the first M is the error estimate."""
_NODES: Final = 48
_NEGLIGIBLE: Final = 34.0
"""Products below e^-34 = 2e-15 are left out: |Π(1 − t + t z_j)| ≤ exp(−t(1−t) Σ(1 − cos θ_j))."""


def hinge_series(
    d: Floats, threshold: float, terms: int = _TERMS, nodes: int = _NODES
) -> tuple[Floats, Floats]:
    """Values (n,) and error estimates (n,) of max(0, Σd − threshold); O(n · terms · nodes).

    The values are shifted so that they sum to v(N); the estimate is the difference between the series and
    its first half, request by request.
    """
    low, high = float(np.minimum(d, 0.0).sum()), float(np.maximum(d, 0.0).sum())
    span = high - low
    total = float(d.sum())
    whole = max(0.0, total - threshold)
    k = np.arange(1, terms + 1)
    angle = np.pi * d / span
    amplitude = -2.0 * np.cos(k * np.pi * (threshold - low) / span) / (k * np.pi) ** 2 * span
    start = np.exp(-1j * np.pi * k * low / span) * amplitude
    quadratic = d * (total - 2.0 * low) / (2.0 * span)
    early, late = _cosine_shares(angle, start, nodes)
    fine = _renormalised(quadratic + early + late, whole)
    coarse = _renormalised(quadratic + early, whole)
    return fine, np.abs(fine - coarse)


def _cosine_shares(angle: Floats, start: Complexes, nodes: int) -> tuple[Floats, Floats]:
    """Shares of the first half of the terms and of the second half, (n,) each."""
    terms = start.size
    t, w = unit_nodes(nodes)
    k = np.arange(1, terms + 1)
    damping = (1.0 - np.cos(np.multiply.outer(k, angle))).sum(axis=1)
    alive = np.multiply.outer(damping, t * (1.0 - t)) < _NEGLIGIBLE
    row, column = np.nonzero(alive)
    at, scale = t[column], start[row] * w[column]
    early = row < terms // 2
    z = np.exp(1j * np.multiply.outer(angle, k))
    product = scale.copy()
    factors = np.empty((angle.size, row.size), np.complex128)
    for j in range(angle.size):
        np.multiply(z[j, row] - 1.0, at, out=factors[j])
        factors[j] += 1.0
        product *= factors[j]
    shares = np.empty((angle.size, 2))
    for j in range(angle.size):
        part = ((z[j, row] - 1.0) * (product / factors[j])).real
        shares[j] = part[early].sum(), part[~early].sum()
    return shares[:, 0], shares[:, 1]


def _renormalised(values: Floats, whole: float) -> Floats:
    """The truncation error of the sum, spread in proportion to the values' sizes."""
    size = np.abs(values)
    return np.asarray(values + (whole - values.sum()) * size / max(float(size.sum()), 1e-300))
