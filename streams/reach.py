"""Which energy frames a window's meter rests on: for every counter, a reading on either side and all between."""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from schemas.compiled import compiled
from schemas.energy import EnergyFrame
from streams.counters import Counter, counters_of

__all__ = ["evidence_until", "first_needed", "in_reach"]

Int64s = NDArray[np.int64]
Readings = tuple[NDArray[np.int32], Int64s, Int64s, int]
"""Each reading's counter and time (P,), each frame's start, end and number of readings (F, 3), and how many
counters there are."""

_NONE: Final = -1
_NO_COUNTERS: Final = np.zeros(0, np.int32)
_NO_TIMES: Final = np.zeros(0, np.int64)

_BEYOND: Final = 4
"""Frames after a window's end that are looked at first: nearly always every counter is read in one of them."""


def in_reach(frames: Sequence[EnergyFrame], start_ns: int, end_ns: int) -> range:
    """Indices of the frames, in order of their start, on which the energy of `[start_ns, end_ns)` rests.

    A counter that ended before the interval, or began after it, needs none. O(readings until all are found).
    """
    look_at = bisect_left(frames, end_ns, key=lambda frame: frame.start_ns) + _BEYOND
    while True:
        settled, first, stop = _in_reach(_readings(frames[:look_at]), start_ns, end_ns)
        if settled or look_at >= len(frames):
            return range(first, stop)
        look_at *= 2


@compiled
def _in_reach(readings: Readings, start_ns: int, end_ns: int) -> tuple[bool, int, int]:
    """Whether no later frame can matter; the first index in reach, and the one behind the last."""
    counter, time_ns, frames, counters = readings
    before, after = np.full(counters, _NONE), np.full(counters, _NONE)
    inside = np.zeros(counters, np.bool_)
    least, most = len(frames), _NONE
    at, settled = 0, False
    for index in range(len(frames)):
        frame_start_ns, frame_end_ns, count = frames[index]
        if frame_start_ns >= end_ns and not ((before != _NONE) & (after == _NONE)).any():
            settled = True
            break
        touched = (
            frame_end_ns > start_ns and frame_start_ns < end_ns
        )  # whatever it read: engines and loads count
        first_ns, last_ns = _first_and_last(counter[at : at + count], time_ns[at : at + count], counters)
        at += count
        for own in range(counters):
            if first_ns[own] == _NONE:
                continue
            if first_ns[own] <= start_ns:
                before[own] = index
            if last_ns[own] >= end_ns and after[own] == _NONE:
                after[own] = index
            if first_ns[own] < end_ns and last_ns[own] > start_ns:
                inside[own] = touched = True
        if touched:
            least, most = min(least, index), index
    spanning = (before != _NONE) & (inside | (after != _NONE))
    ending = (after != _NONE) & (inside | (before != _NONE))
    for index in np.concatenate((before[spanning], after[ending])):
        least, most = min(least, index), max(most, index)
    return settled, (least if most != _NONE else 0), most + 1


@compiled
def _first_and_last(counter: NDArray[np.int32], time_ns: Int64s, counters: int) -> tuple[Int64s, Int64s]:
    """When one frame reads each counter first and last (counters,); _NONE where it does not."""
    first_ns, last_ns = np.full(counters, _NONE), np.full(counters, _NONE)
    for reading in range(counter.size):
        own = counter[reading]
        if first_ns[own] == _NONE:
            first_ns[own] = time_ns[reading]
        last_ns[own] = time_ns[reading]
    return first_ns, last_ns


def first_needed(frames: Sequence[EnergyFrame], edge_ns: int, keep_from_ns: int) -> int:
    """Index of the first frame that a window from `edge_ns` on needs: it holds a counter's reading before it.

    A counter not read since `keep_from_ns` is let go: should it return, its two readings lie in the topic, and
    the repair job joins them.
    """
    return _first_needed(_readings(frames), edge_ns, keep_from_ns)


@compiled
def _first_needed(readings: Readings, edge_ns: int, keep_from_ns: int) -> int:
    counter, time_ns, frames, counters = readings
    last_before = np.full(counters, len(frames))
    first_open = len(frames)
    at = 0
    for index in range(len(frames)):
        _, frame_end_ns, count = frames[index]
        if frame_end_ns > edge_ns:
            first_open = min(first_open, index)
        first_ns, _ = _first_and_last(counter[at : at + count], time_ns[at : at + count], counters)
        at += count
        for own in range(counters):
            if first_ns[own] != _NONE and first_ns[own] <= edge_ns and frame_end_ns >= keep_from_ns:
                last_before[own] = index
    for own in range(counters):
        first_open = min(first_open, last_before[own])
    return first_open


def _readings(frames: Sequence[EnergyFrame]) -> Readings:
    meters, counters = counters_of(frames)
    spans = [(frame.start_ns, frame.end_ns, len(frame.reading_meter)) for frame in frames]
    return (
        np.concatenate([_NO_COUNTERS, *counters]),
        np.concatenate([_NO_TIMES, *(frame.reading_time_ns for frame in frames)]),
        np.array(spans, np.int64).reshape(-1, 3),
        len(meters),
    )


def evidence_until(frames: Sequence[EnergyFrame], edge_ns: int) -> int:
    """The latest reading that fixed any counter's value at `edge_ns`; `edge_ns` where none lies after it.

    A frame with a reading before this instant would have fixed it otherwise.
    """
    first_after: dict[Counter, int] = {}
    for frame in frames:
        for counter, at_ns in _read(frame):
            if at_ns >= edge_ns:
                first_after[counter] = min(at_ns, first_after.get(counter, at_ns))
    return max(first_after.values(), default=edge_ns)


def _read(frame: EnergyFrame) -> Iterator[tuple[Counter, int]]:
    names = [(meter.meter_id, meter.epoch) for meter in frame.meters]
    for index, at_ns in zip(frame.reading_meter.tolist(), frame.reading_time_ns.tolist(), strict=True):
        yield names[index], at_ns
