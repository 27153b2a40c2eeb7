"""Shares of a batch's energy: Shapley values, exact where the game allows, honest everywhere else.

Importable alone, with NumPy only. `attribute` splits one iteration, `attribute_trace` a whole window;
`EnergyModel` declares what a batch costs; `shapley` holds the estimators for any other game.
"""

from streams.attribution import shapley
from streams.attribution.apportion import apportion, largest_remainder
from streams.attribution.attribute import (
    Attribution,
    IterationRows,
    TraceAttribution,
    attribute,
    attribute_trace,
)
from streams.attribution.energy_model import EnergyModel, iteration_energy
from streams.attribution.features import FEATURES, modelled_energy, window_features
from streams.attribution.games import Estimate, SumGame
from streams.attribution.gpus import GpuSheet, gpu_sheet
from streams.attribution.hinges import Hinge
from streams.attribution.time_game import TimeModel, held_time
from streams.attribution.trace import Trace

__all__ = [
    "FEATURES",
    "Attribution",
    "EnergyModel",
    "Estimate",
    "GpuSheet",
    "Hinge",
    "IterationRows",
    "SumGame",
    "TimeModel",
    "Trace",
    "TraceAttribution",
    "apportion",
    "attribute",
    "attribute_trace",
    "gpu_sheet",
    "held_time",
    "iteration_energy",
    "largest_remainder",
    "modelled_energy",
    "shapley",
    "window_features",
]
