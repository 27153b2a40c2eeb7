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
from streams.attribution.games import Estimate, SumGame
from streams.attribution.hinges import Hinge
from streams.attribution.time_game import TimeModel, held_time
from streams.attribution.trace import Trace

__all__ = [
    "Attribution",
    "EnergyModel",
    "Estimate",
    "Hinge",
    "IterationRows",
    "SumGame",
    "TimeModel",
    "Trace",
    "TraceAttribution",
    "apportion",
    "attribute",
    "attribute_trace",
    "held_time",
    "iteration_energy",
    "largest_remainder",
    "shapley",
]
