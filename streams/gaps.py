"""Time in which an engine was there and nothing says what it did: only such a gap makes energy `unobserved`."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from schemas.energy import EnergyFrame
from schemas.packed_iterations import SIZES, PackedIterations
from streams.timeline import Interval

__all__ = ["HOOK_OFF", "SEQUENCE_GAP", "SILENT_ITERATIONS", "SPOOL_FULL", "engine_gaps", "subtract", "union"]

SEQUENCE_GAP: Final = "sequence_gap"
"""Frames on one side of it or on both, none inside."""
SILENT_ITERATIONS: Final = "silent_iterations"
"""The engine's stream had not reached the window's end when its bounded wait was over."""
HOOK_OFF: Final = "hook_off"
"""The agent names the engine, and no frame of its was ever seen near the window."""
SPOOL_FULL: Final = "spool_full"
"""The agent had no room left and gave the iterations' rows up; their sums stand in the frame."""


def engine_gaps(
    engine: str,
    frames: Sequence[PackedIterations],
    metered: Iterable[EnergyFrame],
    loading: Iterable[Interval],
    window: Interval,
    *,
    silent: bool,
) -> Iterator[tuple[Interval, str]]:
    """Yield the engine's gaps in `window`, each with its cause.

    frames: the engine's, of every incarnation, near the window, in order of their start. metered: the group's
    energy frames. loading: when the engine loaded, clipped to the window. Attached is what the agent says, and
    the time between two frames of one process, for a hook's frames follow each other without a hole.
    """
    start_ns, end_ns = window
    attached = [(frame.start_ns, frame.end_ns) for frame in metered if engine in frame.engines]
    lives: dict[str, Interval] = {}
    for frame in frames:
        first, last = lives.get(frame.incarnation, (frame.start_ns, frame.end_ns))
        lives[frame.incarnation] = (first, max(last, frame.end_ns))
    attached += lives.values()
    # An iteration in flight at a frame's end is in the next one: it is not known where that is lost. The next
    # begins where this one ends; its number may be any, for an agent short of room joins frames.
    heard = {(frame.incarnation, frame.start_ns) for frame in frames}
    known = [
        (
            frame.start_ns,
            frame.end_ns if (frame.incarnation, frame.end_ns) in heard else frame.watermark_ns,
        )
        for frame in frames
    ]
    known += loading
    born_ns = min((frame.incarnation_start_ns for frame in frames), default=start_ns)
    if born_ns > start_ns:
        known.append((start_ns, min(born_ns, end_ns)))
    for gap in subtract(_clipped(union(attached), window), union(known)):
        if silent:
            yield gap, SILENT_ITERATIONS
        elif not frames:
            yield gap, HOOK_OFF
        else:
            yield gap, SEQUENCE_GAP
    given_up = [_given_up(frame) for frame in frames if frame.given_up]
    for gap in _clipped(union(given_up), window):
        yield gap, SPOOL_FULL


def _given_up(frame: PackedIterations) -> Interval:
    """Time whose iterations ran, and whose rows are no more."""
    start_ns, end_ns = frame.wide[SIZES : SIZES + 2].tolist()
    return start_ns, end_ns


def _clipped(intervals: Iterable[Interval], window: Interval) -> list[Interval]:
    """What of disjoint intervals lies in the window."""
    start_ns, end_ns = window
    clipped = [(max(left, start_ns), min(right, end_ns)) for left, right in intervals]
    return [(left, right) for left, right in clipped if left < right]


def union(intervals: Iterable[Interval]) -> list[Interval]:
    """The same instants as disjoint intervals in order; empty ones vanish."""
    ordered = sorted([interval for interval in intervals if interval[0] < interval[1]])
    if not ordered:
        return []
    merged: list[Interval] = []
    first, last = ordered[0]
    for start, end in ordered:
        if start > last:
            merged.append((first, last))
            first, last = start, end
        elif end > last:
            last = end
    merged.append((first, last))
    return merged


def subtract(whole: Iterable[Interval], parts: Sequence[Interval]) -> Iterator[Interval]:
    """What of `whole` lies in none of `parts`; both as `union` makes them."""
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
