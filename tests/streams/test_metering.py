"""The meter's energy is exact, additive over neighbours, and never invented."""

from fractions import Fraction
from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from schemas.energy import Meter
from streams.metering import MeterReadings, collect_readings, measure, value_at
from tests.builders import SECOND, T0, energy_frame
from tests.rig.metered_frames import metered_frames

METER = Meter("GPU-0", "gpu", "boot-1", "gpu", "counter")


@st.composite
def readings(draw: st.DrawFn) -> MeterReadings:
    gaps = draw(st.lists(st.integers(1, 300_000_000), min_size=1, max_size=30))
    steps = draw(st.lists(st.integers(0, 10**8), min_size=len(gaps), max_size=len(gaps)))
    times = T0 + np.concatenate(([0], np.cumsum(gaps)))
    values = draw(st.integers(0, 2**60)) + np.concatenate(([0], np.cumsum(steps)))
    return MeterReadings(METER, times.astype(np.int64), values.astype(np.int64))


@given(
    st.integers(0, 10**10), st.integers(1, 10**10), st.integers(0, 2**62), st.integers(0, 2**40), st.data()
)
def test_a_value_between_two_readings_is_their_line_rounded_half_up(before, span, low, rise, data):
    at = before + data.draw(st.integers(0, span))
    exact = low + Fraction(rise * (at - before), span)
    assert value_at(at, before, low, before + span, low + rise) == (exact + Fraction(1, 2)).__floor__()


@given(readings(), st.data())
def test_neighbouring_intervals_add_up_to_the_whole(one, data):
    first, last = int(one.times_ns[0]), int(one.times_ns[-1])
    cuts = sorted(data.draw(st.lists(st.integers(first, last), max_size=5)))
    edges = [first, *cuts, last]
    parts = sum(
        interval.energy_uj for left, right in pairwise(edges) for interval in measure([one], left, right)
    )
    assert parts == int(one.values_uj[-1] - one.values_uj[0])


@given(readings(), st.data())
def test_the_steps_of_an_interval_sum_to_its_energy(one, data):
    first, last = int(one.times_ns[0]), int(one.times_ns[-1])
    left, right = sorted(data.draw(st.tuples(st.integers(first, last), st.integers(first, last))))
    for interval in measure([one], left, right):
        assert int(interval.cell_uj.sum()) == interval.energy_uj
        assert interval.cell_edges_ns[0] == interval.left.at_ns
        assert interval.cell_edges_ns[-1] == interval.right.at_ns
        assert (np.diff(interval.cell_edges_ns) > 0).all()


def test_a_counter_reset_is_a_new_epoch_and_never_a_negative_delta():
    before = energy_frame(0, 2, epoch="boot-1")
    after = energy_frame(3, 5, epoch="boot-2", sequence=1, power_w=100.0)
    intervals = measure(collect_readings([before, after]), T0, T0 + 5 * SECOND)
    assert [interval.energy_uj for interval in intervals] == [2 * 500_000_000, 2 * 100_000_000]


@given(metered_frames())
def test_readings_are_joined_by_counter_in_order_of_time_and_never_fall(found):
    plain: dict[tuple[str, str], dict[int, int]] = {}
    for frame in found:
        for meter in frame.meters:
            plain.setdefault((meter.meter_id, meter.epoch), {})
        for place, time_ns, energy_uj in zip(
            frame.reading_meter, frame.reading_time_ns.tolist(), frame.reading_uj.tolist(), strict=True
        ):
            own = plain[frame.meters[place].meter_id, frame.meters[place].epoch]
            own[time_ns] = max(energy_uj, own.get(time_ns, 0))
    collected = collect_readings(found)
    assert [(one.meter.meter_id, one.meter.epoch) for one in collected] == sorted(plain)
    for one, own in zip(collected, (plain[key] for key in sorted(plain)), strict=True):
        times = sorted(own)
        kept = [t for i, t in enumerate(times) if all(own[t] >= own[before] for before in times[:i])]
        assert one.times_ns.tolist() == kept
        assert one.values_uj.tolist() == [own[t] for t in kept]


def test_the_order_and_the_repeats_of_frames_do_not_matter():
    a, b = energy_frame(0, 1), energy_frame(1, 2, sequence=1)
    forward = measure(collect_readings([a, b]), T0, T0 + 2 * SECOND)
    backward = measure(collect_readings([b, a, b]), T0, T0 + 2 * SECOND)
    assert forward[0].energy_uj == backward[0].energy_uj == 1_000_000_000


def test_an_interval_before_the_first_reading_has_no_energy():
    assert measure(collect_readings([energy_frame(5, 6)]), T0, T0 + 5 * SECOND) == []
