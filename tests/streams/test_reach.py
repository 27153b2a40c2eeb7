"""Which frames a window's meter rests on, told by one pass over their readings as by going through them."""

from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.energy import EnergyFrame
from streams.counters import Counter
from streams.reach import first_needed, in_reach
from tests.builders import SECOND, T0, energy_frame
from tests.rig.metered_frames import metered_frames

MOMENTS = st.integers(T0 - SECOND, T0 + 6 * SECOND) | st.integers(0, 6).map(lambda s: T0 + s * SECOND)


def read_times(frame: EnergyFrame) -> dict[Counter, tuple[int, int]]:
    """The first and last reading of each of the frame's counters."""
    times: dict[Counter, tuple[int, int]] = {}
    for place, at_ns in zip(frame.reading_meter, frame.reading_time_ns.tolist(), strict=True):
        meter = frame.meters[place]
        first_ns, _ = times.get((meter.meter_id, meter.epoch), (at_ns, at_ns))
        times[meter.meter_id, meter.epoch] = first_ns, at_ns
    return times


def plainly_in_reach(frames: Sequence[EnergyFrame], start_ns: int, end_ns: int) -> range:
    before: dict[Counter, int] = {}
    after: dict[Counter, int] = {}
    inside: set[Counter] = set()
    touched: list[int] = []
    for index, frame in enumerate(frames):
        if frame.start_ns >= end_ns and before.keys() <= after.keys():
            break
        if frame.end_ns > start_ns and frame.start_ns < end_ns:
            touched.append(index)
        for counter, (first_ns, last_ns) in read_times(frame).items():
            if first_ns <= start_ns:
                before[counter] = index
            if last_ns >= end_ns:
                after.setdefault(counter, index)
            if first_ns < end_ns and last_ns > start_ns:
                inside.add(counter)
                touched.append(index)
    spanning = [before[counter] for counter in before if counter in inside or counter in after]
    ending = [after[counter] for counter in after if counter in inside or counter in before]
    needed = touched + spanning + ending
    return range(min(needed), max(needed) + 1) if needed else range(0)


def plainly_first_needed(frames: Sequence[EnergyFrame], edge_ns: int, keep_from_ns: int) -> int:
    last_before: dict[Counter, int] = {}
    first_open = len(frames)
    for index, frame in enumerate(frames):
        if frame.end_ns > edge_ns:
            first_open = min(first_open, index)
        for counter, (first_ns, _) in read_times(frame).items():
            if first_ns <= edge_ns and frame.end_ns >= keep_from_ns:
                last_before[counter] = index
    return min([first_open, *last_before.values()])


@given(metered_frames(), MOMENTS, MOMENTS)
@settings(max_examples=300)
def test_what_is_in_reach_and_what_is_needed(frames: list[EnergyFrame], one_ns: int, other_ns: int):
    frames.sort(key=lambda frame: frame.start_ns)
    start_ns, end_ns = min(one_ns, other_ns), max(one_ns, other_ns) + 1
    assert in_reach(frames, start_ns, end_ns) == plainly_in_reach(frames, start_ns, end_ns)
    assert first_needed(frames, end_ns, start_ns) == plainly_first_needed(frames, end_ns, start_ns)


def test_a_counter_silent_for_long_is_found_however_many_frames_lie_between():
    """A replay holds many: the reading after a window may be in the last of them."""
    read = [energy_frame(0, 0.5), energy_frame(50, 50.5, sequence=100)]
    silent = [energy_frame(s / 2, s / 2 + 0.5, meter_id="GPU-1", sequence=s) for s in range(1, 100)]
    frames = [read[0], *silent, read[1]]
    assert in_reach(frames, T0, T0 + SECOND) == range(101)
