"""Sample efficiency: N_ε = min N with P(|φ̂ − φ| ≤ ε) ≥ 1 − α, measured over repeats (Li et al.).

ε is relative to each player's own Shapley value, N counts evaluations of v, and P is the share of repeats with
different seeds. N is tried on a doubling ladder, so N_ε is right to a factor of two.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from evaluation.criteria.fairness import relative_errors
from streams.attribution import Estimate, shapley
from streams.attribution.games import Game

__all__ = ["ALPHA", "EPSILONS", "ESTIMATORS", "LADDER", "Efficiency", "sample_efficiency"]

Floats = NDArray[np.float64]
Estimator = Callable[[Game, int, int, int], Estimate]

ALPHA: Final = 0.05
EPSILONS: Final = (0.01, 0.02, 0.05, 0.10, 0.20)
LADDER: Final = (25, 50, 100, 200, 400, 800, 1600, 3200)
"""Permutations per estimate."""


@dataclass(frozen=True, slots=True)
class Efficiency:
    """One estimator on one game at one ε."""

    game: str
    players: int
    estimator: str
    epsilon: float
    median_player: float
    """N_ε of the median player, in evaluations of v; infinite if the ladder was too short."""
    worst_player: float
    """N_ε of the player who needs most."""
    repeats: int
    largest_tried: float
    """Evaluations at the end of the ladder."""


def _truncated(game: Game, n: int, permutations: int, seed: int) -> Estimate:
    return shapley.truncated(game, n, permutations=permutations, seed=seed)


def _sampled(game: Game, n: int, permutations: int, seed: int) -> Estimate:
    # A tolerance that is never met: exactly the permutations asked for are spent.
    return shapley.sample(game, n, rel_tol=1e-12, max_permutations=permutations, seed=seed)


ESTIMATORS: Final[dict[str, Estimator]] = {
    "truncated (published)": _truncated,
    "sampled (ours)": _sampled,
}


def sample_efficiency(
    name: str,
    game: Game,
    truth: Floats,
    *,
    repeats: int,
    ladder: Sequence[int] = LADDER,
    seed: int,
    progress: Callable[[int, int], None],
) -> list[Efficiency]:
    """N_ε of every estimator for every ε; `truth` is (n,), the game's exact Shapley value."""
    found = []
    steps = len(ESTIMATORS) * len(ladder)
    for number, (estimator, estimate) in enumerate(ESTIMATORS.items()):
        spent = np.empty(len(ladder))
        within = np.empty((len(ladder), len(EPSILONS), len(truth)), np.bool_)
        for rung, permutations in enumerate(ladder):
            spent[rung], within[rung] = _rung(estimate, game, truth, permutations, repeats, seed)
            progress(number * len(ladder) + rung + 1, steps)
        for level, epsilon in enumerate(EPSILONS):
            needed = np.array([_first(within[:, level, i], spent) for i in range(len(truth))])
            found.append(
                Efficiency(
                    game=name,
                    players=len(truth),
                    estimator=estimator,
                    epsilon=epsilon,
                    median_player=float(np.quantile(needed, 0.5, method="higher")),
                    worst_player=float(needed.max()),
                    repeats=repeats,
                    largest_tried=float(spent[-1]),
                )
            )
    return found


def _rung(
    estimate: Estimator, game: Game, truth: Floats, permutations: int, repeats: int, seed: int
) -> tuple[float, NDArray[np.bool_]]:
    """Mean evaluations spent, and (epsilons, n) whether each player was within ε often enough."""
    errors = np.empty((repeats, len(truth)))
    spent = 0
    for repeat in range(repeats):
        result = estimate(game, len(truth), permutations, seed + repeat)
        errors[repeat] = relative_errors(result.values, truth)
        spent += result.evaluations
    often = [(errors <= epsilon).mean(axis=0) >= 1.0 - ALPHA for epsilon in EPSILONS]
    return spent / repeats, np.array(often)


def _first(within: NDArray[np.bool_], spent: Floats) -> float:
    """The smallest spending from which on the target is met at every larger one too."""
    missed = np.flatnonzero(~within)
    after = int(missed[-1]) + 1 if missed.size else 0
    return float(spent[after]) if after < len(spent) else float("inf")
