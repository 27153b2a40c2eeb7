"""How the errors of an energy model move each request's share: one signed figure per error and request.

The coefficients' covariance C is written as L·Lᵀ with L = D·R^½, D the standard errors and R their correlation:
so each column of L is one error of size one, independent of the others. A request's loading on it is what
its share gains when the coefficients move by that column. Loadings of rows add up; errors that help one request
and hurt another cancel in a sum over both, and squares are taken last.
"""

from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from streams.attribution import EnergyModel, Trace
from streams.attribution.trace import IterationSums, totals

__all__ = ["COEFFICIENTS", "add_the_rest", "root", "share_loadings", "term_shares"]

Floats = NDArray[np.float64]

COEFFICIENTS: Final = (
    "fixed_j", "request_j", "prefill_token_j", "context_token_j", "attention_j", "experts_j", "excess_token_j",
)  # fmt: skip
"""Coefficients whose error is carried into shares, in the order of a row's loadings; never reorder, append."""


def root(covariance: Floats) -> Floats:
    """(k, k) L with L·Lᵀ = `covariance`, the symmetric root of the correlations times the standard errors.

    Continuous in the covariance, so that the columns of two fits of one engine mean nearly the same. Rounding
    may leave a covariance slightly indefinite; what is below zero counts as zero.
    """
    deviation = np.sqrt(np.maximum(np.diag(covariance), 0.0))
    scale = np.where(deviation > 0, deviation, 1.0)
    values, vectors = np.linalg.eigh(covariance / np.outer(scale, scale))
    half = (vectors * np.sqrt(np.maximum(values, 0.0))) @ vectors.T
    return np.asarray(deviation[:, None] * half)


def term_shares(trace: Trace, sums: IterationSums, model: EnergyModel, request_j: Floats) -> Floats:
    """(R, 7) Shapley value of each request in the game of each coefficient alone, at 1 joule.

    The linear terms from prefix sums, in O(D + W + T); the experts and the knee, where the model has one of
    them, as what is left of `request_j` (R,) when the linear terms are taken off. A model with both gives the
    rest to the larger coefficient's term.
    """
    shares = np.zeros((trace.requests, len(COEFFICIENTS)))
    alive = sums.requests > 0
    per_request = np.divide(trace.weights, sums.requests, out=np.zeros(trace.iterations), where=alive)
    count, late, fixed = (
        np.concatenate([[0.0], np.cumsum(values)])
        for values in (trace.weights, trace.weights * np.arange(trace.iterations), per_request)
    )
    first, end = trace.decode_first, trace.decode_first + trace.decode_length
    rows = count[end] - count[first]
    context = late[end] - late[first] + (trace.decode_context - first) * rows
    weight = trace.weights[trace.wide_iteration]
    q, c = trace.wide_tokens, trace.wide_context
    for column, decode, wide in (
        (0, fixed[end] - fixed[first], per_request[trace.wide_iteration]),
        (1, rows, weight),
        (2, np.zeros_like(rows), weight * (q - 1)),
        (3, context, weight * c),
        (4, context, weight * q * c),
    ):
        shares[:, column] = totals(trace.decode_request, decode, trace.requests)
        shares[:, column] += totals(trace.wide_request, wide, trace.requests)
    add_the_rest(shares, model, request_j)
    return shares


def add_the_rest(shares: Floats, model: EnergyModel, request_j: Floats) -> None:
    """Fill the experts' or the knee's column of `shares` (R, 7) with what the linear ones leave of `request_j`."""
    linear, left, coefficient = _coefficients(model)
    if coefficient > 0:
        shares[:, left] = (request_j - shares[:, :5] @ linear) / coefficient


@lru_cache(maxsize=1024)
def _coefficients(model: EnergyModel) -> tuple[Floats, int, float]:
    """(5,) those of the linear terms; which of the others is the larger, and what it is."""
    linear = np.asarray([getattr(model, name) for name in COEFFICIENTS[:5]])
    left = max(range(5, 7), key=lambda i: float(getattr(model, COEFFICIENTS[i])))
    return linear, left, float(getattr(model, COEFFICIENTS[left]))


def share_loadings(shares: Floats, spread: Floats, request_j: Floats, total_j: float) -> Floats:
    """(R, 7) what each error of size one adds to a request's part of a measured total, relative to that total.

    shares: (R, 7) as `term_shares` gives them; spread: (7, 7) as `root`; request_j: (R,) modelled; total_j: of
    all that the measured energy is divided among. The meter fixes the sum, so what one gains another loses:
    for a request alone in its window every loading is 0.
    """
    if total_j <= 0:
        return np.zeros_like(shares)
    moved = shares @ spread
    return np.asarray((moved - np.outer(request_j / total_j, moved.sum(axis=0))) / total_j)
