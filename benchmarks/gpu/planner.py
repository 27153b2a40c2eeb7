"""What to measure next: everything once, in blocks of falling value, then again where a look is worth most.

Blocks: half of the grid, the six batches one after the other, the rest of the grid. The grid's order is drawn.
The sub-batches of a batch follow a Gray code over drawn bits, so that neighbours differ by one request and the
counter's lag mixes like with like; the request with most tokens changes least often.
"""

from collections.abc import Mapping, Sequence
from math import comb, sqrt
from typing import Any, Final

import numpy as np

from benchmarks.gpu.cells import Batch, Cell, coalition_cells
from benchmarks.gpu.combine import between_visits, combined
from benchmarks.gpu.settings import Settings

__all__ = ["first_round", "neighbours", "next_cell", "shapley_weight"]

_GRID_WORTH: Final = 0.1
"""A grid cell is one of some 150 that a dozen coefficients are fitted to: its own error hardly counts."""


def first_round(grid: Sequence[Cell], batches: Sequence[Batch], seed: int) -> list[Cell]:
    """Every cell once, in the order of its first visit."""
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(grid))
    half = len(grid) // 2
    cells = [grid[i] for i in order[:half]]
    for batch in batches:
        cells += _gray(batch, rng)
    return cells + [grid[i] for i in order[half:]]


def _gray(batch: Batch, rng: np.random.Generator) -> list[Cell]:
    n = len(batch.rows)
    drawn = [int(i) for i in rng.permutation(n)]
    # Bit n − 1 of a Gray code changes once, bit 0 every other time.
    players = sorted(drawn, key=lambda i: batch.rows[i][0] > 1)
    by_mask = {cell.mask: cell for cell in coalition_cells(batch)}
    codes = [number ^ (number >> 1) for number in range(1, 2**n)]
    return [by_mask[sum(1 << players[bit] for bit in range(n) if code >> bit & 1)] for code in codes]


def neighbours(one: Cell | None, other: Cell) -> bool:
    """Whether two sub-batches of one batch differ by a single request."""
    return one is not None and one.batch == other.batch != "" and (one.mask ^ other.mask).bit_count() == 1


def next_cell(
    cells: Sequence[Cell], visits: Mapping[str, Sequence[Mapping[str, Any]]], settings: Settings
) -> Cell | None:
    """The first cell never visited, else the one whose next visit is worth most; None without cells."""
    for cell in cells:
        if cell.name not in visits:
            return cell
    if not cells:
        return None
    scatter = between_visits(visits, settings.prior_scatter)
    whole = {cell.batch: _energy(visits[cell.name]) for cell in cells if _is_whole(cell)}
    return max(cells, key=lambda cell: _worth(cell, visits[cell.name], scatter, whole, settings.target))


def _worth(
    cell: Cell, seen: Sequence[Mapping[str, Any]], scatter: float, whole: Mapping[str, float], target: float
) -> float:
    """Error that one more visit could take away: of a share, relative to the mean share; of a grid cell, of itself.

    A cell beyond the target comes before all that are within it.
    """
    figure = combined(seen, scatter)
    relative = figure.half_width_j / figure.energy_j
    beyond = 1.0 + relative if relative > target else 0.0
    if cell.kind == "coalition":
        share = whole[cell.batch] / cell.players
        relative = shapley_weight(cell.players, len(cell.rows)) * figure.half_width_j / share
    else:
        relative *= _GRID_WORTH
    return beyond + relative * (1.0 - sqrt(len(seen) / (len(seen) + 1.0)))


def shapley_weight(n: int, size: int) -> float:
    """Largest weight of v(S), |S| = size ≥ 1, in any player's Shapley value of an n-player game.

    s! (n − 1 − s)! / n! at s = |S| − 1 for players in S, at s = |S| for the others (Shapley 1953).
    """
    inside = 1.0 / (n * comb(n - 1, size - 1))
    return inside if size == n else max(inside, 1.0 / (n * comb(n - 1, size)))


def _energy(seen: Sequence[Mapping[str, Any]]) -> float:
    return float(np.mean([visit["energy_j"] for visit in seen]))


def _is_whole(cell: Cell) -> bool:
    return cell.kind == "coalition" and cell.mask == 2**cell.players - 1
