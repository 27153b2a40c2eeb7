"""The unsealed frames of one metering group, in order of event time, until no window needs them any more."""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from schemas.energy import EnergyFrame
from schemas.packed_iterations import PackedIterations
from streams.marks import Mark, note
from streams.reach import evidence_until, first_needed

__all__ = [
    "Group",
    "Held",
    "begins_ns",
    "cut_at_incarnations",
    "forget_sealed",
    "sees_sealed_edge",
]

Frame = TypeVar("Frame", PackedIterations, EnergyFrame)


@dataclass(frozen=True, slots=True)
class Held(Generic[Frame]):
    """A decoded frame and where it came from; orders by event time, then identity."""

    frame: Frame
    offset: int
    arrival_ns: int
    size: int = 0
    """Bytes of its message."""

    def __lt__(self, other: "Held[Frame]") -> bool:
        return self.key < other.key

    @property
    def key(self) -> tuple[int, str, int, int]:
        """Event time, then identity: arrival order never decides."""
        return (self.frame.start_ns, self.frame.incarnation, self.frame.sequence, self.offset)


@dataclass(slots=True)
class Group:
    """The unsealed frames of one group; `sealed_ns` is where the next window begins."""

    group_id: str
    partition: int
    sealed_ns: int | None = None
    iterations: dict[str, list[Held[PackedIterations]]] = field(default_factory=dict)
    energy: list[Held[EnergyFrame]] = field(default_factory=list)
    last_energy_offset: int = -1
    """The last offset on which the last sealed window's meter rests."""
    heard_ns: int = 0
    """No frame ever held knows of time beyond this."""
    metered_ns: int = 0
    """No energy frame ever held ends after this."""
    engine_marks: dict[str, Mark] = field(default_factory=dict)
    """By engine with frames in memory: how far its iterations are known."""
    node_marks: dict[str, Mark] = field(default_factory=dict)
    """By node with energy frames in memory: how far its meters are."""

    def hold_iterations(self, held: Held[PackedIterations]) -> bool:
        """Keep a frame; False for a repeat of one already held."""
        frame = held.frame
        frames = self.iterations.setdefault(frame.engine_id, [])
        is_new = _hold(frames, held)
        mark = self.engine_marks.setdefault(frame.engine_id, Mark())
        note(mark, frame, (one.frame for one in reversed(frames)))
        self.heard_ns = max(self.heard_ns, frame.watermark_ns)
        return is_new

    def hold_energy(self, held: Held[EnergyFrame]) -> bool:
        """Keep a frame; False for a repeat of one already held."""
        frame = held.frame
        is_new = _hold(self.energy, held)
        mark = self.node_marks.setdefault(frame.node_id, Mark())
        note(mark, frame, (one.frame for one in reversed(self.energy) if one.frame.node_id == frame.node_id))
        self.heard_ns = max(self.heard_ns, frame.watermark_ns)
        self.metered_ns = max(self.metered_ns, frame.end_ns)
        return is_new


def _hold(frames: list[Held[Frame]], held: Held[Frame]) -> bool:
    if not frames or frames[-1].frame.start_ns < held.frame.start_ns:
        frames.append(held)  # nearly always: frames of one producer come in order
        return True
    at = bisect_left(frames, held) if frames and not frames[-1] < held else len(frames)
    identity = held.key[:3]
    if any(other.key[:3] == identity for other in frames[max(at - 1, 0) : at + 1]):
        return False
    frames.insert(at, held)
    return True


def forget_sealed(
    group: Group, durable_ns: int, keep_ns: int
) -> tuple[list[Held[PackedIterations]], list[Held[EnergyFrame]]]:
    """Drop what no window after `durable_ns` needs; returns what is dropped, (iterations, energy).

    Of each counter the last frame with a reading at or before the frontier stays: the next window's left edge
    rests on it. A counter unread for `keep_ns` before the frontier is let go.
    """
    iterations: list[Held[PackedIterations]] = []
    for engine, frames in list(group.iterations.items()):
        iterations += [held for held in frames if held.frame.end_ns <= durable_ns]
        kept = [held for held in frames if held.frame.end_ns > durable_ns]
        if kept:
            group.iterations[engine] = kept
        else:
            del group.iterations[engine], group.engine_marks[engine]
    first_kept = first_needed([held.frame for held in group.energy], durable_ns, durable_ns - keep_ns)
    energy = group.energy[:first_kept]
    del group.energy[:first_kept]
    for node in group.node_marks.keys() - {held.frame.node_id for held in group.energy}:
        del group.node_marks[node]
    return iterations, energy


def sees_sealed_edge(group: Group, frame: EnergyFrame) -> bool:
    """Whether the frame would have changed what the meter read at the sealed frontier.

    The next window must share that reading, or a joule between them is lost or counted twice: so such a frame
    waits for the repair of both.
    """
    if group.sealed_ns is None or frame.start_ns >= max(group.metered_ns, group.sealed_ns):
        return False
    seen = [held.frame for held in group.energy if held.offset <= group.last_energy_offset]
    if frame.start_ns >= max((known.end_ns for known in seen), default=group.sealed_ns):
        return False
    return frame.start_ns < evidence_until(seen, group.sealed_ns)


def cut_at_incarnations(group: Group, edges_ns: Sequence[int]) -> list[int]:
    """The edges, and between the first and the last of them every instant at which a process began."""
    births = {
        held.frame.incarnation_start_ns
        for frames in group.iterations.values()
        for held in frames
        if edges_ns[0] < held.frame.incarnation_start_ns < edges_ns[-1]
    }
    return sorted({*edges_ns, *births})


def begins_ns(group: Group) -> int:
    """Where the group's first frame begins, whichever stream's; there is at least one."""
    starts = [held.frame.start_ns for held in group.energy[:1]]
    starts += [frames[0].frame.start_ns for frames in group.iterations.values()]
    return min(starts)
