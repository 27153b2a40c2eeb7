"""Shapley values of W(1 − r^Q): the expert weights that Q tokens touch, each token r of them missing.

A token of a mixture of E experts uses k of them, so Q tokens leave each expert untouched with probability
r^Q, r = 1 − k/E. With u_i = 1 − r^q_i, φ_i = W u_i ∫₀¹ Π_{j≠i} (1 − x u_j) dx: the multilinear extension
of a product game (Owen 1972). The integrand is a polynomial of degree n − 1: ⌈n/2⌉ Gauss-Legendre nodes are
exact.
"""

from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from streams.attribution.trace import Trace

__all__ = ["expert_shares", "unit_nodes"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_ROUNDING: Final = 1e-17


@lru_cache(maxsize=256)
def unit_nodes(nodes: int) -> tuple[Floats, Floats]:
    """Gauss-Legendre nodes and weights on [0, 1], exact for polynomials of degree 2·nodes − 1."""
    x, w = np.polynomial.legendre.leggauss(nodes)
    return (x + 1.0) / 2.0, w / 2.0


def expert_shares(trace: Trace, decode: Floats, requests: Floats, missing: float) -> tuple[Floats, Floats]:
    """Shares of W = 1 per decode row (T,) and per wide row (W,); `missing` is r in [0, 1).

    `decode` and `requests` (T,) count the rows. Iterations of plain decode are (1 − r^n)/n in closed form;
    mixed ones cost O(nodes · (1 + wide rows)).
    """
    once = 1.0 - missing
    per_decode = np.zeros(trace.iterations)
    plain = (requests > 0) & (decode == requests)
    per_decode[plain] = -np.expm1(_log(missing) * decode[plain]) / decode[plain]
    per_wide = np.zeros(trace.wide_iteration.size)
    if per_wide.size == 0:
        return per_decode, per_wide
    mixed, where = np.unique(trace.wide_iteration, return_inverse=True)
    touched = -np.expm1(_log(missing) * trace.wide_tokens)
    load = decode[mixed] * once + np.bincount(where, touched)
    x, w = unit_nodes(_enough_nodes(int(requests[mixed].max()), float(load.max())))
    log_product = decode[mixed, None] * np.log1p(-x * once)
    factors = 1.0 - x * touched[:, None]
    starts = np.flatnonzero(np.diff(where, prepend=-1))
    log_product += np.add.reduceat(np.log(factors), starts, axis=0)
    product = np.exp(log_product) * w
    per_decode[mixed] = once * (product / (1.0 - x * once)).sum(axis=1) * (decode[mixed] > 0)
    per_wide[:] = touched * (product[where] / factors).sum(axis=1)
    return per_decode, per_wide


def _log(missing: float) -> float:
    """Logarithm of r, finite for r = 0 as well: a token that touches everything leaves e^-1000 = 0."""
    return float(np.log(missing)) if missing > 0.0 else -1000.0


def _enough_nodes(n: int, load: float) -> int:
    """⌈n/2⌉ nodes are exact; fewer are, to rounding, once the quadrature's error bound says so.

    The 2M-th derivative of Π(1 − x u_j) is at most (Σu)^2M, so M nodes err by at most
    (Σu)^2M (M!)^4 / ((2M+1) ((2M)!)^3) (Davis and Rabinowitz, Methods of Numerical Integration, 2.7),
    taken relative to the integral, which is at least about 1/(1 + Σu).
    """
    enough = max(1, (n + 1) // 2)
    log_bound = 0.0
    for m in range(1, enough):
        # The bound for m over the bound for m - 1, in logarithms.
        log_bound += (
            2 * np.log(load)
            + 4 * np.log(m)
            - 3 * np.log(2 * m * (2 * m - 1))
            + np.log((2 * m - 1) / (2 * m + 1))
        )
        if log_bound + np.log1p(load) < np.log(_ROUNDING):
            return m
    return enough
