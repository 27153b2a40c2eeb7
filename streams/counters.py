"""The counters that energy frames read, numbered over all of the frames, for passes over their readings."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from schemas.energy import EnergyFrame, Meter

__all__ = ["Counter", "counters_of"]

Counter = tuple[str, str]
"""Meter id and epoch: one run of a counter from its zero."""


def counters_of(frames: Sequence[EnergyFrame]) -> tuple[Sequence[Meter], list[NDArray[np.int32]]]:
    """Every counter once, and by frame the place of each reading's counter among them, (P,)."""
    meters = frames[0].meters if frames else ()
    if all(frame.meters == meters for frame in frames):  # nearly always: a node's GPUs stay
        return meters, [frame.reading_meter for frame in frames]
    places: dict[Counter, int] = {}
    found: list[Meter] = []
    numbered = []
    for frame in frames:
        for meter in frame.meters:
            if places.setdefault((meter.meter_id, meter.epoch), len(found)) == len(found):
                found.append(meter)
        own = np.asarray([places[meter.meter_id, meter.epoch] for meter in frame.meters], np.int32)
        numbered.append(own[frame.reading_meter])
    return found, numbered
