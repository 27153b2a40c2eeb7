"""A metering group's frames, held until the watermarks of both its streams have passed a window's end.

Event time only: what closes a window is what its frames say, never a clock. Where every stream's frames follow each
other without a hole beyond its end nothing can be missing, and it closes at once. A window is cut where an
incarnation of an engine begins, so that a batch never mixes two lives of a process.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from schemas.energy import EnergyFrame
from schemas.packed_iterations import PackedIterations
from streams.gaps import engine_gaps
from streams.groups import (
    Group,
    Held,
    begins_ns,
    cut_at_incarnations,
    forget_sealed,
    sees_sealed_edge,
)
from streams.marks import Mark, is_known
from streams.reach import in_reach
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
    "forget_sealed",
    "is_overdue",
    "is_past_its_end",
    "marks_of",
    "sees_sealed_edge",
    "silent_meters",
]

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
    """How much longer a window waits for a stream that has a hole: disorder by less is in time."""
    silent_ns: int = 10_000_000_000
    """An iteration stream this far behind the group's others is silent: the window closes without it."""
    silent_meter_ns: int = 60_000_000_000
    """The same for the meters of a node. Longer, for a counter runs on while its agent restarts: the first
    reading after it gives every window between its joules, and none needs a second revision."""
    park_ns: int = 600_000_000_000
    """A group unheard of for so long, while its partition goes on, is put aside: the positions of its frames
    are recorded, their offsets let go, and the repair job brings them in when the group returns."""


@dataclass(frozen=True, slots=True)
class ClosedWindow:
    """All that is needed to book one batch: frames that touch `[start_ns, end_ns)`, and what is missing."""

    group_id: str
    partition: int
    start_ns: int
    end_ns: int
    iterations: tuple[Held[PackedIterations], ...]
    energy: tuple[Held[EnergyFrame], ...]
    gaps: tuple[Interval, ...]
    gap_causes: tuple[str, ...]
    loads: tuple[tuple[str, str, int, int], ...]
    """(load_id, engine_id, start_ns, end_ns), clipped to the batch."""
    closed_by: str
    """`watermark` or `bounded_wait`."""


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


def is_past_its_end(group: Group, rules: WindowRules) -> bool:
    """Whether anybody knows of time so far beyond the next window that it may be due; asked after every frame."""
    if not group.energy and not group.iterations:
        return False
    start_ns = group.sealed_ns if group.sealed_ns is not None else begins_ns(group)
    end_ns = (start_ns // rules.window_ns + 1) * rules.window_ns
    return group.heard_ns >= end_ns


def is_overdue(group: Group, rules: WindowRules) -> bool:
    """Whether the next window would close without its silent streams, were the log known to be read."""
    return _next_due(group, rules, READ_TO_THE_END) is not None


def _next_due(group: Group, rules: WindowRules, read_to_ns: int) -> tuple[int, int, set[str]] | None:
    """The next window and the streams it would close without; None while it must stay open."""
    if not is_past_its_end(group, rules):
        return None
    start_ns = group.sealed_ns if group.sealed_ns is not None else begins_ns(group)
    end_ns = (start_ns // rules.window_ns + 1) * rules.window_ns
    marks = marks_of(group, start_ns, end_ns)
    silent = {stream for stream, mark in marks.items() if not is_known(mark, start_ns, end_ns, rules.wait_ns)}
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
            if held.frame.end_ns > start_ns and held.frame.earliest_ns < end_ns
        ),
        energy=tuple(energy),
        gaps=tuple(sorted(gaps)),
        gap_causes=tuple(sorted(causes)),
        loads=loads,
        closed_by="bounded_wait" if silent else "watermark",
    )


def silent_meters(group: Group, end_ns: int) -> list[str]:
    """The group's energy stream, if no reading reaches `end_ns`."""
    known_ns = max((mark.until_ns for mark in group.node_marks.values()), default=0)
    return [] if known_ns >= end_ns else [_energy_stream("")]


_ENERGY: Final = "energy:"


def _energy_stream(node_id: str) -> str:
    return f"{_ENERGY}{node_id}"


def _patience_ns(stream: str, rules: WindowRules) -> int:
    return rules.silent_meter_ns if stream.startswith(_ENERGY) else rules.silent_ns


def marks_of(group: Group, start_ns: int, end_ns: int) -> dict[str, Mark]:
    """How far each stream is known: the meters of every node, and every engine of the window."""
    marks = {engine: group.engine_marks.get(engine, Mark()) for engine in _engines(group, start_ns, end_ns)}
    for node, mark in (group.node_marks or {"": Mark()}).items():
        marks[_energy_stream(node)] = mark
    return marks


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
