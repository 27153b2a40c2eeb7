"""Shapley values by enumeration of all 2^n coalitions: the definition itself, for small games."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from schemas.errors import AttributionError
from streams.attribution.games import CountedGame, Game, level_twins

__all__ = ["MAX_PLAYERS", "enumerate_values", "exact"]

Floats = NDArray[np.float64]

MAX_PLAYERS: Final = 20
"""2^20 coalitions of 8 bytes are 8 MB and about a second of a vectorised v; each player more doubles both."""
_BLOCK: Final = 2**16


def exact(v: Game, n: int) -> Floats:
    """Shapley values (n,) in joules of a game of n ≤ 20 players; 2^n evaluations, O(n 2^n).

    φ_i = Σ over S without i of |S|! (n-1-|S|)! / n! · (v(S ∪ i) − v(S))  (Shapley 1953).
    """
    if n > MAX_PLAYERS:
        raise AttributionError(
            f"n = {n}: enumeration stops at {MAX_PLAYERS} players (2^n coalitions); use shapley.sample, "
            "or an EnergyModel, whose shares have a closed form"
        )
    return enumerate_values(CountedGame(v, n))


def enumerate_values(game: CountedGame) -> Floats:
    """Shapley values (n,) of a checked game by enumeration."""
    n = game.n
    energy = _all_coalitions(game)
    size = _popcounts(n)
    weight = coalition_weights(n)
    values = np.empty(n)
    for i in range(n):
        pairs = energy.reshape(-1, 2, 2**i)
        before = size.reshape(-1, 2, 2**i)[:, 0]
        values[i] = float(np.sum(weight[before] * (pairs[:, 1] - pairs[:, 0])))
    return level_twins(values, game.twins())


def coalition_weights(n: int) -> Floats:
    """(n,) probability of one given set of s predecessors in a random order: s! (n-1-s)! / n!."""
    weight = np.empty(n)
    weight[0] = 1.0 / n
    for s in range(1, n):
        weight[s] = weight[s - 1] * s / (n - s)
    return weight


def _all_coalitions(game: CountedGame) -> Floats:
    """(2^n,) joules; bit i of the index says whether player i is in."""
    n = game.n
    energy = np.empty(2**n)
    shifts = np.arange(n, dtype=np.int64)
    for start in range(0, 2**n, _BLOCK):
        index = np.arange(start, min(start + _BLOCK, 2**n), dtype=np.int64)
        members = (index[:, None] >> shifts) & 1
        energy[start : start + index.size] = game.of_coalitions(members.astype(np.bool_))
    return energy


def _popcounts(n: int) -> NDArray[np.int64]:
    counts = np.zeros(1, np.int64)
    for _ in range(n):
        counts = np.concatenate([counts, counts + 1])
    return counts
