"""The adaptive estimator for any game: unbiased for every v, with intervals that hold for all players at once.

A surrogate with a known Shapley value is subtracted, the first and the last position are computed exactly,
and antithetic pairs of permutations estimate the rest. The border layers matter for honesty as much as for
accuracy: without them a player that was never drawn first looks certain.
"""

from dataclasses import dataclass
from math import ceil, log, log2, sqrt
from statistics import NormalDist
from typing import Final

import numpy as np
from numpy.typing import NDArray

from schemas.errors import AttributionError
from streams.attribution.exact import enumerate_values
from streams.attribution.games import CountedGame, Estimate, Game, level_twins
from streams.attribution.surrogates import Borders, Surrogate, collapsed, counted_borders, nothing

__all__ = ["sample"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

_ENUMERATED: Final = 16
"""2^16 coalitions of a vectorised v cost less than sampling to half a percent."""
_FIRST_PAIRS: Final = 100
"""Pairs before the first look: Student's t needs that many for marginals that are not normal."""
_PILOT_PAIRS: Final = 8
"""Pairs that choose the surrogate, drawn apart from the main sample, so that the choice biases nothing."""
_CLEARLY: Final = 0.25
"""Part of the preferred surrogate's variance below which a pilot of a few pairs is believed against it."""
_FLOOR: Final = 0.1
"""A player that gets less than a tenth of the mean is held to the accuracy of a tenth of the mean."""
_HUMILITY: Final = 0.1
"""No half-width is reported below a tenth of its target: what no permutation has met may still exist."""


@dataclass(frozen=True, slots=True)
class _Plan:
    """What the main sample needs, all of it fixed before its first permutation is drawn."""

    borders: Borders
    surrogate: Surrogate
    usual: Floats
    """(n,) each player's mean inner marginal of the residual, by the pilot."""
    twins: Ints | None
    """(n,) which players are the same."""


def sample(
    v: Game,
    n: int,
    *,
    rel_tol: float = 0.005,
    confidence: float = 0.95,
    max_permutations: int = 20_000,
    seed: int,
) -> Estimate:
    """Shapley values (n,) in joules, to `rel_tol` for every player at once with the given confidence.

    Up to 16 players are enumerated (permutations 0, half-widths 0) where 2^n is within the budget of
    n · max_permutations evaluations. Otherwise permutations are doubled from 200 until every half-width is
    at most rel_tol · max(|φ_i|, 0.1 |v(N)|/n); if `max_permutations` is reached first, `converged` is False
    and the half-widths say how far it got. Intervals are Student's t, Bonferroni over players and looks.

    Unbiased for every v. On a `SumGame` of a batch, K = 200 is typically within 1 % at n = 32. On other
    callables only the count means and the border layers help: expect the accuracy of the half-widths, no
    more. Players of a SumGame with equal features get equal values.
    """
    _check(rel_tol, confidence, max_permutations)
    game = CountedGame(v, n)
    if n <= 2 or (n <= _ENUMERATED and 2**n <= n * max_permutations):
        return Estimate(enumerate_values(game), np.zeros(n), 0, game.evaluations, True, seed)
    rng = np.random.default_rng(seed)
    borders = _borders(game)
    twins = game.twins()
    surrogate, usual = _choose(game, borders, rng)
    plan = _Plan(borders, surrogate, level_twins(usual, twins), twins)
    known = level_twins(_known_part(game, borders, surrogate), twins)
    cap = max_permutations // 2
    looks = 1 + max(0, ceil(log2(cap / _FIRST_PAIRS)))
    pairs = min(_FIRST_PAIRS, cap)
    found = _pair_means(game, plan, rng, pairs, game.whole - float(known.sum()))
    while True:
        values = known + found.mean(axis=0)
        target = rel_tol * np.maximum(np.abs(values), _FLOOR * abs(game.whole) / n)
        half_widths = np.maximum(_half_widths(found, (1.0 - confidence) / (n * looks)), _HUMILITY * target)
        converged = bool((half_widths <= target).all())
        if converged or pairs == cap:
            return Estimate(values, half_widths, 2 * pairs, game.evaluations, converged, seed)
        more = min(2 * pairs, cap) - pairs
        found = np.concatenate([found, _pair_means(game, plan, rng, more, game.whole - float(known.sum()))])
        pairs += more


def _check(rel_tol: float, confidence: float, max_permutations: int) -> None:
    if not rel_tol > 0:
        raise AttributionError(f"rel_tol = {rel_tol!r}: must be above 0")
    if not 0 < confidence < 1:
        raise AttributionError(f"confidence = {confidence!r}: must be between 0 and 1")
    if max_permutations < 4:
        raise AttributionError(f"max_permutations = {max_permutations}: an interval needs at least 4")


def _borders(game: CountedGame) -> Borders:
    """2n evaluations."""
    one = np.eye(game.n, dtype=np.bool_)
    return Borders(game.of_coalitions(one), game.of_coalitions(~one))


def _choose(game: CountedGame, borders: Borders, rng: np.random.Generator) -> tuple[Surrogate, Floats]:
    """A surrogate and the usual marginals of its residual: the first candidate, unless a pilot sample shows
    that another one's residual varies clearly less from pair to pair.
    """
    orders = _antithetic(rng, _PILOT_PAIRS, game.n)
    energy = _with_borders(game, borders, orders)
    candidates = [counted_borders(game, borders, energy[:, :-1].mean(axis=0)), nothing(game.n)]
    if game.features is not None:
        candidates.insert(0, collapsed(game))
    usual, noise = [], []
    for surrogate in candidates:
        means, outer = _inner_means(energy - surrogate.of_prefixes(orders), orders)
        usual.append(means.sum(axis=0) / np.maximum((~outer).sum(axis=0), 1))
        noise.append(float(np.where(outer, 0.0, means - usual[-1]).var(axis=0).sum()))
    best = int(np.argmin(noise))
    chosen = best if noise[best] < _CLEARLY * noise[0] else 0
    return candidates[chosen], usual[chosen]


def _known_part(game: CountedGame, borders: Borders, surrogate: Surrogate) -> Floats:
    """(n,) the surrogate's values and the residual's exact border marginals."""
    n = game.n
    # Row i starts with player i and ends with player i - 1.
    predicted = surrogate.of_prefixes((np.arange(n)[:, None] + np.arange(n)) % n)
    left_out = np.roll(predicted[:, n - 2], -1)
    first = borders.alone - predicted[:, 0]
    last = (game.whole - predicted[:, -1]) - (borders.without - left_out)
    return surrogate.values() + (first + last) / n


def _pair_means(game: CountedGame, plan: _Plan, rng: np.random.Generator, pairs: int, total: float) -> Floats:
    """(pairs, n) mean residual marginal over a permutation and its reverse, inner positions only.

    Three things take away noise and change no expectation: a player at an outer position is given its usual
    marginal, less what that comes to on average; players that are the same are averaged; each pair is
    shifted to its known sum `total`.
    """
    orders = _antithetic(rng, pairs, game.n)
    energy = _with_borders(game, plan.borders, orders)
    means, outer = _inner_means(energy - plan.surrogate.of_prefixes(orders), orders)
    means = level_twins(means + plan.usual * (outer - 2.0 / game.n), plan.twins)
    return np.asarray(means + (total - means.sum(axis=1, keepdims=True)) / game.n)


def _inner_means(residual: Floats, orders: Ints) -> tuple[Floats, Bools]:
    """(pairs, n) mean marginal over a permutation and its reverse, 0 for the two players at its ends; who they are.

    `residual` (2 pairs, n): energy of every non-empty prefix of `orders`, the reversed ones after the others.
    """
    pairs = residual.shape[0] // 2
    inner = np.zeros(residual.shape)
    inner[:, 1:-1] = np.diff(residual, axis=1)[:, :-1]
    marginals = np.empty(residual.shape)
    np.put_along_axis(marginals, orders, inner, axis=1)
    outer = np.zeros((pairs, residual.shape[1]), np.bool_)
    np.put_along_axis(outer, orders[:pairs, [0, -1]], True, axis=1)
    return (marginals[:pairs] + marginals[pairs:]) / 2.0, outer


def _with_borders(game: CountedGame, borders: Borders, orders: Ints) -> Floats:
    """(k, n) v of every non-empty prefix; sizes 1, n − 1 and n are known and not asked again."""
    k, n = orders.shape
    energy = np.empty((k, n))
    energy[:, 0] = borders.alone[orders[:, 0]]
    energy[:, 1 : n - 2] = game.of_prefixes(orders, 2, n - 2)
    energy[:, n - 2] = borders.without[orders[:, -1]]
    energy[:, n - 1] = game.whole
    return energy


def _antithetic(rng: np.random.Generator, pairs: int, n: int) -> Ints:
    """(2 pairs, n) uniform permutations, then each of them reversed."""
    orders = rng.permuted(np.broadcast_to(np.arange(n), (pairs, n)), axis=1)
    return np.concatenate([orders, orders[:, ::-1]])


def _half_widths(found: Floats, alpha: float) -> Floats:
    """Student's t over the pairs, plus Bernstein's term for rare large marginals, each two-sided at `alpha`.

    Where a residual is nearly always 0 and seldom large, a hundred pairs are not normal yet, and Student's t
    alone is too narrow; the second term, range · ln(2/α) / 3K, vanishes as 1/K.
    """
    pairs = found.shape[0]
    student = _student_t(1.0 - alpha / 2.0, pairs - 1) * found.std(axis=0, ddof=1) / sqrt(pairs)
    return np.asarray(student + np.ptp(found, axis=0) * log(2.0 / alpha) / (3.0 * pairs))


def _student_t(probability: float, freedom: int) -> float:
    """Quantile of Student's t by its expansion about the normal one (Abramowitz and Stegun 26.7.5)."""
    z = NormalDist().inv_cdf(probability)
    g1 = (z**3 + z) / 4
    g2 = (5 * z**5 + 16 * z**3 + 3 * z) / 96
    g3 = (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384
    g4 = (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160
    return z + g1 / freedom + g2 / freedom**2 + g3 / freedom**3 + g4 / freedom**4
