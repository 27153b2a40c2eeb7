"""The closed form of the per-iteration truth is the definition, enumerated over the measured tables."""

from dataclasses import replace
from itertools import combinations
from math import factorial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evaluation.carbon import Carbon, Signal, constant
from evaluation.fixed_schedule import fixed_schedule_game
from evaluation.runs import Run, System, run_system
from evaluation.table_games import iteration_shapley, iteration_sum_game, one_iteration_shapley
from producers.simulation.engine_types import engine_type, engine_types
from producers.simulation.physics import energy_j, iteration_ps, timing
from producers.simulation.requests import Requests, from_columns

CI = Signal(np.array([0, 150_000, 400_000]), np.array([500.0, 90.0, 300.0]))


@st.composite
def traces(draw: st.DrawFn) -> Requests:
    count = draw(st.integers(1, 5))
    lists = st.lists
    return from_columns(
        sorted(draw(lists(st.integers(0, 300_000), min_size=count, max_size=count))),
        draw(lists(st.integers(1, 300), min_size=count, max_size=count)),
        draw(lists(st.integers(1, 25), min_size=count, max_size=count)),
    )


def system(name: str = "llama-3.1-8b-h100", account: str = "serving", mode: str = "continuous") -> System:
    """Small limits, so that chunks, the knee and preemptions occur with a handful of requests."""
    engine = replace(engine_type(name), token_budget=160, max_batch=8, kv_capacity_tokens=700)
    return System(engine, Carbon(CI, constant(0.02), account), mode)


def by_definition(run: Run) -> np.ndarray:
    """Shapley values of every iteration from its rows, one coalition at a time; no code of ours but the tables."""
    engine = run.system.engine
    times = timing(engine)
    values = np.zeros(len(run.requests))
    for segment in run.segments():
        schedule = segment.schedule
        for t in range(len(schedule.start_us)):
            rows = [
                (int(r), bool(p), int(q), int(c) + t - int(f))
                for r, f, n, c, q, p in zip(
                    schedule.piece_request,
                    schedule.piece_first,
                    schedule.piece_length,
                    schedule.piece_context,
                    schedule.piece_new_tokens,
                    schedule.piece_prefill,
                    strict=True,
                )
                if f <= t < f + n
            ]

            def cost(present, t=t, segment=segment):
                if not present:
                    return 0.0, 0.0
                decode = [row for row in present if not row[1]]
                chunks = [row for row in present if row[1]]
                sums = (
                    len(decode),
                    sum(row[3] for row in decode),
                    sum(row[2] for row in chunks),
                    sum(q * c + q * (q + 1) // 2 for _, _, q, c in chunks),
                )
                joules = float(energy_j(engine, *(np.array([s]) for s in sums))[0])
                return joules * segment.per_joule_g[t], iteration_ps(times, *sums) * segment.per_second_g[t]

            # Times are whole microseconds in the schedule: scale the clock's game to them.
            clock = float(segment.seconds[t] / iteration_ps(times, *totals(rows)))
            n = len(rows)
            for i, row in enumerate(rows):
                others = rows[:i] + rows[i + 1 :]
                for size in range(n):
                    weight = factorial(size) * factorial(n - size - 1) / factorial(n)
                    for before in combinations(others, size):
                        with_i, without = cost([*before, row]), cost(list(before))
                        values[row[0]] += weight * (with_i[0] - without[0] + clock * (with_i[1] - without[1]))
    return values


def totals(rows):
    decode = [row for row in rows if not row[1]]
    chunks = [row for row in rows if row[1]]
    return (
        len(decode),
        sum(row[3] for row in decode),
        sum(row[2] for row in chunks),
        sum(q * c + q * (q + 1) // 2 for _, _, q, c in chunks),
    )


@settings(max_examples=25)
@given(traces(), st.sampled_from(sorted(engine_types())), st.sampled_from(["serving", "always_on"]))
def test_the_closed_form_is_the_definition(requests, name, account):
    run = run_system(requests, system(name, account))
    np.testing.assert_allclose(
        iteration_shapley(run), by_definition(run), rtol=1e-9, atol=1e-12 * abs(run.total_g)
    )


@settings(max_examples=40)
@given(traces(), st.sampled_from(sorted(engine_types())), st.sampled_from(["continuous", "static"]))
def test_shares_add_up_to_the_carbon_that_is_shared(requests, name, mode):
    run = run_system(requests, system(name, mode=mode))
    assert float(iteration_shapley(run).sum()) == pytest.approx(run.total_g, rel=1e-12)


@settings(max_examples=20)
@given(traces())
def test_the_game_of_the_whole_schedule_has_the_same_shapley_values(requests):
    run = run_system(requests, system("qwen3-30b-a3b-2xh100"))
    game, n = fixed_schedule_game(run), len(requests)
    values = np.zeros(n)
    for i in range(n):
        for size in range(n):
            for before in combinations([j for j in range(n) if j != i], size):
                members = np.zeros((2, n), np.bool_)
                members[:, list(before)] = True
                members[1, i] = True
                without, with_i = game(members)
                values[i] += factorial(size) * factorial(n - size - 1) / factorial(n) * (with_i - without)
    np.testing.assert_allclose(values, iteration_shapley(run), rtol=1e-9, atol=1e-14)


def test_one_iteration_as_a_black_box_is_the_same_game():
    requests = from_columns([0, 0, 0, 9_000], [40, 90, 10, 200], [30, 25, 40, 20])
    run = run_system(requests, system())
    segment = next(run.segments())
    for t in (0, 1, 5, 12):
        game, who = iteration_sum_game(segment, run.system.engine, t)
        whole = float(game(np.ones((1, len(who)), np.bool_))[0])
        assert whole == pytest.approx(float(segment.carbon_g[t]), rel=1e-12)
        assert game(np.zeros((1, len(who)), np.bool_))[0] == 0.0
        alone = one_iteration_shapley(segment, run.system.engine, t)
        assert float(alone[who].sum()) == pytest.approx(whole, rel=1e-12)


def test_a_run_in_segments_gives_the_same_charges(monkeypatch):
    requests = from_columns([0, 0, 5_000], [40, 90, 10], [80, 60, 70])
    whole = run_system(requests, system())
    monkeypatch.setattr("evaluation.runs._SEGMENT_ITERATIONS", 7)
    monkeypatch.setattr("evaluation.runs._KEPT_SEGMENTS", 1)
    cut = run_system(requests, system())
    assert cut.kept is None
    assert cut.total_g == pytest.approx(whole.total_g, rel=1e-12)
    np.testing.assert_array_equal(cut.admitted_us, whole.admitted_us)
    np.testing.assert_array_equal(cut.finished_us, whole.finished_us)
    np.testing.assert_allclose(iteration_shapley(cut), iteration_shapley(whole), rtol=1e-12)
