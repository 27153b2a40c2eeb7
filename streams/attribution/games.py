"""Games: who plays, and what a coalition costs. v is checked wherever it is asked, each asking is counted.

A game is a callable from coalitions, a boolean array (coalitions, n), to joules (coalitions,), or a
`SumGame`, whose value depends only on sums of the players' features: the estimators then work on sums.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from schemas.errors import AttributionError

__all__ = ["CountedGame", "Estimate", "Game", "SumGame", "level_twins"]

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class SumGame:
    """v(S) = value(sum of the features of S): what a batch costs is a function of its totals."""

    features: Floats
    """(n, d) one row per player, such as (1, new tokens, context, new tokens × context)."""
    value: Callable[[Floats], Floats]
    """Maps sums of features (..., d) to joules (...); 0 at the zero vector."""

    def __call__(self, coalitions: Bools) -> Floats:
        """Joules of boolean coalitions (m, n)."""
        return self.value(coalitions.astype(np.float64) @ self.features)


Game = SumGame | Callable[[Bools], Floats]


@dataclass(frozen=True, slots=True)
class Estimate:
    """Shapley values with what is known about their error."""

    values: Floats
    """(n,) joules; they sum to v(N) unless a tolerance cut permutations short."""
    half_widths: Floats
    """(n,) joules; 0 where exact. What they promise is said by the estimator that made them."""
    permutations: int
    """K; a reversed permutation counts."""
    evaluations: int
    """Coalitions that v was really asked for."""
    converged: bool
    """False where sampling stopped at its cap before its target."""
    seed: int


class CountedGame:
    """A game of n players whose every answer is checked (shape, finite) and counted."""

    __slots__ = ("_game", "empty", "evaluations", "features", "n", "whole")

    def __init__(self, game: Game, n: int) -> None:
        if isinstance(n, bool) or not isinstance(n, int | np.integer) or n < 1:
            raise AttributionError(f"n = {n!r}: a game needs a player; energy without one has an account")
        self._game = game
        self.n = int(n)
        self.evaluations = 0
        self.features: Floats | None = None
        if isinstance(game, SumGame):
            self.features = _checked_features(game.features, self.n)
        ends = np.zeros((2, self.n), np.bool_)
        ends[1] = True
        empty, whole = self.of_coalitions(ends)
        self.whole = float(whole)
        if abs(empty) > 1e-9 * max(abs(self.whole), 1e-300):
            raise AttributionError(
                f"v(∅) = {empty!r}: an empty batch must cost 0; idle energy has its own account"
            )

    def of_coalitions(self, coalitions: Bools) -> Floats:
        """Joules of boolean coalitions (m, n)."""
        return self._checked(self._game(coalitions), (coalitions.shape[0],))

    def of_sums(self, sums: Floats) -> Floats:
        """Joules at feature sums (..., d); only for a SumGame."""
        assert isinstance(self._game, SumGame)
        return self._checked(self._game.value(sums), sums.shape[:-1])

    def of_prefixes(self, orders: Ints, smallest: int, largest: int) -> Floats:
        """Joules of the prefixes of permutations (k, n) with `smallest`..`largest` players, (k, sizes)."""
        k, n = orders.shape
        sizes = np.arange(smallest, largest + 1)
        if sizes.size == 0:
            return np.zeros((k, 0))
        if self.features is not None:
            # One feature after another in memory: every operation of v then runs over contiguous numbers.
            along = np.cumsum(np.take(self.features.T, orders[:, :largest], axis=1), axis=2)
            return self.of_sums(np.moveaxis(along[:, :, smallest - 1 :], 0, -1))
        values = np.empty((k, sizes.size))
        block = max(1, 2**22 // (n * n))
        for start in range(0, k, block):
            part = orders[start : start + block]
            rank = np.empty_like(part)
            np.put_along_axis(rank, part, np.arange(n)[None, :], axis=1)
            members = rank[:, None, :] < sizes[None, :, None]
            values[start : start + block] = self.of_coalitions(members.reshape(-1, n)).reshape(-1, sizes.size)
        return values

    def twins(self) -> Ints | None:
        """(n,) a number for each kind of player, by equal features; None where all differ or none are known."""
        if self.features is None:
            return None
        kinds, index = np.unique(self.features, axis=0, return_inverse=True)
        return None if kinds.shape[0] == self.n else index.reshape(-1)

    def _checked(self, answer: Floats, shape: tuple[int, ...]) -> Floats:
        values = np.asarray(answer, np.float64)
        if values.shape != shape:
            raise AttributionError(
                f"v returned shape {values.shape} for {shape}: one energy per coalition is needed"
            )
        if not np.isfinite(values).all():
            raise AttributionError("v returned NaN or infinity: only numbers can be split")
        self.evaluations += values.size
        return values


def level_twins(values: Floats, twins: Ints | None) -> Floats:
    """Give players of one kind the mean of their values (..., n), so that rounding or chance tells none apart."""
    if twins is None:
        return values
    kinds = (twins[:, None] == np.arange(int(twins.max()) + 1)).astype(np.float64)
    return np.asarray((values @ (kinds / kinds.sum(axis=0)))[..., twins])


def _checked_features(features: Floats, n: int) -> Floats:
    checked = np.asarray(features, np.float64)
    if checked.ndim != 2 or checked.shape[0] != n:
        raise AttributionError(f"features have shape {checked.shape}: they must be (n, d) with n = {n}")
    if not np.isfinite(checked).all():
        raise AttributionError("features contain NaN or infinity: every player needs its numbers")
    return checked
