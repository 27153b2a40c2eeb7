"""What a worker answers to probes: live while it gets on, ready once it was given partitions.

A port that is open says nothing: an event loop that hangs, or a fetcher that stands still after a rebalance,
leaves it open. A broker or a database that is away is no reason to restart: the worker asks again, and that counts
as getting on.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

__all__ = ["Health"]

STALLED_S: Final = 300.0
"""Longer than one statement may take on the database (120 s) with its retry, and than any rebalance."""


@dataclass(slots=True)
class Health:
    """Written by the worker's threads, read by the endpoint's."""

    clock: Callable[[], float] = time.monotonic
    _turned_s: float = field(init=False)
    _unread_since_s: float | None = None
    _assigned: bool = False

    def __post_init__(self) -> None:
        self._turned_s = self.clock()

    def turned(self) -> None:
        """A loop went round, or a step that waits for broker or database was tried again."""
        self._turned_s = self.clock()

    def assigned(self) -> None:
        """The gate is open for the first time, or again: partitions may also be none."""
        self._assigned = True
        self._unread_since_s = None

    def reading(self, *, unread: bool) -> None:
        """Whether the logs hold what this worker should have read since the last look, and nothing moved."""
        if not unread:
            self._unread_since_s = None
        elif self._unread_since_s is None:
            self._unread_since_s = self.clock()

    def live(self) -> str | None:
        """What only a restart can mend; None where the worker gets on."""
        now_s = self.clock()
        if now_s - self._turned_s > STALLED_S:
            return (
                f"nothing has moved for {now_s - self._turned_s:.0f} s: the event loop or a statement hangs"
            )
        since_s = self._unread_since_s
        if since_s is not None and now_s - since_s > STALLED_S:
            return f"messages wait in Kafka, and none was read for {now_s - since_s:.0f} s"
        return None

    def ready(self) -> str | None:
        """None once partitions were assigned; a later rebalance is ordinary and changes nothing."""
        return None if self._assigned else "no partitions were assigned yet"
