"""Axioms, sample efficiency, scalability and incentive on cases with a known answer."""

from dataclasses import replace

import numpy as np
import pytest

from evaluation.carbon import Carbon, constant
from evaluation.coalitions import no_progress
from evaluation.counterfactual import lookup
from evaluation.criteria.axioms import AXIOMS, check_axioms
from evaluation.criteria.incentive import EFFORTS, TRUTHS, rewards, summarise
from evaluation.criteria.sample_efficiency import sample_efficiency
from evaluation.criteria.scalability import Timing, axis_runs, exponents, time_methods
from evaluation.fitting import FittedModel
from evaluation.methods import ALL, Method, MethodSettings, parse_methods
from evaluation.runs import System
from producers.simulation.engine_types import engine_type
from producers.simulation.requests import from_columns
from streams.attribution import EnergyModel, shapley

FLAT = replace(
    engine_type("llama-3.1-8b-h100"),
    batches=np.array([1.0, 510.0]),
    iteration_ms=np.full(2, 10.0),
    energy_j=np.full(2, 36.0),
    context_ms_per_token=0.0,
    context_j_per_token=0.0,
    prefill_ms_below=0.0,
    prefill_ms_above=0.0,
    prefill_ms_per_pair=0.0,
)
SYSTEM = System(FLAT, Carbon(constant(400.0), constant(0.0)))
SETTINGS = MethodSettings(FittedModel(EnergyModel(fixed_j=36.0), "fit", 0.0, 0), (1.0, 4.0))

BROKEN = {
    "counterfactual Shapley": set(),
    "per-iteration Shapley": set(),
    "shapley": set(),
    "sampled": set(),
    "truncated:200": {"symmetry", "linearity"},
    "leave_one_out": {"efficiency"},
    "utilisation": {"symmetry"},
    "token:1,1": {"symmetry", "null player", "linearity"},
    "token_best": {"symmetry", "null player", "linearity"},
    "price": {"symmetry", "null player", "linearity"},
    "request": {"null player", "linearity"},
    "time": {"null player", "linearity"},
    "provisioned": {"symmetry", "null player", "linearity"},
}


def test_each_method_breaks_the_axioms_it_is_known_to_break_and_no_other():
    verdicts = check_axioms(ALL, (1.0, 4.0), seed=3)
    found = {name: {v.axiom for v in verdicts if v.method == name and not v.kept} for name in BROKEN}
    assert found == BROKEN
    assert {v.axiom for v in verdicts} == set(AXIOMS)


def test_every_broken_axiom_has_a_witness_and_no_kept_one():
    for verdict in check_axioms(ALL, (1.0, 4.0), seed=3):
        assert bool(verdict.witness) is not verdict.kept


def test_an_estimator_that_is_exact_needs_the_first_rung_only():
    additive = np.array([1.0, 2.0, 3.0])
    game = lookup(np.array([additive[[bool(i >> b & 1) for b in range(3)]].sum() for i in range(8)]), 3)
    found = sample_efficiency(
        "additive", game, additive, repeats=3, ladder=(25, 50), seed=1, progress=no_progress
    )
    assert all(e.median_player == e.worst_player < e.largest_tried + 1 for e in found)
    assert {e.worst_player for e in found if e.estimator.startswith("truncated")} == {25 * 2 + 2.0}


def test_a_fixed_cost_needs_more_samples_the_smaller_epsilon_is():
    """The marginals of v = 1[S not empty] are 0 or 1: N grows as 1/ε², so 1 % is out of reach here."""
    n = 6
    values = np.ones(2**n)
    values[0] = 0.0
    game = lookup(values, n)
    found = sample_efficiency(
        "fixed",
        game,
        shapley.exact(game, n),
        repeats=40,
        ladder=(25, 100, 400, 1600, 6400),
        seed=1,
        progress=no_progress,
    )
    needed = {e.epsilon: e.worst_player for e in found if e.estimator.startswith("truncated")}
    assert needed[0.01] == np.inf
    assert needed[0.05] > needed[0.20]


def test_the_fitted_exponent_is_the_power_that_the_times_follow():
    timings = [
        Timing("requests", name, 1, 10, 100, size, 1e-6 * size**power, 0.0, 0.0)
        for name, power in (("square", 2), ("flat", 0))
        for size in (16, 32, 64, 128)
    ]
    found = {e.method: e for e in exponents(timings)}
    assert found["square"].exponent == pytest.approx(2.0)
    assert found["flat"].exponent == pytest.approx(0.0, abs=1e-12)
    assert found["square"].standard_error < 1e-9


@pytest.mark.parametrize("axis", ["clients", "iterations", "tokens", "requests"])
def test_an_axis_grows_what_it_names(axis):
    runs = list(axis_runs(System(engine_type("llama-3.1-8b-h100"), SYSTEM.carbon), axis, 3))
    timings = time_methods(
        parse_methods(["request"], SETTINGS),
        runs,
        axis,
        repeats=1,
        limit_s=9.0,
        seed=1,
        progress=lambda done: None,
    )
    sizes = [getattr(timing, axis) for timing in timings]
    assert sizes[0] < sizes[1] < sizes[2]
    held = {"clients": ("requests", "tokens", "iterations"), "iterations": ("requests", "tokens")}
    for other in held.get(axis, ()):
        assert len({getattr(timing, other) for timing in timings}) == 1


def test_rewards_are_those_of_the_definition():
    """On an engine that charges per iteration, half the output of a lonely request halves its carbon."""
    requests = from_columns([0, 5_000_000], [100, 300], [40, 80])
    methods = parse_methods(["request", "token:1,0", "shapley"], SETTINGS)
    found = {(r.effort, r.method): r for r in summarise([rewards(requests, SYSTEM, methods, seed=1)])}
    for truth in (*TRUTHS, "shapley"):
        assert found["half the output", truth].mean == pytest.approx(0.5)
        assert found["thought stopped early", truth].mean == pytest.approx(0.75)
        assert found["half the prompt", truth].mean == pytest.approx(0.0, abs=1e-12)
        assert found["half the output", truth].off_truth == pytest.approx(0.0, abs=1e-12)
    # Per request: whoever saves 20 or 40 of 120 iterations shares the saving with the other.
    assert found["half the output", "request"].mean == pytest.approx((20 / 120 + 40 / 120) / 2)
    # By prompt tokens alone: C(p) = 120·100/400 falls to 120·50/350, and 120·300/400 to 120·150/250.
    expected = ((100 / 400 - 50 / 350) / (100 / 400) + (300 / 400 - 150 / 250) / (300 / 400)) / 2
    assert found["half the prompt", "token:1,0"].mean == pytest.approx(expected)
    assert set(EFFORTS) == {effort for effort, _ in found}


def test_a_method_that_rewards_waste_has_a_reward_below_zero():
    def longer_is_cheaper(run, seed):
        return 1.0 / run.requests.prompt_tokens.astype(float)

    requests = from_columns([0, 5_000_000], [100, 300], [40, 80])
    wasteful = Method("wasteful", "wasteful", longer_is_cheaper)
    found = {(r.effort, r.method): r for r in summarise([rewards(requests, SYSTEM, [wasteful], seed=1)])}
    assert found["half the prompt", "wasteful"].worst == pytest.approx(-1.0)
