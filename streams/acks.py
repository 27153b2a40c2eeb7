"""Which offset of each partition may be committed: the end of the contiguous run of messages dealt with.

A message is dealt with when nothing it said is needed again: its windows are durable, or it is recorded as a
dead letter or as late. Committing past one that is not would lose it in a crash; so would committing past one
that was never handed over, which is why the queue knows the offset that must come next.
"""

from collections import deque
from dataclasses import dataclass, field

__all__ = ["AckQueue"]


@dataclass(slots=True)
class AckQueue:
    """Offsets of one topic partition in the order of the log, and those of them already dealt with."""

    next_offset: int | None = None
    """The offset that must come next; None where reading may begin anywhere."""
    waiting: deque[int] = field(default_factory=deque)
    done: set[int] = field(default_factory=set)

    def is_repeat(self, offset: int) -> bool:
        """Whether the message was received before: a consumer that seeks hands some over twice."""
        return self.next_offset is not None and offset < self.next_offset

    def missing_before(self, offset: int) -> int:
        """How many offsets lie between the last message and this one."""
        return 0 if self.next_offset is None else max(0, offset - self.next_offset)

    def receive(self, offset: int) -> None:
        """A message arrived; it is no repeat."""
        self.waiting.append(offset)
        self.next_offset = offset + 1

    def finish(self, offset: int) -> None:
        """Nothing this message said is needed again."""
        self.done.add(offset)

    def release(self) -> int | None:
        """The position to commit: just after the messages before the first unfinished one; None as before."""
        position = None
        while self.waiting and self.waiting[0] in self.done:
            offset = self.waiting.popleft()
            self.done.remove(offset)
            position = offset + 1
        return position
