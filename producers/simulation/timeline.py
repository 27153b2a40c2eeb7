"""A metering group's power over time, by account: the simulator's truth, piecewise constant and integrated.

Invariant: the accounts of any interval sum to the energy of that interval.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "ACCOUNTS",
    "COLD_START",
    "IDLE",
    "OVERHEAD",
    "REQUEST",
    "Background",
    "Timeline",
    "build_timeline",
]

Floats = NDArray[np.float64]
Int64s = NDArray[np.int64]

REQUEST, IDLE, COLD_START, OVERHEAD = range(4)
ACCOUNTS = ("request", "idle", "cold_start", "overhead")
"""Account names by code; the simulator observes everything, so nothing is `unobserved`."""


@dataclass(frozen=True, slots=True)
class Background:
    """Power drawn from `start_us` until the next background while no iteration runs."""

    start_us: int
    power_w: float
    account: int


@dataclass(frozen=True, slots=True, eq=False)
class Timeline:
    """Cumulative energy at K edges; linear between them."""

    edges_us: Int64s
    """(K,) ascending, from 0 to the end."""
    energy_j: Floats
    """(4, K) cumulative joules of each account."""
    busy_us: Floats
    """(K,) cumulative time in iterations."""

    @property
    def end_us(self) -> int:
        """Where the timeline ends."""
        return int(self.edges_us[-1])

    def accounts_j(self, times_us: Int64s) -> Floats:
        """(4, T) cumulative joules by account at (T,) times."""
        return np.array([np.interp(times_us, self.edges_us, row) for row in self.energy_j])

    def total_j(self, times_us: Int64s) -> Floats:
        """(T,) cumulative joules at (T,) times."""
        return np.asarray(np.interp(times_us, self.edges_us, self.energy_j.sum(axis=0)), np.float64)

    def busy_s(self, times_us: Int64s) -> Floats:
        """(T,) seconds spent in iterations until (T,) times."""
        return np.asarray(np.interp(times_us, self.edges_us, self.busy_us) / 1e6, np.float64)


def build_timeline(
    start_us: Int64s,
    end_us: Int64s,
    energy_j: Floats,
    account: Int64s,
    backgrounds: Sequence[Background],
    until_us: int,
) -> Timeline:
    """Spread each of the (I,) disjoint iterations evenly over its time; fill the rest with `backgrounds`.

    `backgrounds` are ascending and begin at 0; `account` is the (I,) account of each iteration.
    """
    inside = [np.array([b.start_us for b in backgrounds if b.start_us < until_us]), [until_us]]
    edges = np.unique(np.concatenate([start_us, end_us, *inside])).astype(np.int64)
    left, width_us = edges[:-1], np.diff(edges)
    behind = np.searchsorted([b.start_us for b in backgrounds], left, side="right") - 1
    power = np.array([b.power_w for b in backgrounds])[behind]
    code = np.array([b.account for b in backgrounds])[behind]
    busy = np.zeros(len(left), np.bool_)
    if len(start_us):
        at = np.maximum(np.searchsorted(start_us, left, side="right") - 1, 0)
        busy = (start_us[at] <= left) & (left < end_us[at])
        power = np.where(busy, energy_j[at] / ((end_us - start_us)[at] / 1e6), power)
        code = np.where(busy, account[at], code)
    cumulative = np.zeros((len(ACCOUNTS), len(edges)))
    for row in range(len(ACCOUNTS)):
        np.cumsum(np.where(code == row, power * width_us / 1e6, 0.0), out=cumulative[row, 1:])
    busy_us = np.concatenate([[0.0], np.cumsum(np.where(busy, width_us, 0))])
    return Timeline(edges_us=edges, energy_j=cumulative, busy_us=busy_us)
