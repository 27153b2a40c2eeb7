"""A metering group's frames, held until the watermarks of both its streams have passed a window's end.

Event time only: what closes a window is what its frames say, never a clock. A window is cut where an
incarnation of an engine begins, so that a batch never mixes two lives of a process.
"""

from bisect import bisect_left
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final, Generic, TypeVar

from schemas.energy import EnergyFrame
from schemas.iterations import IterationFrame
from streams.gaps import engine_gaps
from streams.reach import evidence_until, first_needed, in_reach
from streams.timeline import Interval

__all__ = [
    "ClosedWindow",
    "Group",
    "Held",
    "WindowRules",
    "begins_ns",
    "close_window",
    "cut_at_incarnations",
    "due_windows",
    "earliest_start_ns",
    "forget_sealed",
    "is_overdue",
    "sees_sealed_edge",
    "silent_meters",
    "watermarks",
]

Frame = TypeVar("Frame", IterationFrame, EnergyFrame)

SILENT_METER: Final = "silent_meter"
"""No counter reached the window's end when its bounded wait was over: what lies beyond the last reading is
booked by a later revision, once a reading after it is known."""

READ_TO_THE_END: Final = 2**63 - 1
"""Arrival time of a log of which nothing is unread, as in a backfill."""


@dataclass(frozen=True, slots=True)
class WindowRules:
    """How event time is cut; each is a setting."""

    window_ns: int = 5_000_000_000
    wait_ns: int = 500_000_000
    """A window closes once both watermarks are this far past its end: disorder by less is in time."""
    silent_ns: int = 10_000_000_000
    """An iteration stream this far behind the group's others is silent: the window closes without it."""
    silent_meter_ns: int = 60_000_000_000
    """The same for the meters of a node. Longer, for a counter runs on while its agent restarts: the first
    reading after it gives every window between its joules, and none needs a second revision."""
    park_ns: int = 600_000_000_000
    """A group unheard of for so long, while its partition goes on, is put aside: the positions of its frames
    are recorded, their offsets let go, and the repair job brings them in when the group returns."""


@dataclass(frozen=True, slots=True)
class Held(Generic[Frame]):
    """A decoded frame and where it came from; orders by event time, then identity."""

    frame: Frame
    offset: int
    arrival_ns: int

    def __lt__(self, other: "Held[Frame]") -> bool:
        return self.key < other.key

    @property
    def key(self) -> tuple[int, str, int, int]:
        """Event time, then identity: arrival order never decides."""
        return (self.frame.start_ns, self.frame.incarnation, self.frame.sequence, self.offset)


@dataclass(frozen=True, slots=True)
class ClosedWindow:
    """All that is needed to book one batch: frames that touch `[start_ns, end_ns)`, and what is missing."""

    group_id: str
    partition: int
    start_ns: int
    end_ns: int
    iterations: tuple[Held[IterationFrame], ...]
    energy: tuple[Held[EnergyFrame], ...]
    gaps: tuple[Interval, ...]
    gap_causes: tuple[str, ...]
    loads: tuple[tuple[str, str, int, int], ...]
    """(load_id, engine_id, start_ns, end_ns), clipped to the batch."""
    closed_by: str
    """`watermark` or `bounded_wait`."""


@dataclass(slots=True)
class Group:
    """The unsealed frames of one group; `sealed_ns` is where the next window begins."""

    group_id: str
    partition: int
    sealed_ns: int | None = None
    iterations: dict[str, list[Held[IterationFrame]]] = field(default_factory=dict)
    energy: list[Held[EnergyFrame]] = field(default_factory=list)
    last_energy_offset: int = -1
    """The last offset on which the last sealed window's meter rests."""
    heard_ns: int = 0
    """No frame ever held knows of time beyond this."""
    metered_ns: int = 0
    """No energy frame ever held ends after this."""

    def hold_iterations(self, held: Held[IterationFrame]) -> bool:
        """Keep a frame; False for a repeat of one already held."""
        self.heard_ns = max(self.heard_ns, held.frame.watermark_ns)
        return _hold(self.iterations.setdefault(held.frame.engine_id, []), held)

    def hold_energy(self, held: Held[EnergyFrame]) -> bool:
        """Keep a frame; False for a repeat of one already held."""
        self.heard_ns = max(self.heard_ns, held.frame.watermark_ns)
        self.metered_ns = max(self.metered_ns, held.frame.end_ns)
        return _hold(self.energy, held)


def _hold(frames: list[Held[Frame]], held: Held[Frame]) -> bool:
    at = bisect_left(frames, held) if frames and not frames[-1] < held else len(frames)
    identity = held.key[:3]
    if any(other.key[:3] == identity for other in frames[max(at - 1, 0) : at + 1]):
        return False
    frames.insert(at, held)
    return True


def due_windows(
    group: Group, rules: WindowRules, *, read_to_ns: int = READ_TO_THE_END
) -> Iterator[ClosedWindow]:
    """Yield every batch that can be booked, in event order, advancing `group.sealed_ns` past each.

    The window grid is the Unix epoch's; the first window of a group begins with its first frame. A stream that
    is silent while another of the group speaks is waited for, within bounds; a group silent on all is not
    sealed.

    read_to_ns: every frame of the group that arrived before this instant (the broker's clock) is held. A
        stream is silent by the log, not because its topic was fetched after another.
    """
    while (due := _next_due(group, rules, read_to_ns)) is not None:
        start_ns, end_ns, silent = due
        for left, right in pairwise(cut_at_incarnations(group, [start_ns, end_ns])):
            closed = close_window(group, left, right, silent)
            group.last_energy_offset = max(
                [group.last_energy_offset, *(held.offset for held in closed.energy)]
            )
            yield closed
        group.sealed_ns = end_ns


def is_overdue(group: Group, rules: WindowRules) -> bool:
    """Whether the next window would close without its silent streams, were the log known to be read."""
    return _next_due(group, rules, READ_TO_THE_END) is not None


def _next_due(group: Group, rules: WindowRules, read_to_ns: int) -> tuple[int, int, set[str]] | None:
    """The next window and the streams it would close without; None while it must stay open."""
    if not group.energy and not group.iterations:
        return None
    start_ns = group.sealed_ns if group.sealed_ns is not None else begins_ns(group)
    end_ns = (start_ns // rules.window_ns + 1) * rules.window_ns
    if group.heard_ns < end_ns + min(rules.wait_ns, rules.silent_ns, rules.silent_meter_ns):
        return None  # nobody knows of time so far beyond the window: this is asked after every frame
    marks = watermarks(group, start_ns, end_ns)
    silent = {stream for stream, mark in marks.items() if mark < end_ns + rules.wait_ns}
    if silent:
        patience_ns = max(_patience_ns(stream, rules) for stream in silent)
        if _heard_until(group, read_to_ns) < end_ns + patience_ns:
            return None
        # A replay brings minutes of events within a second: silence must last as long by the log's own clock.
        if read_to_ns < _first_heard_ns(group, end_ns) + patience_ns:
            return None
    return start_ns, end_ns, silent


def _heard_until(group: Group, read_to_ns: int) -> int:
    """Latest watermark of any stream, by frames that arrived until `read_to_ns`."""
    energy = (held.frame.watermark_ns for held in group.energy if held.arrival_ns <= read_to_ns)
    iterations = (
        held.frame.watermark_ns
        for frames in group.iterations.values()
        for held in frames
        if held.arrival_ns <= read_to_ns
    )
    return max((*energy, *iterations), default=0)


def _first_heard_ns(group: Group, end_ns: int) -> int:
    """When the first frame arrived that knows of time beyond the window's end."""
    energy = (held.arrival_ns for held in group.energy if held.frame.watermark_ns >= end_ns)
    iterations = (
        held.arrival_ns
        for frames in group.iterations.values()
        for held in frames
        if held.frame.watermark_ns >= end_ns
    )
    return min((*energy, *iterations), default=0)


def close_window(group: Group, start_ns: int, end_ns: int, silent: Collection[str] = ()) -> ClosedWindow:
    """All that the group's frames say of `[start_ns, end_ns)`.

    silent: streams whose bounded wait is over; an engine's id, or `_energy_stream` of a node.
    """
    window = (start_ns, end_ns)
    reach = in_reach([held.frame for held in group.energy], start_ns, end_ns)
    energy = group.energy[reach.start : reach.stop]
    metered = [held.frame for held in energy if held.frame.start_ns < end_ns and held.frame.end_ns > start_ns]
    loads = _loads(group, start_ns, end_ns)
    gaps: list[Interval] = []
    causes: set[str] = set()
    for engine in _engines(group, start_ns, end_ns):
        found = engine_gaps(
            engine,
            # Earlier frames may be forgotten or not, by the time of the flush: they must not matter.
            [held.frame for held in group.iterations.get(engine, ()) if held.frame.end_ns > start_ns],
            metered,
            [(left, right) for _, owner, left, right in loads if owner == engine],
            window,
            silent=engine in silent,
        )
        for gap, cause in found:
            gaps.append(gap)
            causes.add(cause)
    if any(stream.startswith(_ENERGY) for stream in silent):
        causes.add(SILENT_METER)
    return ClosedWindow(
        group_id=group.group_id,
        partition=group.partition,
        start_ns=start_ns,
        end_ns=end_ns,
        iterations=tuple(
            held
            for _, frames in sorted(group.iterations.items())
            for held in frames
            if held.frame.end_ns > start_ns and earliest_start_ns(held.frame) < end_ns
        ),
        energy=tuple(energy),
        gaps=tuple(sorted(gaps)),
        gap_causes=tuple(sorted(causes)),
        loads=loads,
        closed_by="bounded_wait" if silent else "watermark",
    )


def forget_sealed(group: Group, durable_ns: int, keep_ns: int) -> tuple[list[int], list[int]]:
    """Drop what no window after `durable_ns` needs; returns the offsets dropped, (iterations, energy).

    Of each counter the last frame with a reading at or before the frontier stays: the next window's left edge
    rests on it. A counter unread for `keep_ns` before the frontier is let go.
    """
    iteration_offsets: list[int] = []
    for engine, frames in list(group.iterations.items()):
        iteration_offsets += [held.offset for held in frames if held.frame.end_ns <= durable_ns]
        kept = [held for held in frames if held.frame.end_ns > durable_ns]
        if kept:
            group.iterations[engine] = kept
        else:
            del group.iterations[engine]
    first_kept = first_needed([held.frame for held in group.energy], durable_ns, durable_ns - keep_ns)
    energy_offsets = [held.offset for held in group.energy[:first_kept]]
    del group.energy[:first_kept]
    return iteration_offsets, energy_offsets


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


def silent_meters(group: Group, end_ns: int) -> list[str]:
    """The group's energy stream, if no reading reaches `end_ns`."""
    known_ns = max((held.frame.watermark_ns for held in group.energy), default=0)
    return [] if known_ns >= end_ns else [_energy_stream("")]


def earliest_start_ns(frame: IterationFrame) -> int:
    """The first instant of which the frame speaks: one of its iterations may have begun before it."""
    first = int(frame.iteration_start_ns[0]) if len(frame.iteration_start_ns) else frame.start_ns
    return min(first, frame.start_ns)


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


_ENERGY: Final = "energy:"


def _energy_stream(node_id: str) -> str:
    return f"{_ENERGY}{node_id}"


def _patience_ns(stream: str, rules: WindowRules) -> int:
    return rules.silent_meter_ns if stream.startswith(_ENERGY) else rules.silent_ns


def watermarks(group: Group, start_ns: int, end_ns: int) -> dict[str, int]:
    """How far each stream is known: the meters of every node, and every engine of the window."""
    marks = {
        engine: max((held.frame.watermark_ns for held in group.iterations.get(engine, ())), default=0)
        for engine in _engines(group, start_ns, end_ns)
    }
    for held in group.energy:
        stream = _energy_stream(held.frame.node_id)
        marks[stream] = max(held.frame.watermark_ns, marks.get(stream, 0))
    return marks if group.energy else {**marks, _energy_stream(""): 0}


def _engines(group: Group, start_ns: int, end_ns: int) -> list[str]:
    """Engines that were there: the agent says so, or a frame of their own does."""
    named = {
        engine
        for held in group.energy
        if held.frame.start_ns < end_ns and held.frame.end_ns > start_ns
        for engine in held.frame.engines
    }
    named |= {
        engine
        for engine, frames in group.iterations.items()
        if any(held.frame.start_ns < end_ns and held.frame.end_ns > start_ns for held in frames)
    }
    return sorted(named)


def _loads(group: Group, start_ns: int, end_ns: int) -> tuple[tuple[str, str, int, int], ...]:
    """Loads that ran in the interval, until a frame says that they ended, or as long as frames show them."""
    began: dict[str, tuple[str, int]] = {}
    shown_ns: dict[str, int] = {}
    ended_ns: dict[str, int] = {}
    for held in group.energy:
        for load in held.frame.loads:
            began[load.load_id] = (load.engine_id, load.start_ns)
            # A frame that came long after its neighbours says nothing of the time since.
            shown_ns[load.load_id] = max(held.frame.end_ns, shown_ns.get(load.load_id, 0))
            if load.end_ns:
                ended_ns[load.load_id] = max(load.end_ns, ended_ns.get(load.load_id, 0))
    clipped = []
    for load_id, (engine, load_start_ns) in sorted(began.items()):
        left = max(load_start_ns, start_ns)
        right = min(ended_ns.get(load_id, shown_ns[load_id]), end_ns)
        if left < right:
            clipped.append((load_id, engine, left, right))
    return tuple(clipped)
