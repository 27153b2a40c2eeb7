"""Shapley values of the counterfactual game: enumerated for about 12 players, sampled with intervals above."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from evaluation.coalitions import CounterfactualGame
from evaluation.fixed_schedule import without_fixed_schedule
from evaluation.runs import Run
from evaluation.table_games import iteration_shapley
from schemas.errors import AttributionError
from streams.attribution import shapley
from streams.attribution.games import Game

__all__ = ["ENUMERATED", "Truth", "all_coalitions", "counterfactual_shapley", "lookup"]

Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]

ENUMERATED: Final = 12
"""4,096 simulations take seconds; every further player doubles them."""
CONFIDENCE: Final = 0.95
_NEVER: Final = 1e-12
"""A tolerance that is never met: the difference of two games has no size of its own to stop at."""


@dataclass(frozen=True, slots=True, eq=False)
class Truth:
    """The reference that methods are held against."""

    values_g: Floats
    """(n,) gCO2e; they sum to C(N) − C(∅)."""
    half_widths_g: Floats
    """(n,) of 95 % intervals that hold for all players at once; 0 where enumerated."""
    simulations: int
    converged: bool
    """False where sampling stopped at its cap before the half-widths were as small as asked."""


def counterfactual_shapley(
    game: CounterfactualGame, run: Run, *, rel_tol: float, permutations: int, seed: int
) -> Truth:
    """Enumerate up to 12 players; beyond, spend `permutations` on what the fixed schedule does not explain.

    `game` is the counterfactual game of `run`, whose players are the requests. Converged if every half-width is
    within `rel_tol` of its value, or of a tenth of an equal share where the value is smaller.
    """
    n = game.players
    if n <= ENUMERATED:
        values = shapley.exact(lookup(game(all_coalitions(n)), n), n)
        return Truth(values, np.zeros(n), 2**n, True)
    rest = shapley.sample(
        without_fixed_schedule(game, run),
        n,
        rel_tol=_NEVER,
        confidence=CONFIDENCE,
        max_permutations=permutations,
        seed=seed,
    )
    values = iteration_shapley(run) + rest.values
    target = rel_tol * np.maximum(np.abs(values), 0.1 * run.total_g / n)
    return Truth(values, rest.half_widths, rest.evaluations, bool((rest.half_widths <= target).all()))


def all_coalitions(n: int) -> Bools:
    """(2^n, n): bit i of the row's number says whether player i is in."""
    return ((np.arange(2**n)[:, None] >> np.arange(n)) & 1).astype(np.bool_)


def lookup(values: Floats, n: int) -> Game:
    """The game whose 2^n values are known, in the order of `all_coalitions`."""
    if values.shape != (2**n,):
        raise AttributionError(f"values have shape {values.shape}: a game of {n} players has {2**n}")
    place = 1 << np.arange(n)

    def value(members: Bools) -> Floats:
        return values[members @ place]

    return value
