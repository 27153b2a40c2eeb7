"""What one flush of the pipeline makes durable."""

from dataclasses import dataclass

from schemas.side_inputs import Load
from streams.messages import DeadLetter, LateFrame
from streams.windows import ClosedWindow

__all__ = ["Work"]


@dataclass(frozen=True, slots=True)
class Work:
    """What one flush makes durable."""

    windows: tuple[ClosedWindow, ...]
    dead_letters: tuple[DeadLetter, ...]
    late_frames: tuple[LateFrame, ...]
    loads: tuple[Load, ...]
    finished: tuple[tuple[str, int, int], ...]
    """(topic, partition, offset) of messages that this flush deals with besides the windows' frames."""

    def __bool__(self) -> bool:
        return bool(self.windows or self.dead_letters or self.late_frames or self.finished)
