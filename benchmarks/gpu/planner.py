"""What to measure next: everything once, in blocks of falling value, then again where a look is worth most.

Blocks: half of the grid, the six batches one after the other, the rest of the grid. The grid's order is drawn.
The sub-batches of a batch follow a Gray code over drawn bits, so that neighbours differ by one request and the
counter's lag mixes like with like; the request with most tokens changes least often.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from benchmarks.gpu.cells import Batch, Cell, coalition_cells
from benchmarks.gpu.combine import Figure, between_visits, combined
from benchmarks.gpu.settings import Settings
from evaluation.measured_games import shapley_matrix

__all__ = ["first_round", "neighbours", "next_cell"]

_SMALLEST_SHARE: Final = 0.02
"""Of the mean share: what noise makes smaller, or negative, is not chased further."""

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
    figures = {cell.name: combined(visits[cell.name], scatter) for cell in cells}
    stakes = _stakes(cells, figures)

    def worth(cell: Cell) -> float:
        figure = figures[cell.name]
        relative = figure.half_width_j / figure.energy_j
        gain = (stakes.get(cell.name, _GRID_WORTH / figure.energy_j) * figure.half_width_j) ** 2
        # One more visit takes a part of 1/(visits + 1) off the variance; beyond the target it comes first.
        return (1.0 + relative if relative > settings.target else 0.0) + gain / (figure.visits + 1)

    return max(cells, key=worth)


def _stakes(cells: Sequence[Cell], figures: Mapping[str, Figure]) -> dict[str, float]:
    """Per coalition of a batch that is complete: what a joule's error in it does to the shares.

    Root mean square over the requests of |∂φ_i/∂v(S)| / φ_i, so that small shares count as much as large ones.
    """
    batches: dict[str, list[Cell]] = {}
    for cell in cells:
        if cell.kind == "coalition":
            batches.setdefault(cell.batch, []).append(cell)
    stakes: dict[str, float] = {}
    for own in batches.values():
        n = own[0].players
        if len(own) < 2**n - 1:
            continue
        matrix = shapley_matrix(n)
        energy_j = np.zeros(2**n)
        for cell in own:
            energy_j[cell.mask] = figures[cell.name].energy_j
        share_j = matrix @ energy_j
        floor_j = _SMALLEST_SHARE * energy_j[-1] / n
        relative = np.sqrt(np.mean((matrix / np.maximum(share_j, floor_j)[:, None]) ** 2, axis=0))
        stakes |= {cell.name: float(relative[cell.mask]) for cell in own}
    return stakes
