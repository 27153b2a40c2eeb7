"""What waits in memory while the spool's disk takes nothing: bounded, and folded as the spool itself would be."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from producers.agent.overflow import Overflow, Room
from producers.agent.spool import DISK_FAILS, Outgoing, Spool

__all__ = ["RESERVE_BYTES", "Reserve"]

RESERVE_BYTES: Final = 32 << 20
"""Twenty minutes of eight busy engines; joined, hours; the sums of days."""


class Reserve:
    """Messages, facts and deliveries that are not on disk yet. One thread, the spool's."""

    def __init__(self, limit: int = RESERVE_BYTES) -> None:
        self._memory = Spool(Path(":memory:"), limit)
        self._overflow = Overflow(self._memory)
        self._facts: dict[str, Any] = {}
        self._delivered: list[int] = []

    @property
    def limit(self) -> int:
        """The most that may wait, bytes."""
        return self._memory.limit

    @property
    def messages(self) -> int:
        """How many messages wait."""
        return self._memory.messages

    def keep(self, messages: Sequence[Outgoing], facts: Mapping[str, Any], delivered: Sequence[int]) -> None:
        """What one flush would have written; later facts replace earlier ones."""
        self._memory.put(messages)
        self._facts |= facts
        self._delivered += delivered

    def make_room(self) -> Room:
        """Fold and give up what is beyond the limit: the oldest detail first, energy last."""
        return self._overflow.make_room()

    def empty_into(self, spool: Spool) -> bool:
        """Write everything in one transaction, in the order in which it came; False if the disk takes nothing."""
        try:
            spool.put(self._memory.everything(), self._facts, delivered=self._delivered)
        except DISK_FAILS:
            return False
        self._memory.close()
        return True
