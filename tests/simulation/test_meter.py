"""The simulated counter: NVML's steps, its unit, and sensors that see less than there is."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from producers.simulation.meter import A100, H100, STEP_US, Sensor, read_counter

SECOND_US = 1_000_000


def steady(times_us):
    return 350.0 * times_us / 1e6


def square_wave(times_us):
    """700 W for the first half of every 2 s, 100 W for the second."""
    cycle, rest = np.divmod(times_us / 1e6, 2.0)
    return cycle * 800.0 + np.minimum(rest, 1.0) * 700.0 + np.maximum(rest - 1.0, 0.0) * 100.0


@given(st.integers(0, 2**32 - 1), st.integers(1, 20))
def test_the_counter_steps_about_every_hundred_milliseconds_and_loses_nothing(seed, seconds):
    readings = read_counter(steady, seconds * SECOND_US, seed=seed, start_uj=5_000_000)
    gaps = np.diff(readings.time_us)
    assert readings.time_us[0] == 0
    assert readings.time_us[-1] == seconds * SECOND_US
    assert np.all(np.abs(gaps[1:-1] - STEP_US) <= 6_000)
    assert len(readings.time_us) == pytest.approx(seconds * 10 + 1, abs=1)
    assert readings.cumulative_uj[0] == 5_000_000
    assert readings.cumulative_uj[-1] - 5_000_000 == seconds * 350_000_000
    assert np.all(np.diff(readings.cumulative_uj) > 0)
    assert np.all(readings.cumulative_uj % 1000 == 0)


def test_steps_of_two_gpus_are_not_aligned():
    one = read_counter(steady, 10 * SECOND_US, seed=1)
    two = read_counter(steady, 10 * SECOND_US, seed=2)
    assert not set(one.time_us[1:-1].tolist()) & set(two.time_us[1:-1].tolist())


def test_a_counter_that_stands_still_has_no_readings():
    readings = read_counter(lambda times_us: np.zeros(len(times_us)), SECOND_US, seed=1)
    assert readings.time_us.tolist() == [0]


@pytest.mark.parametrize("sensor", [H100, A100])
def test_a_sensor_that_averages_recovers_the_total_but_not_the_moment(sensor):
    end_us = 60 * SECOND_US
    seen = read_counter(square_wave, end_us, seed=4, sensor=sensor)
    total_uj = seen.cumulative_uj[-1] - seen.cumulative_uj[0]
    assert total_uj == pytest.approx(square_wave(np.array([end_us]))[0] * 1e6, rel=0.02)
    exact_j = np.diff(square_wave(seen.time_us))
    assert np.abs(np.diff(seen.cumulative_uj) / 1e6 - exact_j).max() > 10.0


def test_a_gain_is_a_proportional_error():
    plain = read_counter(steady, 10 * SECOND_US, seed=1)
    wrong = read_counter(steady, 10 * SECOND_US, seed=1, sensor=Sensor(gain=1.05))
    assert wrong.cumulative_uj[-1] == pytest.approx(1.05 * plain.cumulative_uj[-1], rel=1e-6)
