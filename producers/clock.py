"""Unix time that never runs backwards: CLOCK_MONOTONIC, steered slowly towards the wall clock.

Hooks and agent stamp events of the same node, and a window's energy is matched to its iterations by those
stamps. A wall clock that NTP steps would order an iteration's end before its start; CLOCK_MONOTONIC, shared
by all processes of a node, cannot. Every clock of a node steers by the same rule, so they agree closely.
"""

import time
from collections.abc import Callable
from typing import Final

__all__ = ["UnixClock"]

MAX_SLEW_PPM: Final = 50_000
"""A correction takes at most this share of the time passed, so time slows down or hurries but never turns:
NTP's own slew (500 ppm) is followed at once, a step of 1 s is worn off in 20 s."""


class UnixClock:
    """`now()` in Unix nanoseconds: continuous, increasing; call `follow()` every half second or so.

    `now` is safe from any thread; `follow` is for one.
    """

    def __init__(
        self,
        monotonic_ns: Callable[[], int] = time.monotonic_ns,
        wall_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self._monotonic_ns = monotonic_ns
        self._wall_ns = wall_ns
        # One tuple, so that another thread reads all three of one line or of the next, never a mixture.
        self._line = (monotonic_ns(), wall_ns(), 0)

    def now(self) -> int:
        """The current time: the line's start plus the time since, at the line's rate."""
        from_ns, unix_ns, slew_ppm = self._line
        passed_ns = self._monotonic_ns() - from_ns
        return unix_ns + passed_ns + passed_ns * slew_ppm // 1_000_000

    def follow(self) -> None:
        """Begin a new line where the old one ends, at the rate that closes the gap to the wall clock."""
        from_ns, unix_ns, slew_ppm = self._line
        mono = self._monotonic_ns()
        passed_ns = mono - from_ns
        if passed_ns <= 0:
            return
        here_ns = unix_ns + passed_ns + passed_ns * slew_ppm // 1_000_000
        wanted_ppm = (self._wall_ns() - here_ns) * 1_000_000 // passed_ns
        self._line = (mono, here_ns, max(-MAX_SLEW_PPM, min(MAX_SLEW_PPM, wanted_ppm)))
