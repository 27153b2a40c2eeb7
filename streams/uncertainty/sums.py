"""Intervals of sums: what is common to the rows adds up, what is independent adds in squares.

The same arithmetic as the views `tenant_certainty` and its like; this one on arrays, for tests and benchmarks.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from streams.uncertainty.sensors import Sensor

__all__ = ["Z_90", "Certainty", "Rows", "certainty"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

Z_90: Final = 1.6449
"""Half width of a normal law's 90 % interval, in standard deviations."""


@dataclass(frozen=True, slots=True)
class Rows:
    """N rows of the ledger that belong to one sum."""

    energy_uj: Floats
    """(N,)"""
    loadings_uj: Floats
    """(N, F) signed, on the errors of the row's engine class."""
    sampling_uj: Floats
    """(N,) one standard error, independent of every other row."""
    engine_class: Ints
    """(N,) a number for each engine class."""
    group: Ints
    """(N,) a number for each metering group: a GPU's meter is off for all of its rows alike."""
    gpus: Ints
    """(N,) meters of the row's group."""
    edge_error: Floats
    """(N,) relative, of the row's batch."""
    batch: Ints
    """(N,) a number for each batch."""


@dataclass(frozen=True, slots=True)
class Certainty:
    """Half widths of 90 % intervals, microjoules."""

    energy_uj: float
    model_uj: float
    """By the energy model's errors, sampling and counter edges: what remains when the meter is taken as true."""
    meter_uj: float
    """By the meters' proportional error, common to all rows of a meter."""

    @property
    def half_width_uj(self) -> float:
        """All of it."""
        return float(np.hypot(self.model_uj, self.meter_uj))


def certainty(rows: Rows, sensor: Sensor) -> Certainty:
    """The sum of `rows`, all metered by sensors of one generation, and how sure it is. O(N)."""
    model = float(np.square(rows.sampling_uj).sum())
    for code in np.unique(rows.engine_class):
        moved = rows.loadings_uj[rows.engine_class == code].sum(axis=0)
        model += float(moved @ moved)
    edges = np.bincount(np.unique(rows.batch, return_inverse=True)[1], rows.energy_uj * rows.edge_error)
    model += float(edges @ edges)
    of_group = np.unique(rows.group, return_inverse=True)[1]
    energy = np.bincount(of_group, rows.energy_uj)
    gpus = np.maximum(np.bincount(of_group, rows.gpus) / np.bincount(of_group), 1.0)
    device = float(np.sum(energy**2 / gpus)) * sensor.device_sd**2
    generation = float(energy.sum()) ** 2 * sensor.generation_sd**2
    return Certainty(
        energy_uj=float(energy.sum()),
        model_uj=Z_90 * model**0.5,
        meter_uj=Z_90 * (device + generation) ** 0.5,
    )
