"""The methods under judgement: what they are proportional to, how they are named, and how one's own is added."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluation import methods as methods_module
from evaluation.carbon import Carbon, constant
from evaluation.fitting import fit_energy_model
from evaluation.methods import ALL, MethodSettings, charge, parse_methods
from evaluation.naive import best_token_weights, per_token
from evaluation.runs import System, run_system
from evaluation.table_games import iteration_shapley
from producers.simulation.engine_types import engine_type
from producers.simulation.requests import from_columns
from schemas.errors import ConfigurationError

SYSTEM = System(engine_type("llama-3.1-8b-h100"), Carbon(constant(400.0), constant(0.01)))
REQUESTS = from_columns(
    [0, 5_000, 9_000, 60_000, 65_000], [300, 40, 900, 120, 10], [20, 90, 10, 60, 30], block_tokens=0
)
RUN = run_system(REQUESTS, SYSTEM)
SETTINGS = MethodSettings(fit_energy_model(RUN), (1.0, 3.0))


def charges(name: str, run=RUN) -> np.ndarray:
    (method,) = parse_methods([name], SETTINGS)
    return charge(method, run, seed=7)


@pytest.mark.parametrize("name", [name for name in ALL if name != "leave_one_out"])
def test_every_method_but_leave_one_out_charges_what_was_emitted(name):
    assert float(charges(name).sum()) == pytest.approx(RUN.total_g, rel=1e-9)


def test_leave_one_out_leaves_something_with_the_provider():
    assert 0 < float(charges("leave_one_out").sum()) < 0.95 * RUN.total_g


def test_tokens_are_weighted_as_asked():
    loads = 2.0 * REQUESTS.prompt_tokens + 7.0 * REQUESTS.output_tokens
    np.testing.assert_allclose(charges("token:2,7"), RUN.total_g * loads / loads.sum())


def test_prices_are_those_of_the_list_and_cached_prompts_are_cheaper():
    blocks = [(1, 2), (1, 2)]
    requests = from_columns([0, 3_000_000], [64, 64], [10, 10], block_tokens=32, blocks=blocks)
    run = run_system(requests, SYSTEM)
    assert run.cached_tokens.tolist() == [0, 32]
    bill = np.array([64 * 2.0 + 10 * 8.0, 32 * 2.0 + 32 * 0.5 + 10 * 8.0])
    np.testing.assert_allclose(charges("price:2,0.5,8", run), run.total_g * bill / bill.sum())


def test_utilisation_splits_each_iteration_by_tokens():
    expected = np.zeros(len(REQUESTS))
    for segment in RUN.segments():
        schedule = segment.schedule
        for t, grams in enumerate(segment.carbon_g):
            here = (schedule.piece_first <= t) & (t < schedule.piece_first + schedule.piece_length)
            tokens = np.bincount(schedule.piece_request[here], schedule.piece_new_tokens[here], len(REQUESTS))
            expected += grams * tokens / tokens.sum()
    np.testing.assert_allclose(charges("utilisation"), expected)


@given(st.floats(0.01, 50.0))
def test_no_token_weights_are_closer_to_the_truth_than_the_best_ones(w2):
    truth = iteration_shapley(RUN)

    def off(weights):
        return float(np.mean(np.abs(per_token(RUN, *weights) - truth) / truth))

    assert off(best_token_weights(RUN, truth)) <= off((1.0, w2)) + 1e-3


def test_the_same_seed_gives_the_same_sample_and_another_seed_another():
    (method,) = parse_methods(["truncated:5"], SETTINGS)
    first, again, other = charge(method, RUN, 1), charge(method, RUN, 1), charge(method, RUN, 2)
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize(
    "name",
    [
        "tokens",
        "shapley:3",
        "token:1",
        "token:a,b",
        "token:0,0",
        "truncated:0",
        "truncated:1.5",
        "truncated:200,1",
        "price:1",
    ],
)
def test_a_name_that_means_nothing_is_refused(name):
    with pytest.raises(ConfigurationError, match="method"):
        parse_methods([name], SETTINGS)


class EntryPoints(dict):
    """What importlib.metadata.entry_points gives, with methods of one's own."""

    @property
    def names(self):
        return set(self)


class Loaded:
    """One entry point."""

    def __init__(self, function):
        self.function = function

    def load(self):
        return self.function


def test_a_function_of_ones_own_is_found_by_its_entry_point(monkeypatch):
    def by_output(run, seed):
        return run.total_g * run.requests.output_tokens / run.requests.output_tokens.sum()

    found = EntryPoints({"by_output": Loaded(by_output)})
    monkeypatch.setattr(
        methods_module, "entry_points", lambda group: found if group == "wattledger.methods" else {}
    )
    np.testing.assert_allclose(charges("by_output"), charges("token:0,1"))


def test_a_function_that_returns_something_else_is_named(monkeypatch):
    found = EntryPoints({"wrong": Loaded(lambda run, seed: np.zeros(2))})
    monkeypatch.setattr(methods_module, "entry_points", lambda group: found)
    with pytest.raises(ConfigurationError, match=r"method wrong returned shape \(2,\) for 5 requests"):
        charges("wrong")


def test_the_fit_recovers_the_energy_of_windows():
    rng = np.random.default_rng(2)
    requests = from_columns(
        np.sort(rng.integers(0, 60_000_000, 400)), rng.integers(10, 800, 400), rng.integers(5, 200, 400)
    )
    assert fit_energy_model(run_system(requests, SYSTEM)).median_error < 0.02


def test_a_permutation_cut_short_leaves_energy_with_nobody():
    whole, cut = charges("truncated:50"), charges("truncated:50,0.3")
    assert float(whole.sum()) == pytest.approx(RUN.total_g)
    assert float(cut.sum()) < 0.99 * RUN.total_g
