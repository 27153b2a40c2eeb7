"""Measured games: the exact Shapley value of what was measured, with the error that the measurements leave in it.

The Shapley value is linear in the energies, φ = A v, so independent errors of the energies add in squares, and
draws of the energies give draws of φ. What is common to all energies, the sensor's scale, cancels in every share.
"""

from dataclasses import dataclass
from math import comb
from typing import Final

import numpy as np
from numpy.typing import NDArray

from evaluation.measured_data import MeasuredBatch

__all__ = ["MeasuredGame", "draws", "measured_game", "shapley_matrix", "table_game"]

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

Z_90: Final = 1.6448536269514722


@dataclass(frozen=True, slots=True, eq=False)
class MeasuredGame:
    """One batch's exact Shapley values."""

    batch: MeasuredBatch
    matrix: Floats
    """(n, 2^n) A."""
    shapley_j: Floats
    """(n,) sum to the whole batch's energy."""
    half_widths_j: Floats
    """(n,) 90 %."""

    @property
    def total_j(self) -> float:
        """v(N) as measured."""
        return float(self.batch.energy_j[-1])


def measured_game(batch: MeasuredBatch) -> MeasuredGame:
    """Solve a batch; O(n 2^n)."""
    matrix = shapley_matrix(len(batch.new_tokens))
    error = np.sqrt(matrix**2 @ (batch.half_width_j / Z_90) ** 2)
    return MeasuredGame(batch, matrix, matrix @ batch.energy_j, Z_90 * error)


def shapley_matrix(n: int) -> Floats:
    """(n, 2^n) A with φ = A v, v by mask.

    s! (n − 1 − s)! / n! with s = |S without i|, positive where i is in S, negative where not (Shapley 1953).
    """
    masks = np.arange(2**n)
    inside = (masks[None, :] >> np.arange(n)[:, None] & 1).astype(bool)
    size = inside.sum(axis=0)
    weight = np.array([1.0 / (n * comb(n - 1, s)) for s in range(n)])
    joined, left = weight[np.maximum(size - 1, 0)], weight[np.minimum(size, n - 1)]
    return np.asarray(np.where(inside, joined[None, :], -left[None, :]), np.float64)


def draws(game: MeasuredGame, count: int, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """(count, n) Shapley values and (count,) totals, had the measurement's errors fallen otherwise."""
    batch = game.batch
    energy_j = batch.energy_j + rng.standard_normal((count, batch.energy_j.size)) * batch.half_width_j / Z_90
    return energy_j @ game.matrix.T, energy_j[:, -1]


def table_game(energy_j: Floats, coalitions: Bools) -> Floats:
    """(m,) energies of (m, n) boolean coalitions, looked up."""
    masks = coalitions @ (1 << np.arange(coalitions.shape[1]))
    return np.asarray(energy_j[masks], np.float64)
