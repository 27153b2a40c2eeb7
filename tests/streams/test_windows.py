"""Windows close by event time alone, in the same way whatever the order of arrival."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.energy import ActiveLoad, EnergyFrame
from schemas.iterations import IterationFrame
from schemas.packed_iterations import PackedIterations, packed
from streams.windows import (
    ClosedWindow,
    Group,
    Held,
    WindowRules,
    close_window,
    due_windows,
    forget_sealed,
)
from tests.builders import ENGINE, GROUP, SECOND, T0, decode_frame, energy_frame
from tests.rig.holding import hold

RULES = WindowRules()


def feed(
    group: Group,
    frames: Sequence[IterationFrame | PackedIterations | EnergyFrame],
    first_offset: int = 0,
    rules: WindowRules = RULES,
) -> list[ClosedWindow]:
    closed: list[ClosedWindow] = []
    for offset, frame in enumerate(frames, first_offset):
        hold(group, frame, offset, frame.end_ns)
        closed += due_windows(group, rules)
    return closed


def stream(
    until_s: float, *, skip: tuple[int, ...] = (), **options: object
) -> list[IterationFrame | EnergyFrame]:
    frames: list[IterationFrame | EnergyFrame] = []
    for number, start in enumerate(np.arange(0, until_s, 0.5)):
        frames.append(energy_frame(start, start + 0.5, sequence=number))
        if number not in skip:
            frames.append(decode_frame(start, start + 0.5, sequence=number, **options))
    return frames


def bounds(closed: list[ClosedWindow]) -> list[tuple[float, float]]:
    return [((c.start_ns - T0) / SECOND, (c.end_ns - T0) / SECOND) for c in closed]


def test_windows_tile_event_time_and_close_once_both_watermarks_have_passed():
    closed = feed(Group(GROUP, 0), stream(11.0))
    assert bounds(closed) == [(0, 5), (5, 10)]
    assert bounds(feed(Group(GROUP, 0), stream(10.0))) == [(0, 5), (5, 10)]
    assert bounds(feed(Group(GROUP, 0), stream(9.5))) == [(0, 5)]
    assert all(c.closed_by == "watermark" and not c.gaps for c in closed)


@pytest.mark.parametrize("of_energy", [False, True])
def test_a_hole_holds_the_window_for_the_frame_that_was_overtaken_and_no_longer_than_the_wait(of_energy):
    rules = WindowRules(wait_ns=SECOND)
    frames = stream(7.0)
    (late,) = (f for f in frames if f.start_ns == T0 + 4 * SECOND and isinstance(f, EnergyFrame) == of_energy)
    others = [frame for frame in frames if frame is not late]
    until_5_5 = [frame for frame in others if frame.end_ns <= T0 + 5.5 * SECOND]
    group = Group(GROUP, 0)
    assert feed(group, until_5_5, rules=rules) == []
    (closed,) = feed(group, [late], len(frames), rules)
    assert (closed.gaps, closed.closed_by) == ((), "watermark")
    (closed,) = feed(Group(GROUP, 0), others, rules=rules)
    assert closed.gaps == (() if of_energy else ((late.start_ns, late.end_ns),))


@given(st.lists(st.floats(0, 0.95), min_size=84, max_size=84))
def test_frames_overtaken_by_less_than_the_wait_are_all_in_their_windows(delays_s):
    rules = WindowRules(wait_ns=SECOND)
    frames = stream(21.0)
    arriving = sorted(zip(frames, delays_s, strict=True), key=lambda one: one[0].end_ns + one[1] * SECOND)
    closed = feed(Group(GROUP, 0, T0), [frame for frame, _ in arriving], rules=rules)
    expected = feed(Group(GROUP, 0, T0), frames, rules=rules)
    assert bounds(closed) == bounds(expected)[: len(closed)]
    assert len(closed) >= 3
    for one, other in zip(closed, expected, strict=False):
        assert [held.key[:3] for held in one.iterations] == [held.key[:3] for held in other.iterations]
        assert (one.gaps, one.closed_by) == ((), "watermark")


@given(st.randoms(use_true_random=False), st.integers(0, 3))
def test_order_and_repeats_within_the_wait_change_nothing(shuffler, repeats):
    frames = stream(11.0)
    expected = feed(Group(GROUP, 0), frames)
    shuffled = frames + frames[:repeats]
    shuffler.shuffle(shuffled)
    group = Group(GROUP, 0, T0)
    for offset, frame in enumerate(shuffled):
        hold(group, frame, offset, 0)
    closed = list(due_windows(group, RULES))
    assert bounds(closed) == bounds(expected)
    for one, other in zip(closed, expected, strict=True):
        assert [held.key[:3] for held in one.iterations] == [held.key[:3] for held in other.iterations]
        assert [held.key[:3] for held in one.energy] == [held.key[:3] for held in other.energy]


def test_a_missing_frame_is_a_gap_with_its_cause():
    closed = feed(Group(GROUP, 0), stream(11.0, skip=(3,)))
    assert closed[0].gaps == ((T0 + round(1.5 * SECOND), T0 + 2 * SECOND),)
    assert closed[0].gap_causes == ("sequence_gap",)
    assert closed[1].gaps == ()


def test_a_silent_engine_holds_its_window_for_a_bounded_time_and_is_then_a_gap():
    heard = [decode_frame(s, s + 0.5, sequence=n) for n, s in enumerate(np.arange(0, 3, 0.5))]
    metered = [energy_frame(s, s + 0.5, sequence=n) for n, s in enumerate(np.arange(0, 16, 0.5))]
    group = Group(GROUP, 0)
    assert feed(group, [*heard, *metered[:28]]) == []
    closed = feed(group, metered[28:], first_offset=100)
    assert bounds(closed) == [(0, 5)]
    assert closed[0].closed_by == "bounded_wait"
    assert closed[0].gaps == ((T0 + 3 * SECOND, T0 + 5 * SECOND),)
    assert closed[0].gap_causes == ("silent_iterations",)


def test_a_group_silent_on_both_streams_is_not_sealed():
    assert feed(Group(GROUP, 0), stream(4.5)) == []


def test_an_engine_whose_hook_is_off_is_one_gap():
    metered = [energy_frame(s, s + 0.5, sequence=n) for n, s in enumerate(np.arange(0, 16, 0.5))]
    closed = feed(Group(GROUP, 0), metered)
    assert closed[0].gaps == ((T0, T0 + 5 * SECOND),)
    assert closed[0].gap_causes == ("silent_iterations",)


def test_gpus_of_no_engine_are_windows_too_and_have_no_gap():
    metered = [energy_frame(s, s + 0.5, sequence=n, engines=()) for n, s in enumerate(np.arange(0, 6, 0.5))]
    closed = feed(Group(GROUP, 0), metered)
    assert bounds(closed) == [(0, 5)]
    assert closed[0].gaps == ()


def test_a_window_is_cut_where_a_new_incarnation_begins_and_the_time_before_it_is_no_gap():
    first = [decode_frame(s, s + 0.5, sequence=n) for n, s in enumerate(np.arange(0, 2, 0.5))]
    again = [
        decode_frame(s, s + 0.5, sequence=n, born_s=3.0, first_ordinal=50)
        for n, s in enumerate(np.arange(3, 7, 0.5))
    ]
    metered = [
        energy_frame(s, s + 0.5, sequence=n, engines=() if 2 <= s < 3 else (ENGINE,))
        for n, s in enumerate(np.arange(0, 7, 0.5))
    ]
    closed = feed(Group(GROUP, 0), [*first, *again, *metered])
    assert bounds(closed) == [(0, 3), (3, 5)]
    assert [c.gaps for c in closed] == [(), ()]


def test_loading_time_is_no_gap_and_an_open_load_is_closed_by_a_later_word():
    load = ActiveLoad("load-1", ENGINE, T0 + 1 * SECOND, 0)
    ended = ActiveLoad("load-1", ENGINE, T0 + 1 * SECOND, T0 + 3 * SECOND)
    metered = [
        energy_frame(s, s + 0.5, sequence=n, engines=(ENGINE,) if s >= 1 else (),
                     loads=(load,) if 1 <= s < 2.5 else (ended,) if s == 2.5 else ())
        for n, s in enumerate(np.arange(0, 6, 0.5))
    ]  # fmt: skip
    served = [decode_frame(s, s + 0.5, sequence=n, born_s=1.0) for n, s in enumerate(np.arange(3, 6, 0.5))]
    closed = feed(Group(GROUP, 0), [*metered, *served])
    assert bounds(closed) == [(0, 1), (1, 5)]
    assert closed[0].loads == ()
    assert closed[1].loads == (("load-1", ENGINE, T0 + 1 * SECOND, T0 + 3 * SECOND),)
    assert closed[1].gaps == ()


def test_a_frame_that_shows_an_open_load_says_nothing_of_the_time_after_it():
    """Where its neighbours are gone: one that came late by minutes, or the last before the agent went."""
    load = ActiveLoad("load-1", ENGINE, T0 + 1 * SECOND, 0)
    metered = [
        energy_frame(s, s + 0.5, sequence=n, loads=(load,) if s == 1.5 else ())
        for n, s in enumerate((1.5, *np.arange(20, 26, 0.5)))
    ]
    group = Group(GROUP, 0, T0)
    for offset, frame in enumerate(metered):
        group.hold_energy(Held(frame, offset, frame.end_ns))
    assert close_window(group, T0, T0 + 5 * SECOND).loads == (
        ("load-1", ENGINE, T0 + 1 * SECOND, T0 + 2 * SECOND),
    )
    assert close_window(group, T0 + 20 * SECOND, T0 + 25 * SECOND).loads == ()


def two_nodes(until_s: float, slower_until_s: float) -> list[IterationFrame | EnergyFrame]:
    """An engine over two nodes: each agent sends the counters of its own GPUs under the one group."""
    frames: list[IterationFrame | EnergyFrame] = []
    for number, start in enumerate(np.arange(0, until_s, 0.5)):
        frames.append(decode_frame(start, start + 0.5, sequence=number))
        frames.append(energy_frame(start, start + 0.5, sequence=number))
        if start < slower_until_s:
            there = energy_frame(start, start + 0.5, sequence=number, meter_id="GPU-9")
            frames.append(replace(there, node_id="node-2", incarnation="agent-2"))
    return frames


def test_a_group_over_two_nodes_waits_for_the_meters_of_both():
    group = Group(GROUP, 0)
    assert bounds(feed(group, two_nodes(12, slower_until_s=4.5))) == []
    rest = [frame for frame in two_nodes(12, 12) if getattr(frame, "node_id", "") == "node-2"]
    closed = feed(group, rest, first_offset=1000)
    assert bounds(closed) == [(0, 5), (5, 10)]
    for window in closed:
        meters = {meter.meter_id for held in window.energy for meter in held.frame.meters}
        assert meters == {"GPU-0", "GPU-9"}
        assert (window.closed_by, window.gap_causes) == ("watermark", ())


def test_one_node_that_falls_silent_holds_the_group_up_no_longer_than_its_bounded_wait():
    waited_s = RULES.silent_meter_ns / SECOND
    closed = feed(Group(GROUP, 0), two_nodes(5.0 + waited_s + 1, slower_until_s=4.0))
    assert bounds(closed) == [(0, 5)]
    assert (closed[0].closed_by, closed[0].gap_causes) == ("bounded_wait", ("silent_meter",))


def test_what_is_forgotten_is_never_needed_again():
    frames = [packed(frame) if isinstance(frame, IterationFrame) else frame for frame in stream(21.0)]
    everything, forgetful = Group(GROUP, 0), Group(GROUP, 0)
    kept = feed(everything, frames)
    closed: list[ClosedWindow] = []
    for offset, frame in enumerate(frames):
        closed += feed(forgetful, [frame], offset)
        if forgetful.sealed_ns:
            forget_sealed(forgetful, forgetful.sealed_ns, RULES.silent_meter_ns)
    assert closed == kept
    assert len(forgetful.energy) < 8
    assert sum(map(len, forgetful.iterations.values())) < 8


def test_a_replay_that_brings_minutes_within_a_second_makes_no_stream_silent():
    """The log's own clock must have run for the wait, too: one topic may be read, or written, after another."""
    metered = [energy_frame(s, s + 0.5, sequence=n) for n, s in enumerate(np.arange(0, 60, 0.5))]
    group = Group(GROUP, 0)
    for offset, frame in enumerate(metered):
        group.hold_energy(Held(frame, offset, T0 + offset))
    arrived_ns = T0 + len(metered)
    assert list(due_windows(group, RULES, read_to_ns=arrived_ns + SECOND)) == []
    assert bounds(list(due_windows(group, RULES, read_to_ns=arrived_ns + 11 * SECOND)))[0] == (0, 5)
