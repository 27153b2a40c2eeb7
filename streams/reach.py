"""Which energy frames a window's meter rests on: for every counter, a reading on either side and all between."""

from collections.abc import Iterator, Sequence

from schemas.energy import EnergyFrame

__all__ = ["Counter", "evidence_until", "first_needed", "in_reach", "reading_times"]

Counter = tuple[str, str]
"""Meter id and epoch: one run of a counter from its zero."""


def reading_times(frame: EnergyFrame) -> dict[Counter, tuple[int, int]]:
    """The first and last reading of each of the frame's counters, Unix nanoseconds; O(readings)."""
    first: dict[int, int] = {}
    last: dict[int, int] = {}
    for index, at_ns in zip(frame.reading_meter.tolist(), frame.reading_time_ns.tolist(), strict=True):
        first.setdefault(index, at_ns)
        last[index] = at_ns
    meters = frame.meters
    return {(meters[i].meter_id, meters[i].epoch): (first[i], last[i]) for i in first}


def in_reach(frames: Sequence[EnergyFrame], start_ns: int, end_ns: int) -> range:
    """Indices of the frames, in order of their start, on which the energy of `[start_ns, end_ns)` rests.

    A counter that ended before the interval, or began after it, needs none.
    """
    before: dict[Counter, int] = {}
    after: dict[Counter, int] = {}
    inside: set[Counter] = set()
    touched: list[int] = []
    for index, frame in enumerate(frames):
        if frame.start_ns >= end_ns and before.keys() <= after.keys():
            break
        if frame.end_ns > start_ns and frame.start_ns < end_ns:
            touched.append(index)  # what it says of engines and loads counts, whatever it read
        for counter, (first_ns, last_ns) in reading_times(frame).items():
            if first_ns <= start_ns:
                before[counter] = index
            if last_ns >= end_ns:
                after.setdefault(counter, index)
            if first_ns < end_ns and last_ns > start_ns:
                inside.add(counter)
                touched.append(index)
    spanning = [counter for counter in before if counter in inside or counter in after]
    ending = [counter for counter in after if counter in inside or counter in before]
    needed = touched + [before[counter] for counter in spanning] + [after[counter] for counter in ending]
    return range(min(needed), max(needed) + 1) if needed else range(0)


def first_needed(frames: Sequence[EnergyFrame], edge_ns: int, keep_from_ns: int) -> int:
    """Index of the first frame that a window from `edge_ns` on needs: it holds a counter's reading before it.

    A counter not read since `keep_from_ns` is let go: should it return, its two readings lie in the topic, and
    the repair job joins them.
    """
    last_before: dict[Counter, int] = {}
    first_open = len(frames)
    for index, frame in enumerate(frames):
        if frame.end_ns > edge_ns:
            first_open = min(first_open, index)
        for counter, (first_ns, _) in reading_times(frame).items():
            if first_ns <= edge_ns and frame.end_ns >= keep_from_ns:
                last_before[counter] = index
    return min([first_open, *last_before.values()])


def evidence_until(frames: Sequence[EnergyFrame], edge_ns: int) -> int:
    """The latest reading that fixed any counter's value at `edge_ns`; `edge_ns` where none lies after it.

    A frame with a reading before this instant would have fixed it otherwise.
    """
    first_after: dict[Counter, int] = {}
    for frame in frames:
        for counter, at_ns in _readings(frame):
            if at_ns >= edge_ns:
                first_after[counter] = min(at_ns, first_after.get(counter, at_ns))
    return max(first_after.values(), default=edge_ns)


def _readings(frame: EnergyFrame) -> Iterator[tuple[Counter, int]]:
    names = [(meter.meter_id, meter.epoch) for meter in frame.meters]
    for index, at_ns in zip(frame.reading_meter.tolist(), frame.reading_time_ns.tolist(), strict=True):
        yield names[index], at_ns
