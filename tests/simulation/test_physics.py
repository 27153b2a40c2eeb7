"""Times and energies of iterations: the measured rows, monotone between, the knee and the experts."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from producers.simulation.engine_types import engine_type, engine_types, read_engine_types
from producers.simulation.physics import energy_j, iteration_ps, timing
from producers.simulation.presets import sample_path
from schemas.errors import ConfigurationError, DataError

NAMES = sorted(engine_types())


def decode_energy(engine, rows, context):
    none = np.zeros_like(rows)
    return energy_j(engine, rows, context, none, none)


@pytest.mark.parametrize("name", NAMES)
def test_measured_rows_come_back_as_measured(name):
    engine = engine_type(name)
    times = timing(engine)
    rows = np.floor(engine.batches).astype(np.int64)
    context = np.rint(rows * engine.mean_context_tokens).astype(np.int64)
    measured_j = np.interp(rows, engine.batches, engine.energy_j)
    assert decode_energy(engine, rows, context)[1:] == pytest.approx(measured_j[1:], rel=1e-6)
    took_ms = [iteration_ps(times, int(n), int(c), 0, 0) / 1e9 for n, c in zip(rows, context, strict=True)]
    assert took_ms[1:] == pytest.approx(np.interp(rows, engine.batches, engine.iteration_ms)[1:], rel=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_more_requests_more_context_and_more_prefill_never_cost_less(name):
    engine = engine_type(name)
    rows = np.arange(1, engine.max_batch + 1)
    for context_per_row in (1, 600, 5000):
        energy = decode_energy(engine, rows, rows * context_per_row)
        assert np.all(np.diff(energy) > 0)
        assert np.all(energy > 0)
    prefill = np.arange(0, 4096)
    zeros = np.zeros_like(prefill)
    assert np.all(np.diff(energy_j(engine, zeros + 4, zeros + 2400, prefill, prefill)) > 0)
    times = timing(engine)
    took = [iteration_ps(times, 4, 2400, int(p), int(p)) for p in prefill]
    assert np.all(np.diff(took) > 0)


def test_a_prefill_token_below_the_knee_is_cheap_and_above_it_dear():
    engine = engine_type("llama-3.1-8b-h100")
    one = np.ones(2, np.int64)
    prefill = np.array([64, 65, 1000, 1001])
    energy = energy_j(engine, np.tile(one, 2), np.tile(one, 2), prefill, np.zeros(4, np.int64))
    assert energy[3] - energy[2] > 3 * (energy[1] - energy[0])


def test_the_energy_is_not_the_line_that_a_fit_would_draw():
    engine = engine_type("qwen3-30b-a3b-2xh100")
    rows = np.arange(1, 257)
    energy = decode_energy(engine, rows, rows * 600)
    features = np.stack([np.ones_like(rows), rows], axis=1).astype(float)
    weights = 1.0 / energy
    fit = np.linalg.lstsq(features * weights[:, None], energy * weights, rcond=None)[0]
    error = np.abs(features @ fit / energy - 1)
    assert error.mean() > 0.05


@given(st.integers(0, 100), st.integers(1, 120))
def test_prefill_beside_a_large_batch_touches_fewer_new_experts(rows, prefill):
    engine = engine_type("qwen3-30b-a3b-2xh100")
    dense = replace(engine, experts=None)
    column = np.array([rows, rows + 50])
    none = np.zeros(2, np.int64)
    reading = energy_j(engine, column, none, none + prefill, none)
    reading = reading - energy_j(dense, column, none, none + prefill, none)
    assert reading[0] > reading[1] > 0


def test_an_unknown_engine_type_is_answered_with_the_known_ones():
    with pytest.raises(ConfigurationError, match=r"llama-3\.1-8b-h100"):
        engine_type("gpt-2")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (("[15.952, 8.165, 4.1911]", "[15.952, 7.165, 4.1911]"), "ascending"),
        (("max_batch: 510", "max_batch: 9999"), "beyond the last measured batch"),
        (("token_budget: 8192", "token_budget: 12"), "at least max_batch"),
        (("knee_tokens: 128", "knee: 128"), "knee_tokens"),
    ],
)
def test_a_broken_table_is_refused_with_the_field_that_is_wrong(tmp_path, change, reason):
    path = tmp_path / "engines.yaml"
    path.write_text(sample_path("engines.yaml").read_text().replace(*change))
    with pytest.raises(DataError, match=reason):
        read_engine_types(path)
