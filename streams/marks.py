"""How far a stream of frames is known, and since when without a hole: whether anything can still be missing."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

__all__ = ["Mark", "is_known", "note"]


class _Frame(Protocol):
    """What an iteration frame and an energy frame have in common."""

    @property
    def incarnation(self) -> str: ...

    @property
    def start_ns(self) -> int: ...

    @property
    def end_ns(self) -> int: ...

    @property
    def watermark_ns(self) -> int: ...


@dataclass(slots=True)
class Mark:
    """One engine's iterations, or one node's meters, as the frames in memory tell of them."""

    until_ns: int = 0
    """The latest watermark."""
    since_ns: int = 0
    """From here to the newest frame each begins where the one before it ends."""
    end_ns: int = 0
    """Where the newest frame ends."""
    incarnation: str = ""
    """Of the newest frame."""


def note(mark: Mark, frame: _Frame, held: Iterable[_Frame]) -> None:
    """Take a frame in that has just been held.

    held: the stream's frames from the newest backwards, this one among them; asked only where it came out of order.
    """
    mark.until_ns = max(mark.until_ns, frame.watermark_ns)
    if frame.start_ns < mark.end_ns:
        mark.since_ns = _unbroken_since(held)
        return
    if frame.start_ns > mark.end_ns or frame.incarnation != mark.incarnation:
        mark.since_ns = frame.start_ns
    mark.end_ns, mark.incarnation = frame.end_ns, frame.incarnation


def _unbroken_since(backwards: Iterable[_Frame]) -> int:
    frames = iter(backwards)
    newest = next(frames)
    since_ns = newest.start_ns
    for frame in frames:
        if frame.incarnation != newest.incarnation or frame.end_ns != since_ns:
            break
        since_ns = frame.start_ns
    return since_ns


def is_known(mark: Mark, start_ns: int, end_ns: int, wait_ns: int) -> bool:
    """Whether no frame of the stream that tells of `[start_ns, end_ns)` can be on its way.

    Frames that adjoin each other from before the window to beyond it leave no room for one. Where there is a hole,
    what is missing may have been overtaken: the stream must be known for `wait_ns` beyond the window's end.
    """
    return mark.until_ns >= (end_ns if mark.since_ns <= start_ns else end_ns + wait_ns)
