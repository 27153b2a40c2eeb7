"""Where a counter's steps are expected, learnt from those that were watched: arithmetic on instants, no clock.

An instant that was watched is known within half a tick. Over `count` steps the period is then known within a tick
divided by `count`, so the step that comes `count / CAUTION` later is foretold within three quarters of a tick: the
longer a counter has kept its time, the more seldom it is watched.
"""

from collections import deque
from dataclasses import dataclass, field
from typing import Final

__all__ = ["LEAD_NS", "TICK_NS", "Steps"]

TICK_NS: Final = 12_500_000
"""Between readings of a counter that is watched."""
LEAD_NS: Final = 3 * TICK_NS // 2
"""Before the step that is expected, the counter is watched: three quarters of a tick for what it may be off, half
a tick for what it may be read late. At one tick steps are missed and waited for through a whole period."""
LESSONS: Final = 4
"""Steps in a row from which a counter's period is learnt."""
CAUTION: Final = 4
MEMORY: Final = 9
"""Watched steps that are remembered: with CAUTION, the distance between them can double every eight."""
SHORTEST_STRIDE: Final = 2
LONGEST_STRIDE_NS: Final = 3_200_000_000
"""A counter that loses its time is found out so soon; more seldom saves nothing."""
TOLERANCE_NS: Final = 2 * TICK_NS
"""A step so far from where it was expected means that the period has changed, or the power was off."""


@dataclass(slots=True)
class Steps:
    """One counter's steps. Times in Unix nanoseconds."""

    watched: deque[tuple[int, int]] = field(default_factory=lambda: deque(maxlen=MEMORY))
    """Number and instant of steps that were seen to happen."""
    period_ns: int = 0

    @property
    def known(self) -> bool:
        """Whether enough was watched to foretell the next step."""
        return len(self.watched) > LESSONS

    def add(self, at_ns: int) -> None:
        """A step was seen; until the period is known, the one after the last."""
        if not self.watched:
            self.watched.append((0, at_ns))
            return
        number, before_ns = self.watched[-1]
        since_ns = at_ns - before_ns
        passed = max(1, round(since_ns / self.period_ns)) if self.known else 1
        if self.known and abs(since_ns - passed * self.period_ns) > TOLERANCE_NS:
            self.forget()
            self.watched.append((0, at_ns))
            return
        self.watched.append((number + passed, at_ns))
        first, first_ns = self.watched[0]
        self.period_ns = max(TICK_NS, (at_ns - first_ns) // (number + passed - first))

    def forget(self) -> None:
        """Begin to learn anew."""
        self.watched.clear()

    def latest_ns(self, now_ns: int) -> int | None:
        """When the counter took the value that it shows; None if unknown, or too near a step to tell."""
        if not self.known:
            return None
        into_ns = (now_ns - self.watched[-1][1]) % self.period_ns
        margin_ns = self._margin_ns
        return now_ns - into_ns if margin_ns <= into_ns <= self.period_ns - margin_ns else None

    def watch_from_ns(self, now_ns: int) -> int:
        """When to begin to watch the next step that is worth it."""
        (first, _), (last, last_ns) = self.watched[0], self.watched[-1]
        longest = LONGEST_STRIDE_NS // self.period_ns
        stride = max(SHORTEST_STRIDE, min((last - first) // CAUTION, longest))
        step_ns = now_ns - (now_ns - last_ns) % self.period_ns + stride * self.period_ns
        return step_ns - self._margin_ns

    @property
    def _margin_ns(self) -> int:
        return min(LEAD_NS, self.period_ns // 4)
