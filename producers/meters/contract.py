"""The contract of every energy meter: `read()` gives one cumulative counter at one instant, or says why not.

Implemented by NVML GPUs (`nvml`), AMD GPUs (`amd`), RAPL (`rapl`), the parametric host (`host`) and the
simulated fleet. The agent polls; a meter keeps no thread and no schedule of its own.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from schemas.energy import Meter as MeterIdentity

__all__ = ["Clock", "Meter", "MeterIdentity", "Reading"]

Clock = Callable[[], int]
"""Returns Unix time in nanoseconds, never decreasing (see `producers.clock`)."""


@dataclass(frozen=True, slots=True)
class Reading:
    """A counter at one instant."""

    meter: MeterIdentity
    """Which counter, in which epoch, measured how."""
    time_ns: int
    """When it was read, Unix nanoseconds."""
    energy_uj: int
    """Cumulative microjoules since the epoch began."""


class Meter(Protocol):
    """One energy counter. Called by one thread; a call lasts as long as one driver call.

    Within an epoch `energy_uj` and `time_ns` never decrease. When the counter starts anew (driver reload, GPU
    reset, agent restart for a counter that we integrate), the next reading carries another `meter.epoch`;
    the difference of two readings means energy only within one epoch.
    """

    @property
    def meter_id(self) -> str:
        """GPU UUID, or the host's name: stable for the life of the device, also while it cannot be read."""
        ...

    def read(self) -> Reading:
        """The counter now.

        Raises MeterError, and nothing else, when it cannot be read; the message names the device and what to
        do. The caller may try again later: a device that comes back is read again, in a new epoch if it lost
        its count.
        """
        ...
