"""Carbon is the integral of power times intensity plus the integral of the embodied rate."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluation.carbon import Carbon, Signal, constant, embodied_rate, read_signal
from producers.simulation.engine_types import engine_type
from schemas.errors import DataError

ENGINE = engine_type("llama-3.1-8b-h100")


@st.composite
def signals(draw: st.DrawFn) -> Signal:
    gaps = draw(st.lists(st.integers(1, 5_000_000), min_size=0, max_size=6))
    values = draw(st.lists(st.floats(0, 900), min_size=len(gaps) + 1, max_size=len(gaps) + 1))
    return Signal(np.cumsum([0, *gaps]).astype(np.int64), np.array(values))


@given(signals(), st.integers(0, 20_000_000), st.integers(1, 5_000_000))
def test_an_integral_is_the_sum_over_steps(signal, start_us, length_us):
    edges = np.unique(
        np.clip([*signal.start_us.tolist(), start_us, start_us + length_us], start_us, start_us + length_us)
    )
    by_hand = sum(
        (b - a) / 1e6 * signal.values[np.flatnonzero(signal.start_us <= a)[-1]]
        for a, b in pairwise(edges.tolist())
    )
    found = float(signal.integral(start_us + length_us) - signal.integral(start_us))
    assert found == pytest.approx(by_hand, rel=1e-9, abs=1e-6)


@given(signals())
def test_the_carbon_of_neighbouring_intervals_adds_up(signal):
    edges = np.array([0, 1_000_000, 2_500_000, 9_000_000])
    parts = signal.mean(edges[:-1], edges[1:]) * np.diff(edges) / 1e6
    assert parts.sum() == pytest.approx(float(signal.integral(9_000_000)), rel=1e-9, abs=1e-9)


def test_a_kilowatt_hour_at_400_grams_is_400_grams():
    carbon = Carbon(constant(400.0), constant(0.0))
    per_joule, per_second = carbon.factors(ENGINE, np.array([0]), np.array([3_600_000_000]))
    assert float(per_joule[0]) * 3.6e6 == pytest.approx(400.0)
    assert per_second.tolist() == [0.0]


def test_embodied_carbon_over_the_lifetime_is_the_manufacturing_footprint():
    assert embodied_rate(4, kg_per_gpu=100.0, lifetime_years=2.0) * 2 * 365 * 86_400 == pytest.approx(
        400_000.0
    )


def test_always_on_charges_requests_only_what_exceeds_the_idle_engine():
    carbon = Carbon(constant(360.0), constant(0.01), "always_on")
    per_joule, per_second = carbon.factors(ENGINE, np.array([0]), np.array([1_000_000]))
    idle_j_in_a_second = ENGINE.loaded_idle_w * ENGINE.gpus
    assert float(idle_j_in_a_second * per_joule[0] + per_second[0]) == pytest.approx(0.0, abs=1e-15)
    assert carbon.idle_g(ENGINE, 1_000_000) == pytest.approx(idle_j_in_a_second * 360.0 / 3.6e6 + 0.01)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("time_s,intensity\n0,4\n", r"ci\.csv:1: column intensity_g_per_kwh is missing"),
        ("time_s,intensity_g_per_kwh\n5,4\n", r"ci\.csv:2: column time_s is 5; the first row must be at 0"),
        ("time_s,intensity_g_per_kwh\n0,4\n3,4\n3,5\n", r"ci\.csv:4: column time_s is 3; sort"),
        ("time_s,intensity_g_per_kwh\n0,-4\n", r"ci\.csv:2: column intensity_g_per_kwh is -4"),
        ("time_s,intensity_g_per_kwh\n0,nan\n", r"ci\.csv:2: column intensity_g_per_kwh is nan"),
        ("time_s,intensity_g_per_kwh\n", r"ci\.csv: holds no row"),
    ],
)
def test_a_wrong_time_series_is_answered_with_line_column_and_remedy(tmp_path, text, message):
    path = tmp_path / "ci.csv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=message):
        read_signal(path, "intensity_g_per_kwh")
