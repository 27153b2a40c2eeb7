"""A metering group's frames, held until the watermarks of both its streams have passed a window's end.

Event time only: what closes a window is what its frames say, never a clock. A window is cut where an
incarnation of an engine begins, so that a batch never mixes two lives of a process.
"""

from bisect import insort
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final, Generic, TypeVar

from schemas.energy import EnergyFrame
from schemas.iterations import IterationFrame
from streams.timeline import Interval

__all__ = ["ClosedWindow", "Group", "Held", "WindowRules", "due_windows", "forget_sealed"]

Frame = TypeVar("Frame", IterationFrame, EnergyFrame)

SEQUENCE_GAP: Final = "sequence_gap"
SILENT_ITERATIONS: Final = "silent_iterations"
HOOK_OFF: Final = "hook_off"


@dataclass(frozen=True, slots=True)
class WindowRules:
    """How event time is cut; each is a setting."""

    window_ns: int = 5_000_000_000
    wait_ns: int = 500_000_000
    """A window closes once both watermarks are this far past its end: disorder by less is in time."""
    silent_ns: int = 10_000_000_000
    """An iteration stream this far behind the group's meter is silent: the window closes without it."""


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

    def hold_iterations(self, held: Held[IterationFrame]) -> bool:
        """Keep a frame; False for a repeat of one already held."""
        frames = self.iterations.setdefault(held.frame.engine_id, [])
        return _hold(frames, held)

    def hold_energy(self, held: Held[EnergyFrame]) -> bool:
        """Keep a frame; False for a repeat of one already held."""
        return _hold(self.energy, held)


def _hold(frames: list[Held[Frame]], held: Held[Frame]) -> bool:
    identity = held.key[:3]
    if any(other.key[:3] == identity for other in frames):
        return False
    insort(frames, held)
    return True


def due_windows(group: Group, rules: WindowRules) -> Iterator[ClosedWindow]:
    """Yield every batch that can be booked, in event order, advancing `group.sealed_ns` past each.

    The window grid is the Unix epoch's. The first window of a group begins with its first energy frame.
    """
    if not group.energy:
        return
    if group.sealed_ns is None:
        group.sealed_ns = group.energy[0].frame.start_ns
    metered_ns = max(held.frame.watermark_ns for held in group.energy)
    while True:
        start_ns = group.sealed_ns
        end_ns = (start_ns // rules.window_ns + 1) * rules.window_ns
        if metered_ns < end_ns + rules.wait_ns:
            return
        silent = [
            engine
            for engine in _attached_engines(group, start_ns, end_ns)
            if _watermark(group, engine) < end_ns + rules.wait_ns
        ]
        if silent and metered_ns < end_ns + rules.silent_ns:
            return
        bounds = [start_ns, *_incarnation_starts(group, start_ns, end_ns), end_ns]
        for left, right in pairwise(bounds):
            yield _close(group, left, right, silent)
        group.sealed_ns = end_ns


def forget_sealed(group: Group, durable_ns: int) -> tuple[list[int], list[int]]:
    """Drop what no window after `durable_ns` needs; returns the offsets dropped, (iterations, energy).

    The last energy frame whose readings all lie at or before the frontier stays: it holds the reading before
    the next window's left edge (each frame reads every one of its meters at least once).
    """
    iteration_offsets: list[int] = []
    for engine, frames in list(group.iterations.items()):
        iteration_offsets += [held.offset for held in frames if held.frame.end_ns <= durable_ns]
        kept = [held for held in frames if held.frame.end_ns > durable_ns]
        if kept:
            group.iterations[engine] = kept
        else:
            del group.iterations[engine]
    anchors = [
        index for index, held in enumerate(group.energy) if _first_readings_until(held.frame) <= durable_ns
    ]
    first_kept = anchors[-1] if anchors else 0
    energy_offsets = [held.offset for held in group.energy[:first_kept]]
    del group.energy[:first_kept]
    return iteration_offsets, energy_offsets


def _first_readings_until(frame: EnergyFrame) -> int:
    """The instant by which every meter of the frame has been read at least once."""
    seen: set[int] = set()
    for meter, time_ns in zip(frame.reading_meter.tolist(), frame.reading_time_ns.tolist(), strict=True):
        seen.add(meter)
        if len(seen) == len(frame.meters):
            return int(time_ns)
    return frame.end_ns


def _attached_engines(group: Group, start_ns: int, end_ns: int) -> list[str]:
    named = {
        engine
        for held in group.energy
        if held.frame.start_ns < end_ns and held.frame.end_ns > start_ns
        for engine in held.frame.engines
    }
    return sorted(named)


def _watermark(group: Group, engine: str) -> int:
    return max((held.frame.watermark_ns for held in group.iterations.get(engine, ())), default=0)


def _incarnation_starts(group: Group, start_ns: int, end_ns: int) -> list[int]:
    starts = {
        held.frame.incarnation_start_ns
        for frames in group.iterations.values()
        for held in frames
        if start_ns < held.frame.incarnation_start_ns < end_ns
    }
    return sorted(starts)


def _close(group: Group, start_ns: int, end_ns: int, silent: list[str]) -> ClosedWindow:
    energy = tuple(_energy_in_reach(group, start_ns, end_ns))
    iterations = tuple(
        held
        for _, frames in sorted(group.iterations.items())
        for held in frames
        if held.frame.end_ns > start_ns and _earliest_start(held.frame) < end_ns
    )
    loads = _loads(group, start_ns, end_ns)
    gaps: list[Interval] = []
    causes: set[str] = set()
    for engine in _attached_engines(group, start_ns, end_ns):
        for gap, cause in _engine_gaps(group, engine, start_ns, end_ns, loads, engine in silent):
            gaps.append(gap)
            causes.add(cause)
    return ClosedWindow(
        group_id=group.group_id,
        partition=group.partition,
        start_ns=start_ns,
        end_ns=end_ns,
        iterations=iterations,
        energy=energy,
        gaps=tuple(sorted(gaps)),
        gap_causes=tuple(sorted(causes)),
        loads=loads,
        closed_by="bounded_wait" if silent else "watermark",
    )


def _earliest_start(frame: IterationFrame) -> int:
    first = int(frame.iteration_start_ns[0]) if len(frame.iteration_start_ns) else frame.start_ns
    return min(first, frame.start_ns)


def _energy_in_reach(group: Group, start_ns: int, end_ns: int) -> Iterator[Held[EnergyFrame]]:
    """Frames whose readings bracket the interval: one on either side, and all between."""
    first = 0
    for index, held in enumerate(group.energy):
        if _first_readings_until(held.frame) <= start_ns:
            first = index
        if held.frame.watermark_ns >= end_ns:
            yield from group.energy[first : index + 1]
            return
    yield from group.energy[first:]


def _loads(group: Group, start_ns: int, end_ns: int) -> tuple[tuple[str, str, int, int], ...]:
    """Loads that ran in the interval; a load still open in one frame is closed by a later frame's word."""
    seen: dict[str, tuple[str, int, int]] = {}
    for held in group.energy:
        for load in held.frame.loads:
            until_ns = load.end_ns or 0
            known = seen.get(load.load_id)
            seen[load.load_id] = (load.engine_id, load.start_ns, max(until_ns, known[2] if known else 0))
    clipped = []
    for load_id, (engine, load_start, load_end) in sorted(seen.items()):
        left, right = max(load_start, start_ns), min(load_end or end_ns, end_ns)
        if left < right:
            clipped.append((load_id, engine, left, right))
    return tuple(clipped)


def _engine_gaps(
    group: Group,
    engine: str,
    start_ns: int,
    end_ns: int,
    loads: tuple[tuple[str, str, int, int], ...],
    silent: bool,
) -> Iterator[tuple[Interval, str]]:
    """Time in which the engine was attached, not loading, and no frame of its says what it did."""
    attached = [
        (max(held.frame.start_ns, start_ns), min(held.frame.end_ns, end_ns))
        for held in group.energy
        if engine in held.frame.engines and held.frame.start_ns < end_ns and held.frame.end_ns > start_ns
    ]
    frames = group.iterations.get(engine, [])
    known = [(held.frame.start_ns, held.frame.end_ns) for held in frames]
    known += [(left, right) for _, owner, left, right in loads if owner == engine]
    born = [held.frame.incarnation_start_ns for held in frames]
    if born and min(born) > start_ns:
        known.append((start_ns, min(born)))
    for gap in _subtract(_union(attached), _union(known)):
        if silent:
            yield gap, SILENT_ITERATIONS
        elif not frames:
            yield gap, HOOK_OFF
        else:
            yield gap, SEQUENCE_GAP


def _union(intervals: list[Interval]) -> list[Interval]:
    merged: list[Interval] = []
    for start, end in sorted(intervals):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], end))
        else:
            merged.append((start, end))
    return merged


def _subtract(whole: list[Interval], parts: list[Interval]) -> Iterator[Interval]:
    for start, end in whole:
        at = start
        for left, right in parts:
            if right <= at or left >= end:
                continue
            if left > at:
                yield (at, left)
            at = max(at, right)
        if at < end:
            yield (at, end)
