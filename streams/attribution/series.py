"""Shapley values of a hinge that still crosses its threshold after branching: quadratic plus cosines.

For each crossing node U the undecided players see max(0, x − w_U), x in [lo, hi]. With L = hi − lo,
y = (x − lo)/L and θ = (w_U − lo)/L,
    max(0, x − w_U)/L = y²/2 + (1 − θ)²/2 − 1/6 − Σ_k 2 cos(kπθ)/(kπ)² cos(kπy),
since what is left after y²/2 has zero slope at both ends and one kink. A cosine of a sum is the real part of a
product game, whose multilinear extension at time t is Π_j (1 − t + t z_j) (Owen 1972): players arrive at
uniform times, and φ is an integral over t, taken by Gauss-Legendre quadrature.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from streams.attribution.branching import Crossing, branch, decided_shares
from streams.attribution.experts import unit_nodes

__all__ = ["hinge_series"]

Floats = NDArray[np.float64]
Complexes = NDArray[np.complex128]

_TERMS: Final = 64
"""2M cosines; the difference to the first M is the error estimate."""
_TERMS_PER_ROOT: Final = 4
"""Cosines per √n: a sum of n spreads over √n parts of its range, and the cosines must resolve that."""
_NODES: Final = 16
_MOST_NODES: Final = 24
"""16 quadrature nodes below 96 players, 24 from 384: twice as many change nothing above 1e-6. An even number,
since at t = 1/2 a factor 1 − t + t z can be 0."""
_NEGLIGIBLE: Final = 14.0
"""Products below e^-14 = 1e-6 are left out: |Π (1 − t + t z_j)| ≤ exp(−t(1−t) Σ(1 − cos θ_j))."""
_BLOCK: Final = 2**14
"""Cells handled at once: four arrays of them stay in a core's second-level cache."""


def hinge_series(d: Floats, threshold: float, terms: int | None = None) -> tuple[Floats, Floats]:
    """Values (n,) and error estimates (n,) of max(0, Σd − threshold); O(n · terms · nodes).

    The estimate is the difference between the series and its first half, player by player, and 0 where
    branching alone closed the game. The values are shifted so that they sum to v(N).
    """
    order = np.argsort(-np.abs(d), kind="stable")
    ordered = d[order]
    closed, crossing = branch(ordered, threshold)
    whole = max(0.0, float(d.sum()) - threshold)
    values, errors = np.empty(d.size), np.zeros(d.size)
    if crossing is None:
        values[order] = closed
        return values, errors
    cosines = terms or max(_TERMS, 2 * int(_TERMS_PER_ROOT / 2 * d.size**0.5))
    fine, coarse = _crossing_shares(ordered, crossing, threshold, cosines)
    fine = _renormalised(closed + fine, whole)
    values[order] = fine
    errors[order] = np.abs(fine - _renormalised(closed + coarse, whole))
    return values, errors


def _crossing_shares(d: Floats, crossing: Crossing, threshold: float, terms: int) -> tuple[Floats, Floats]:
    """What the crossing nodes add to every share, by all the cosines and by the first half of them."""
    p, u = crossing.decided, crossing.sizes
    rest = d[p:]
    low, span = float(np.minimum(rest, 0.0).sum()), float(np.abs(rest).sum())
    total = float(rest.sum())
    t, weight = unit_nodes(min(_MOST_NODES, _NODES + 2 * (d.size // 96)))
    theta = (threshold - crossing.sums - low) / span
    k = np.arange(1, terms + 1)
    amplitude = _cosines(theta * np.pi, terms)
    amplitude *= (-2.0 * span / (k * np.pi) ** 2)[:, None]
    together, joined, missed = _chances(p, t, weight)
    # Nodes of equal size share their chances, so cosines are first summed by size.
    of_size = (np.arange(p + 1)[:, None] == u).astype(np.float64)
    waves, product = _waves(rest * (np.pi / span), np.pi * low / span, (amplitude @ of_size.T) @ together, t)
    per_time = of_size.sum(axis=1) @ together
    mass, early = float(per_time.sum()), float(per_time @ t)
    quadratic = (rest * rest / 2.0 * mass + rest * (total - rest) * early - low * rest * mass) / span
    square = ((t * total - low) ** 2 + t * (1.0 - t) * float(rest @ rest)) / (2.0 * span)
    height = span * ((1.0 - theta) ** 2 / 2.0 - 1.0 / 6.0)
    depths = np.full(u.size, p)
    half = slice(0, terms // 2), slice(terms // 2, terms)
    gains = []
    for chance in (joined, missed):
        smooth = (chance @ square)[u] + chance.sum(axis=1)[u] * height
        first, second = (
            np.einsum("ku,ku->u", amplitude[part], (product[part] @ chance.T)[:, u]) for part in half
        )
        gains.append((smooth + first + second, smooth + first))
    shares = []
    for fineness, rest_shares in enumerate((waves.sum(axis=0), waves[0])):
        part = decided_shares(crossing.members, depths, gains[0][fineness], gains[1][fineness], d.size)
        part[p:] += quadratic + rest_shares
        shares.append(part)
    return shares[0], shares[1]


def _cosines(angle: Floats, terms: int) -> Floats:
    """(terms, U) cos(k · angle), k = 1..terms: powers of e^(i angle), low multiples times high ones."""
    low = int(np.ceil(terms**0.5))
    high = -(-terms // low)
    turn = np.exp(1j * angle)
    single = np.multiply.accumulate(np.broadcast_to(turn, (low, angle.size)), axis=0)
    leap = np.multiply.accumulate(np.broadcast_to(single[-1], (high, angle.size)), axis=0)
    leap = np.concatenate([np.ones((1, angle.size)), leap[:-1]])
    wave = np.ascontiguousarray(leap.real)[:, None, :] * single.real
    wave -= np.ascontiguousarray(leap.imag)[:, None, :] * single.imag
    cosines: Floats = wave.reshape(low * high, angle.size)[:terms]
    return cosines


def _chances(p: int, t: Floats, weight: Floats) -> tuple[Floats, Floats, Floats]:
    """(p + 1, nodes) each, times the quadrature weight, for u of p decided players in at time t.

    That exactly those are in; the same one player earlier who is in; the same without one who is out.
    """
    u = np.arange(p + 1)[:, None]
    together = t**u * (1.0 - t) ** (p - u) * weight
    joined = np.where(u > 0, t ** np.maximum(u - 1, 0) * (1.0 - t) ** (p - u), 0.0) * weight
    missed = np.where(u < p, t**u * (1.0 - t) ** np.maximum(p - 1 - u, 0), 0.0) * weight
    return together, joined, missed


def _waves(angle: Floats, shift: float, amplitude: Floats, t: Floats) -> tuple[Floats, Floats]:
    """Shapley values of the cosine games, and E_t of each cosine.

    `angle` (n,) = π d/L, `shift` = π lo/L, `amplitude` (terms, nodes) already holds the quadrature weights.
    Returns shares of the first and second half of the terms (2, n), and Re Π_j (1 − t + t z_j) (terms, nodes).

    Nodes come in pairs t and 1 − t: with f = 1 − t + t z, the factor at 1 − t is z f̄, of the same size. And
    (z − 1)/f = (1 − 1/f)/t, so that no factor has to be taken out of the product: both nodes together give
    one quotient of numbers that are linear in cos and sin.
    """
    terms, n = amplitude.shape[0], angle.size
    k = np.arange(1, terms + 1)
    turn = np.multiply.outer(angle, k)
    bend, sine = np.cos(turn) - 1.0, np.sin(turn)
    low = t[: t.size // 2]
    alive = np.multiply.outer(-bend.sum(axis=0), low * (1.0 - low)) < _NEGLIGIBLE
    row, column = np.nonzero(alive)
    phase, whole_turn = np.exp(-1j * shift * k), np.exp(1j * k * angle.sum())
    shares, product = np.zeros((2, n)), np.zeros((terms, t.size))
    cut = int(np.count_nonzero(row < terms // 2))
    step = max(1, _BLOCK // n)
    starts = [*range(0, cut, step), *range(cut, row.size, step)]
    for start, stop in zip(starts, [*starts[1:], row.size], strict=True):
        r, c = row[start:stop], column[start:stop]
        mirror = t.size - 1 - c
        early, late = t[c], t[mirror]
        bends, sines = np.take(bend, r, axis=1), np.take(sine, r, axis=1)
        factors = np.empty(bends.shape, np.complex128)
        np.multiply(bends, early, out=factors.real)
        factors.real += 1.0
        np.multiply(sines, early, out=factors.imag)
        here = np.multiply.reduce(factors, axis=0)
        there = here.conj() * whole_turn[r] * phase[r]
        here *= phase[r]
        product[r, c], product[r, mirror] = here.real, there.real
        pull, back = here * amplitude[r, c] / early, there * amplitude[r, mirror] / late
        level = pull.real + back.real
        size = bends * (2.0 * early * late)
        size += 1.0
        bends *= early * pull.real + late * back.real
        sines *= early * pull.imag + late * back.imag
        bends += sines
        bends += level
        bends /= size
        shares[int(start >= cut)] += level.sum() - bends.sum(axis=1)
    return shares, product


def _renormalised(values: Floats, whole: float) -> Floats:
    """The truncation error of the sum, spread in proportion to the values' sizes."""
    size = np.abs(values)
    return np.asarray(values + (whole - values.sum()) * size / max(float(size.sum()), 1e-300))
