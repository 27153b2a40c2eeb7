"""Which estimator plays a game, with its settings, and the name that its figures carry."""

from dataclasses import dataclass
from typing import Final

from schemas.errors import AttributionError
from streams.attribution.games import Estimate, Game
from streams.attribution.sampled import sample
from streams.attribution.truncated import truncated

__all__ = ["AUTO", "METHODS", "SAMPLED", "TRUNCATED", "Sampling"]

AUTO: Final = "auto"
"""Closed form where there is one, else the adaptive estimator."""
SAMPLED: Final = "sampled"
"""The adaptive estimator, even where there is a closed form."""
TRUNCATED: Final = "truncated"
"""The published method."""
METHODS: Final = (AUTO, SAMPLED, TRUNCATED)


@dataclass(frozen=True, slots=True)
class Sampling:
    """Settings of the estimators, as `shapley.truncated` and `shapley.sample` define them."""

    method: str = AUTO
    permutations: int | None = None
    tolerance: float = 0.0
    rel_tol: float = 0.005
    confidence: float = 0.95
    max_permutations: int = 20_000

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise AttributionError(f"method = {self.method!r}: must be one of {', '.join(METHODS)}")

    def run(self, game: Game, n: int, seed: int) -> Estimate:
        """Shapley values of a black box."""
        if self.method == TRUNCATED:
            return truncated(game, n, permutations=self.permutations, tolerance=self.tolerance, seed=seed)
        return sample(
            game,
            n,
            rel_tol=self.rel_tol,
            confidence=self.confidence,
            max_permutations=self.max_permutations,
            seed=seed,
        )

    def name(self, estimate: Estimate) -> str:
        """The method as rows and receipts name it."""
        if self.method == TRUNCATED:
            return f"shapley_truncated_K{estimate.permutations}"
        return f"shapley_sampled_K{estimate.permutations}" if estimate.permutations else "shapley_exact"
