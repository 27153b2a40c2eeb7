"""Unix time that never runs backwards: CLOCK_MONOTONIC plus an offset that follows the wall clock slowly.

Hooks and agent stamp events of the same node, and a window's energy is matched to its iterations by those
stamps. A wall clock that NTP steps would order an iteration's end before its start; CLOCK_MONOTONIC, shared
by all processes of a node, cannot. Every clock of a node applies the same rule, so they agree to
microseconds.
"""

import time
from collections.abc import Callable
from typing import Final

__all__ = ["UnixClock"]

MAX_SLEW: Final = 0.05
"""A correction takes at most this share of the time passed, so time slows down or hurries but never turns:
NTP's own slew (500 ppm) is followed at once, a step of 1 s is worn off in 20 s."""


class UnixClock:
    """Converts monotonic nanoseconds to Unix nanoseconds; call `follow` about twice a second.

    `now()` is non-decreasing across calls to `follow`. Reads are safe from any thread; `follow` is for one.
    """

    def __init__(
        self,
        monotonic_ns: Callable[[], int] = time.monotonic_ns,
        wall_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self._monotonic_ns = monotonic_ns
        self._wall_ns = wall_ns
        self._followed_ns = monotonic_ns()
        self._offset_ns = wall_ns() - self._followed_ns

    def now(self) -> int:
        """The current Unix time in nanoseconds."""
        return self._monotonic_ns() + self._offset_ns

    def unix(self, monotonic_ns: int) -> int:
        """The Unix time of a monotonic instant, by the present offset."""
        return monotonic_ns + self._offset_ns

    def follow(self) -> None:
        """Move the offset towards the wall clock, by at most MAX_SLEW of the time since the last call."""
        mono = self._monotonic_ns()
        error = self._wall_ns() - mono - self._offset_ns
        limit = int((mono - self._followed_ns) * MAX_SLEW)
        self._offset_ns += max(-limit, min(limit, error))
        self._followed_ns = mono
