"""Fairness: a method that is the truth is at distance 0, and known errors give known distances."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluation.carbon import Carbon, constant
from evaluation.criteria.fairness import distance, grouped, relative_errors
from evaluation.fitting import FittedModel, fit_energy_model
from evaluation.methods import MethodSettings, charge, parse_methods
from evaluation.runs import System, run_system
from evaluation.table_games import iteration_shapley
from producers.simulation.engine_types import engine_type
from producers.simulation.requests import from_columns
from streams.attribution import EnergyModel

SYSTEM = System(engine_type("llama-3.1-8b-h100"), Carbon(constant(400.0), constant(0.01)))
VALUES = st.lists(st.floats(0.01, 100), min_size=1, max_size=30).map(np.array)


@given(VALUES)
def test_the_shapley_value_is_at_distance_0_from_itself(values):
    found = distance(values, values)
    assert found.mean_percent == found.p95_percent == found.worst_percent == 0.0
    assert found.worst_g == found.misplaced_percent == found.unassigned_percent == 0.0


@given(VALUES, st.floats(0.1, 3.0))
def test_charging_everybody_the_same_factor_is_that_far_off(values, factor):
    found = distance(factor * values, values)
    for percent in (found.mean_percent, found.worst_percent):
        assert percent == pytest.approx(100 * abs(factor - 1), rel=1e-9, abs=1e-9)
    assert found.unassigned_percent == pytest.approx(100 * (1 - factor), rel=1e-9, abs=1e-9)


def test_the_worst_player_and_the_sign_are_named():
    found = distance(np.array([1.0, 4.0, 3.0]), np.array([1.0, 2.0, 5.0]))
    assert (found.worst_player, found.worst_signed_percent) == (1, 100.0)
    assert found.misplaced_percent == pytest.approx(25.0)


def test_charging_a_null_player_is_infinitely_unfair_and_leaving_it_alone_is_not():
    errors = relative_errors(np.array([0.0, 1.0]), np.array([0.0, 0.0]))
    assert errors.tolist() == [0.0, np.inf]
    assert distance(np.array([2.0, 1.0]), np.array([2.0, 0.0])).worst_percent == np.inf


def test_an_equal_split_of_identical_requests_is_fair():
    requests = from_columns([0] * 6, [300] * 6, [40] * 6)
    run = run_system(requests, SYSTEM)
    settings = MethodSettings(fit_energy_model(run), (1.0, 1.0))
    for method in parse_methods(["request", "token:1,4", "utilisation", "shapley", "price"], settings):
        found = distance(charge(method, run, 1), iteration_shapley(run))
        assert found.worst_percent == pytest.approx(0.0, abs=1e-9), method.name


def test_a_model_that_is_the_truth_gives_the_truth():
    """The closed form is exact where the engine's tables are the model's own terms."""
    known = EnergyModel(fixed_j=2.75, request_j=0.25)
    flat = replace(
        SYSTEM.engine,
        batches=np.array([1.0, 510.0]),
        energy_j=np.array([3.0, 3.0 + 0.25 * 509]),
        iteration_ms=np.array([8.0, 8.0]),
        context_j_per_token=0.0,
        context_ms_per_token=0.0,
        prefill_ms_below=0.0,
        prefill_ms_above=0.0,
        prefill_ms_per_pair=0.0,
    )
    requests = from_columns([0, 100_000, 9_000_000], [1, 1, 1], [400, 700, 300])
    run = run_system(requests, System(flat, Carbon(constant(400.0), constant(0.0))))
    (method,) = parse_methods(["shapley"], MethodSettings(FittedModel(known, "fit", 0.0, 0), (1.0, 1.0)))
    found = distance(charge(method, run, 1), iteration_shapley(run))
    assert found.worst_percent < 0.2  # a prefill row has no decode row's cost in the tables, but in the model


def test_tenants_are_charged_the_sum_of_their_requests():
    assert grouped(np.array([1.0, 2.0, 4.0]), np.array([1, 0, 1]), 3).tolist() == [2.0, 5.0, 0.0]
