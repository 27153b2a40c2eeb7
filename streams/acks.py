"""Which offset of each partition may be committed: the end of the contiguous run of messages dealt with.

A message is dealt with when nothing it said is needed again: its windows are durable, or it is recorded as a
dead letter or as late. Acking past one that is not would lose it in a crash.
"""

from collections import deque
from dataclasses import dataclass, field

__all__ = ["AckQueue"]


@dataclass(slots=True)
class AckQueue:
    """Offsets of one topic partition in arrival order, and those of them already dealt with."""

    waiting: deque[int] = field(default_factory=deque)
    done: set[int] = field(default_factory=set)

    def receive(self, offset: int) -> None:
        """A message arrived; offsets ascend within a partition."""
        self.waiting.append(offset)

    def finish(self, offset: int) -> None:
        """Nothing this message said is needed again."""
        self.done.add(offset)

    def release(self) -> list[int]:
        """Offsets that may now be acked, in order: those before the first unfinished one."""
        released = []
        while self.waiting and self.waiting[0] in self.done:
            offset = self.waiting.popleft()
            self.done.remove(offset)
            released.append(offset)
        return released
