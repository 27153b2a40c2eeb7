"""Time as a run sees it: an argument, so that a rehearsal can play ten minutes in a second."""

import time
from dataclasses import dataclass
from typing import Protocol

__all__ = ["Clock", "SystemClock"]


class Clock(Protocol):
    """Monotonic seconds from any origin."""

    def now_s(self) -> float:
        """Seconds; never decreases."""
        ...

    def sleep(self, seconds: float) -> None:
        """Return once `seconds` have passed."""
        ...


@dataclass(frozen=True, slots=True)
class SystemClock:
    """The machine's monotonic clock."""

    def now_s(self) -> float:
        """CLOCK_MONOTONIC."""
        return time.perf_counter()

    def sleep(self, seconds: float) -> None:
        """Yield the processor."""
        time.sleep(seconds)
