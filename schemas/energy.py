"""A metering group's cumulative energy counters over one frame interval, as arrays.

Counters are cumulative, so a lost frame costs resolution and no joule. Readings are the instants at which a
counter *changed* (NVML's steps about every 100 ms): the worker interpolates between them. A counter that
stands still is reported once at the frame's end, as it reads.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["ActiveLoad", "EnergyFrame", "Meter"]


@dataclass(frozen=True, slots=True)
class Meter:
    """One counter: a physical GPU (never a MIG slice), or the group's part of its host."""

    meter_id: str
    """GPU UUID, or `host:<node>:<group>`."""
    kind: str
    """`gpu` or `host`."""
    epoch: str
    """Changes when the counter starts anew (driver reload, reset, GPU replaced): never a negative delta."""
    scope: str
    """`gpu`, `module` (Grace-Hopper: CPU and GPU), or `host`."""
    source: str
    """`counter`, `integrated` (from power) or `parametric`."""


@dataclass(frozen=True, slots=True)
class ActiveLoad:
    """A model load, wake-up or adapter load that ran during the frame."""

    load_id: str
    engine_id: str
    start_ns: int
    end_ns: int
    """0 while it still runs."""


@dataclass(frozen=True, slots=True)
class EnergyFrame:
    """The group's meters over `[start_ns, end_ns)`; M meters, P readings. Times are Unix nanoseconds."""

    group_id: str
    node_id: str
    incarnation: str
    """One life of the node agent."""
    sequence: int
    start_ns: int
    end_ns: int
    watermark_ns: int
    """The latest instant up to which every meter is known (≤ end_ns)."""
    engines: tuple[str, ...]
    """Engines attached to the group during the frame; empty for GPUs that serve none."""
    loads: tuple[ActiveLoad, ...]
    meters: tuple[Meter, ...]
    reading_meter: NDArray[np.int32]
    """(P,) index into `meters`."""
    reading_time_ns: NDArray[np.int64]
    """(P,) ascending per meter."""
    reading_uj: NDArray[np.int64]
    """(P,) cumulative microjoules since the epoch began, non-decreasing per meter."""
