"""Shapley values of the counterfactual game equal an enumeration by independent code."""

from dataclasses import replace
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evaluation import counterfactual
from evaluation.carbon import Carbon, Signal, constant
from evaluation.coalitions import game_of, workers
from evaluation.counterfactual import all_coalitions, counterfactual_shapley, lookup
from evaluation.runs import System, run_system
from producers.simulation.engine_types import EngineType, engine_type
from producers.simulation.physics import energy_j, iteration_ps, timing
from producers.simulation.requests import Requests, from_columns
from schemas.errors import AttributionError
from streams.attribution.baselines import leave_one_out

CI = Signal(np.array([0, 60_000, 250_000]), np.array([500.0, 90.0, 300.0]))
EMBODIED_G_PER_S = 0.02


def system(account: str = "serving") -> System:
    engine = replace(engine_type("llama-3.1-8b-h100"), token_budget=96, max_batch=4)
    return System(engine, Carbon(CI, constant(EMBODIED_G_PER_S), account))


@st.composite
def traces(draw: st.DrawFn, most: int = 4) -> Requests:
    count = draw(st.integers(1, most))
    lists = st.lists
    return from_columns(
        sorted(draw(lists(st.integers(0, 200_000), min_size=count, max_size=count))),
        draw(lists(st.integers(1, 250), min_size=count, max_size=count)),
        draw(lists(st.integers(1, 20), min_size=count, max_size=count)),
    )


def walked(engine: EngineType, requests: list[tuple[int, int, int]]) -> float:
    """gCO2e of (arrival µs, prompt, output) requests: continuous batching, one iteration after another."""
    times = timing(engine)
    waiting, queue, running, now, grams = list(requests), [], [], 0, 0.0
    while waiting or queue or running:
        while waiting and waiting[0][0] * 10**6 <= now:
            _, prompt, output = waiting.pop(0)
            queue.append({"left": prompt, "context": 0, "output": output})
        if not queue and not running:
            now = waiting[0][0] * 10**6
            continue
        decode = [r for r in running if not r["left"]]
        budget, chunks = engine.token_budget - len(decode), []
        for r in [r for r in running if r["left"]]:
            chunks.append((r, min(r["left"], budget)))
            budget -= chunks[-1][1]
        while queue and budget and len(running) < engine.max_batch:
            r = queue.pop(0)
            running.append(r)
            chunks.append((r, min(r["left"], budget)))
            budget -= chunks[-1][1]
        sums = (
            len(decode),
            sum(r["context"] for r in decode),
            sum(q for _, q in chunks),
            sum(q * r["context"] + q * (q + 1) // 2 for r, q in chunks),
        )
        end = now + iteration_ps(times, *sums)
        start_us, end_us = now // 10**6, end // 10**6
        mean_ci = 0.0
        steps = [*CI.start_us.tolist(), 10**12]
        for left, right, value in zip(steps[:-1], steps[1:], CI.values.tolist(), strict=True):
            mean_ci += value * max(0, min(right, end_us) - max(left, start_us)) / (end_us - start_us)
        joules = float(energy_j(engine, *(np.array([s]) for s in sums))[0])
        grams += joules * mean_ci / 3.6e6 + EMBODIED_G_PER_S * (end_us - start_us) / 1e6
        now = end
        for r in decode:
            r["context"] += 1
            r["output"] -= 1
        for r, q in chunks:
            r["left"] -= q
            r["context"] += q
            r["output"] -= not r["left"]
        running = [r for r in running if r["output"] or r["left"]]
    return grams


def by_permutations(requests: Requests, engine: EngineType) -> np.ndarray:
    """The mean marginal contribution over all orders of arrival in the coalition."""
    columns = (requests.arrival_us, requests.prompt_tokens, requests.output_tokens)
    rows = list(zip(*(column.tolist() for column in columns), strict=True))
    known: dict[frozenset[int], float] = {frozenset(): 0.0}
    values, orders = np.zeros(len(rows)), list(permutations(range(len(rows))))
    for order in orders:
        present: frozenset[int] = frozenset()
        for i in order:
            grown = present | {i}
            if grown not in known:
                known[grown] = walked(engine, [rows[j] for j in sorted(grown)])
            values[i] += (known[grown] - known[present]) / len(orders)
            present = grown
    return values


@settings(max_examples=30)
@given(traces())
def test_enumeration_equals_independent_code(requests):
    run = run_system(requests, system())
    truth = counterfactual_shapley(game_of(run), run, rel_tol=0.01, permutations=100, seed=1)
    np.testing.assert_allclose(
        truth.values_g, by_permutations(requests, run.system.engine), rtol=1e-9, atol=1e-14
    )


@settings(max_examples=15)
@given(traces(5), st.sampled_from(["serving", "always_on"]))
def test_values_add_up_to_what_is_shared_unless_a_coalition_outlasts_the_run(requests, account):
    run = run_system(requests, system(account))
    truth = counterfactual_shapley(game_of(run), run, rel_tol=0.01, permutations=100, seed=1)
    assert float(truth.values_g.sum()) == pytest.approx(run.total_g, rel=1e-9)


def test_identical_requests_have_identical_values():
    requests = from_columns([0] * 4, [120] * 4, [9] * 4)
    run = run_system(requests, system())
    values = counterfactual_shapley(game_of(run), run, rel_tol=0.01, permutations=100, seed=1).values_g
    # First come, first served orders equals: the one served later waits, but costs the same in the mean.
    assert float(np.ptp(values)) < 0.05 * float(values.mean())


def test_processes_change_nothing():
    requests = from_columns([0, 0, 30_000, 60_000], [40, 200, 90, 10], [12, 5, 20, 9])
    run = run_system(requests, system())
    coalitions = all_coalitions(4)
    with workers(2) as pool:
        np.testing.assert_array_equal(game_of(run, pool=pool)(coalitions), game_of(run)(coalitions))


def test_players_may_be_tenants():
    requests = from_columns([0, 10, 20], [40, 50, 60], [12, 5, 20], tenants=("a", "b"), tenant=[0, 1, 0])
    run = run_system(requests, system())
    game = game_of(run, player=requests.tenant.astype(np.int64))
    both, without_b = game(np.array([[True, True], [True, False]]))
    assert both == pytest.approx(run.total_g)
    alone = from_columns([0, 20], [40, 60], [12, 20])
    assert without_b == pytest.approx(run_system(alone, system()).total_g)


def test_sampling_is_within_its_intervals_of_the_enumeration(monkeypatch):
    rng = np.random.default_rng(5)
    requests = from_columns(
        np.sort(rng.integers(0, 300_000, 8)), rng.integers(5, 250, 8), rng.integers(2, 20, 8)
    )
    run = run_system(requests, system())
    exact = counterfactual_shapley(game_of(run), run, rel_tol=0.02, permutations=1, seed=1)
    monkeypatch.setattr(counterfactual, "ENUMERATED", 2)
    found = counterfactual_shapley(game_of(run), run, rel_tol=0.02, permutations=20, seed=1)
    assert found.simulations < 2**8
    assert (np.abs(found.values_g - exact.values_g) <= found.half_widths_g).all()


def test_leave_one_out_is_the_difference_that_a_request_makes():
    requests = from_columns([0, 0, 30_000], [40, 200, 90], [12, 5, 20])
    run = run_system(requests, system())
    engine = run.system.engine
    rows = [(0, 40, 12), (0, 200, 5), (30_000, 90, 20)]
    expected = [walked(engine, rows) - walked(engine, rows[:i] + rows[i + 1 :]) for i in range(3)]
    np.testing.assert_allclose(leave_one_out(game_of(run), 3), expected, rtol=1e-9)


def test_a_table_of_values_of_the_wrong_size_is_refused():
    with pytest.raises(AttributionError, match="a game of 3 players has 8"):
        lookup(np.zeros(7), 3)
