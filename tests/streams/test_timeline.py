"""A meter step goes to what happened in it; nothing is lost between accounts."""

from dataclasses import fields

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.metering import collect_readings, measure
from streams.timeline import FIRST_LOAD, GAP, IDLE, OVERHEAD, SERVING, divide, lay_out
from tests.builders import SECOND, T0, energy_frame
from tests.rig.plain_timeline import plain_division, plain_timeline

NONE = np.zeros(0, np.int64)


def meter(end_s: float = 5.0, power_w: float = 500.0, step_s: float = 0.1):
    frames = [
        energy_frame(s, s + 0.5, power_w=power_w, sequence=n, step_s=step_s)
        for n, s in enumerate(np.arange(0, end_s, 0.5))
    ]
    return measure(collect_readings(frames), T0, T0 + round(end_s * SECOND))


def at(seconds: float) -> int:
    return T0 + round(seconds * SECOND)


def drawn_window(rng: np.random.Generator):
    """What `lay_out` is given: iterations one after another, or over each other and beyond the window's edges."""
    count = int(rng.integers(0, 40))
    starts = rng.integers(at(-0.5), at(5), count)
    ends = starts + rng.integers(1000, SECOND, count)
    if rng.random() < 0.5:
        edges = np.unique(rng.integers(at(-0.5), at(5.5), count + 1))
        starts, ends = edges[:-1], edges[1:]
    joules = rng.random(len(starts)) * 10.0 ** rng.integers(-3, 4, len(starts))
    gaps, loads = (
        [(at(a), at(b)) for a, b in np.sort(rng.uniform(-1, 6, (rng.integers(0, most), 2)))]
        for most in (3, 4)
    )
    power_w = float(rng.choice([0.0, 1.5, 110.0]))
    return (at(0), at(5), starts, ends, joules, rng.random(len(starts)) < 0.8), power_w, gaps, loads


@given(st.integers(0, 2**32))
@settings(max_examples=300)
def test_compiled_passes_have_the_bits_of_the_formulas(seed: int):
    rng = np.random.default_rng(seed)
    window, power_w, gaps, loads = drawn_window(rng)
    timeline = lay_out(*window, idle_power_w=power_w, gaps=gaps, loads=loads)
    plain = plain_timeline(*window, idle_power_w=power_w, gaps=gaps, loads=loads)
    for field in fields(plain):
        np.testing.assert_array_equal(getattr(timeline, field.name), getattr(plain, field.name))
    measured = meter(rng.choice([0.5, 3.0, 5.0]), rng.uniform(1, 1000), rng.choice([0.04, 0.1, 0.5]))
    steps = [(interval.cell_edges_ns, interval.cell_uj) for interval in measured]
    np.testing.assert_array_equal(divide(timeline, measured), plain_division(plain, steps))


@given(st.data())
def test_accounts_sum_to_the_meter_whatever_overlaps(data):
    moments = st.integers(-1000, 6000)
    intervals = st.tuples(moments, moments).filter(lambda pair: pair[0] < pair[1])
    raw = data.draw(st.lists(intervals, max_size=20))
    spans = [(at(a / 1000), at(b / 1000)) for a, b in raw if b > 0 and a < 5000]
    starts = np.asarray([a for a, _ in spans], np.int64)
    ends = np.asarray([b for _, b in spans], np.int64)
    joules = np.asarray(data.draw(st.lists(st.floats(0.1, 1e4), min_size=len(spans), max_size=len(spans))))
    inside = st.lists(intervals.map(lambda p: (at(max(p[0], 0) / 1000), at(max(p[1], 1) / 1000))), max_size=3)
    timeline = lay_out(
        at(0), at(5), starts, ends, joules, np.ones(len(spans), np.bool_),
        idle_power_w=data.draw(st.sampled_from([0.0, 100.0])), gaps=data.draw(inside), loads=data.draw(inside),
    )  # fmt: skip
    measured = meter()
    accounts = divide(timeline, measured)
    assert accounts.sum() == pytest.approx(sum(interval.energy_uj for interval in measured), rel=1e-12)
    assert (accounts >= 0).all()


def test_a_stretch_in_which_only_one_thing_happened_is_measured_not_modelled():
    one_iteration = np.asarray([at(1)]), np.asarray([at(2)]), np.asarray([9999.0])
    timeline = lay_out(
        at(0), at(5), *one_iteration, np.ones(1, np.bool_), idle_power_w=1.0, gaps=[], loads=[]
    )
    accounts = divide(timeline, meter())
    assert accounts[SERVING] == pytest.approx(500e6)
    assert accounts[IDLE] == pytest.approx(4 * 500e6)


def test_a_gap_a_load_and_overhead_have_rows_of_their_own():
    warm_up = np.asarray([at(4)]), np.asarray([at(5)]), np.asarray([500.0])
    timeline = lay_out(
        at(0), at(5), *warm_up, np.zeros(1, np.bool_),
        idle_power_w=100.0, gaps=[(at(0), at(1))], loads=[(at(2), at(4))],
    )  # fmt: skip
    accounts = divide(timeline, meter())
    assert accounts[GAP] == pytest.approx(500e6)
    assert accounts[IDLE] == pytest.approx(500e6)
    assert accounts[FIRST_LOAD] == pytest.approx(1000e6)
    assert accounts[OVERHEAD] == pytest.approx(500e6)
    assert timeline.gap_ns == SECOND


def test_energy_of_iterations_during_a_load_stays_with_them():
    busy = np.asarray([at(0)]), np.asarray([at(5)]), np.asarray([2500.0])
    timeline = lay_out(
        at(0), at(5), *busy, np.ones(1, np.bool_), idle_power_w=100.0, gaps=[], loads=[(at(1), at(4))]
    )
    accounts = divide(timeline, meter())
    assert accounts[SERVING] == pytest.approx(2500e6)
    assert accounts[FIRST_LOAD] == 0


def test_nothing_running_is_idle_even_without_an_idle_power():
    timeline = lay_out(at(0), at(5), NONE, NONE, np.zeros(0), NONE == 1, idle_power_w=0.0, gaps=[], loads=[])
    assert divide(timeline, meter())[IDLE] == pytest.approx(2500e6)
