"""The published method, truncated Shapley sampling: kept for its name, not for its accuracy."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from schemas.errors import AttributionError
from streams.attribution.games import CountedGame, Estimate, Game

__all__ = ["truncated"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_PILOT: Final = 50
"""Permutations before K is adapted; with fewer, the variance of the marginals is itself mostly noise."""
_CAP: Final = 20_000
"""Largest adapted K: at n = 32 it costs 0.6 million evaluations."""
_TARGET: Final = 0.02
"""The published claim, within 2 %: it holds as a share of the batch's energy, not of a request's."""
_Z95: Final = 1.959963984540054


def truncated(
    v: Game, n: int, *, permutations: int | None = 200, tolerance: float = 0.0, seed: int
) -> Estimate:
    """Mean marginal contribution over K random permutations; K (n - 1) + 2 evaluations at tolerance 0.

    `permutations=None` adapts K to the variance of the marginals: after 50 permutations K is raised until
    the 95 % half-width of every request is at most 2 % of v(N); at K = 20,000 it stops, `converged=False`.
    A permutation is cut off once |v(N) − v(prefix)| ≤ tolerance · |v(N)|; who is left then gets nothing.

    What it costs. With a fixed energy F that whoever comes first pays, the relative standard error of a
    request is √((n−1)/K) · (F/n)/φ_i: at n = 32 and K = 200, decode only, requests are off by 20 % on
    average and the worst by 65 %. A cut-off of 1 % adds 11-15 % bias to small requests and leaves up to
    0.8 % of the energy with nobody. `half_widths` are the usual 1.96 standard errors, each request alone;
    a request that was never drawn first looks certain and is not. `shapley.sample` is the honest one.
    """
    if permutations is not None and permutations < 1:
        raise AttributionError(f"permutations = {permutations}: at least one is needed, or None to adapt")
    if not 0.0 <= tolerance < 1.0:
        raise AttributionError(f"tolerance = {tolerance!r}: it is a share of v(N), in [0, 1)")
    game = CountedGame(v, n)
    rng = np.random.default_rng(seed)
    if n == 1:
        return Estimate(np.array([game.whole]), np.zeros(1), permutations or 1, game.evaluations, True, seed)
    first = _marginals(game, _orders(rng, permutations or _PILOT, n), tolerance)
    converged = True
    if permutations is None:
        needed = _needed(first, game.whole)
        extra = min(needed, _CAP) - _PILOT
        if extra > 0:
            first = np.concatenate([first, _marginals(game, _orders(rng, extra, n), tolerance)])
        converged = needed <= _CAP
    k = first.shape[0]
    deviation = first.std(axis=0, ddof=1) if k > 1 else np.full(n, np.inf)
    return Estimate(first.mean(axis=0), _Z95 * deviation / np.sqrt(k), k, game.evaluations, converged, seed)


def _needed(marginals: Floats, whole: float) -> int:
    """K at which the widest 95 % half-width is 2 % of v(N), by the marginals' variance so far."""
    widest = float(marginals.std(axis=0, ddof=1).max())
    target = _TARGET * abs(whole)
    if widest == 0.0:
        return _PILOT
    return _CAP + 1 if target == 0.0 else int(min(_CAP + 1.0, np.ceil((_Z95 * widest / target) ** 2)))


def _orders(rng: np.random.Generator, k: int, n: int) -> Ints:
    """(k, n) independent uniform permutations."""
    return rng.permuted(np.broadcast_to(np.arange(n), (k, n)), axis=1)


def _marginals(game: CountedGame, orders: Ints, tolerance: float) -> Floats:
    """(k, n) marginal contribution of each player in each permutation."""
    k, n = orders.shape
    along = np.empty((k, n + 1))
    along[:, 0] = 0.0
    along[:, n] = game.whole
    if tolerance == 0.0:
        along[:, 1:n] = game.of_prefixes(orders, 1, n - 1)
    else:
        _walk_until_cut(game, orders, tolerance, along)
    marginals = np.empty((k, n))
    np.put_along_axis(marginals, orders, np.diff(along, axis=1), axis=1)
    return marginals


def _walk_until_cut(game: CountedGame, orders: Ints, tolerance: float, along: Floats) -> None:
    """Fill `along` position by position, asking v only for permutations that are not cut off yet."""
    k, n = orders.shape
    members = np.zeros((k, n), np.bool_)
    live = np.arange(k)
    for s in range(1, n):
        members[live, orders[live, s - 1]] = True
        along[live, s] = game.of_coalitions(members[live])
        cut = np.abs(game.whole - along[live, s]) <= tolerance * abs(game.whole)
        along[live[cut], s + 1 :] = along[live[cut], s][:, None]
        live = live[~cut]
        if live.size == 0:
            return
