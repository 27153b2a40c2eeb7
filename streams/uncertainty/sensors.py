"""What is known of the energy counters of each GPU generation: how far they may be off, and how late they are.

Source: Yang, Adámek and Armour, "Part-time Power Measurements: nvidia-smi's Lack of Attention" (SC 2024,
arXiv 2312.02741): an error proportional to the power, different from card to card and within about ±5 %; what
a reading averages differs by generation, the trailing second on H100, 25 ms of every 100 ms on A100.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

__all__ = ["SENSORS", "UNKNOWN", "Sensor", "sensor"]

_GAIN_SD: Final = 0.05 / 1.6449
"""One standard deviation of the proportional error: ±5 % holds 90 % of the cards."""


@dataclass(frozen=True, slots=True)
class Sensor:
    """The power sensor behind one generation's energy counter."""

    device_sd: float
    """Relative standard deviation of the proportional error that each card has of its own."""
    generation_sd: float
    """The same of the part that all cards of the generation share."""
    average_s: float
    """What each step of the counter averages: the trailing so many seconds."""
    duty: float
    """Part of the time that is sampled at all."""


def _proportional(average_s: float, duty: float) -> Sensor:
    """±5 % at 90 %, half of its variance the card's own and half its generation's.

    How the variance divides is not published; equal halves keep a fleet's total from looking more certain
    than its kind of meter is, and a single card from looking as certain as the fleet.
    """
    half = _GAIN_SD / 2**0.5
    return Sensor(half, half, average_s, duty)


SENSORS: Final = {
    "V100": _proportional(0.02, 1.0),
    "A100": _proportional(0.025, 0.25),
    "A10": _proportional(0.1, 1.0),
    "L4": _proportional(1.0, 1.0),
    "L40S": _proportional(1.0, 1.0),
    "H100": _proportional(1.0, 1.0),
    "H200": _proportional(1.0, 1.0),
    "B200": _proportional(1.0, 1.0),
}
"""By the word in the GPU's name. H200 and B200 were not measured: they get the figures of H100."""
UNKNOWN: Final = _proportional(1.0, 1.0)
"""A GPU nobody measured: the slowest sensor known."""


@lru_cache(maxsize=1024)
def sensor(gpu_model: str) -> Sensor:
    """The sensor of the generation whose name is a word of `gpu_model`; UNKNOWN where there is none."""
    words = gpu_model.upper().replace("-", " ").replace("_", " ").split()
    return next((SENSORS[word] for word in words if word in SENSORS), UNKNOWN)
