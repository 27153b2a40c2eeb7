"""Fairness: the distance |φ̂ − φ| between what a method charges and the Shapley value, per request or tenant."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Distance", "distance", "grouped", "relative_errors"]

Floats = NDArray[np.float64]
Int64s = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Distance:
    """How far charges are from the truth, over n players."""

    players: int
    mean_g: float
    p95_g: float
    worst_g: float
    mean_percent: float
    """Relative distance |φ̂ − φ| / |φ| of the mean player."""
    p95_percent: float
    worst_percent: float
    worst_player: int
    """Index of the player with the largest relative distance."""
    worst_signed_percent: float
    """(φ̂ − φ) / φ of that player: negative pays too little."""
    misplaced_percent: float
    """Half of Σ|φ̂ − φ| over Σφ: the part of the carbon that is booked to the wrong player."""
    unassigned_percent: float
    """1 − Σφ̂ / Σφ: what the method leaves with the provider; negative if it charges too much."""


def distance(charged_g: Floats, truth_g: Floats) -> Distance:
    """Compare (n,) charges with (n,) Shapley values, n ≥ 1.

    A player whose Shapley value is 0 and who is charged anyway is infinitely far off, in per cent.
    """
    gap = np.abs(charged_g - truth_g)
    percent = 100.0 * relative_errors(charged_g, truth_g)
    worst = int(np.argmax(percent))
    whole = float(truth_g.sum())
    return Distance(
        players=len(truth_g),
        mean_g=float(gap.mean()),
        p95_g=float(np.quantile(gap, 0.95)),
        worst_g=float(gap.max()),
        mean_percent=float(percent.mean()),
        p95_percent=float(_quantile(percent, 0.95)),
        worst_percent=float(percent[worst]),
        worst_player=worst,
        worst_signed_percent=float(np.copysign(percent[worst], charged_g[worst] - truth_g[worst])),
        misplaced_percent=50.0 * float(gap.sum()) / whole,
        unassigned_percent=100.0 * (1.0 - float(charged_g.sum()) / whole),
    )


def relative_errors(charged_g: Floats, truth_g: Floats) -> Floats:
    """(n,) |φ̂ − φ| / |φ|; 0 where both are 0, infinite where only the truth is."""
    gap = np.abs(charged_g - truth_g)
    alone = np.where(gap > 0, np.inf, 0.0)
    return np.divide(gap, np.abs(truth_g), out=alone, where=truth_g != 0)


def grouped(values: Floats, group: Int64s, groups: int) -> Floats:
    """(groups,) sums of (n,) values."""
    return np.asarray(np.bincount(group, values, groups), np.float64)


def _quantile(values: Floats, level: float) -> float:
    """A quantile that is infinite only where it must be (interpolating towards infinity gives NaN)."""
    return float(np.quantile(values, level, method="higher" if np.isinf(values).any() else "linear"))
