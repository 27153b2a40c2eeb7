"""Commits what the pipeline has released, and nothing else.

Faust's own acks are off (`acks=False` on every topic): it acks what it skips itself, such as a message of an
earlier generation still in its buffer, and would commit past messages that nobody has booked.
"""

from collections.abc import Mapping
from typing import Any

from faust.types import TP

__all__ = ["Commits"]

Position = tuple[str, int]


class Commits:
    """Positions that may be committed under the present assignment."""

    def __init__(self) -> None:
        self._due: dict[Position, int] = {}

    def add(self, released: Mapping[Position, int]) -> None:
        """Positions that the pipeline has released."""
        self._due |= released

    def forget(self) -> None:
        """The assignment ends: others may commit from now on, and the manifest covers what we did not."""
        self._due.clear()

    async def send(self, consumer: Any) -> None:
        """Commit what is due; a commit that a rebalance overtakes is dropped, it will be read again."""
        due, self._due = self._due, {}
        if due:
            # Public ways to commit go through Faust's acks; this one also tells its monitor.
            await consumer._commit_offsets({TP(*position): offset for position, offset in due.items()})  # noqa: SLF001
