"""The simulated engine: every token once, no limit exceeded, the same schedule as a plain walk."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from producers.simulation.engine import simulate
from producers.simulation.engine_types import EngineType, engine_type, engine_types
from producers.simulation.requests import Requests, from_columns
from producers.simulation.schedule import Schedule
from schemas.errors import DataError
from simulation.reference import walk


def small_engine(name: str = "llama-3.1-8b-h100") -> EngineType:
    """An engine so small that every limit is met by a handful of requests."""
    return replace(engine_type(name), kv_capacity_tokens=120, max_batch=5, token_budget=16)


@st.composite
def traces(draw: st.DrawFn, *, shared_prefixes: bool = False) -> Requests:
    count = draw(st.integers(1, 14))
    gaps = draw(st.lists(st.integers(0, 40_000), min_size=count, max_size=count))
    prompts = draw(st.lists(st.integers(1, 60), min_size=count, max_size=count))
    outputs = draw(st.lists(st.integers(1, 60), min_size=count, max_size=count))
    blocks = None
    if shared_prefixes:
        paths = draw(st.lists(st.integers(0, 3), min_size=count, max_size=count))
        blocks = [
            tuple(path * 100 + i for i in range(-(-p // 8))) for path, p in zip(paths, prompts, strict=True)
        ]
    return from_columns(
        np.cumsum(gaps), prompts, outputs, block_tokens=8 if shared_prefixes else 0, blocks=blocks
    )


def per_request(schedule: Schedule, values: np.ndarray, count: int) -> np.ndarray:
    return np.bincount(schedule.piece_request, weights=values, minlength=count).astype(np.int64)


@given(traces(), st.sampled_from(sorted(engine_types())), st.sampled_from(["continuous", "static"]))
def test_the_schedule_equals_a_walk_iteration_by_iteration(trace, name, mode):
    engine = small_engine(name)
    schedule = simulate(trace, engine, mode=mode)
    plain = walk(trace, engine, static=mode == "static")
    columns = (
        schedule.start_us,
        schedule.end_us,
        schedule.decode_rows,
        schedule.context_tokens,
        schedule.prefill_tokens,
    )
    assert list(zip(*(column.tolist() for column in columns), strict=True)) == plain.iterations
    assert schedule.finished_us.tolist() == plain.finished_us


@pytest.mark.parametrize("mode", ["continuous", "static"])
@pytest.mark.parametrize("shared_prefixes", [False, True])
def test_every_token_is_computed_once_and_again_only_after_a_preemption(mode, shared_prefixes):
    @given(traces(shared_prefixes=shared_prefixes))
    def holds(trace):
        schedule = simulate(trace, small_engine(), mode=mode)
        count = len(trace)
        computed = per_request(schedule, schedule.piece_length * schedule.piece_new_tokens, count)
        once = trace.prompt_tokens + trace.output_tokens - 1
        assert computed.tolist() == (once - schedule.reused_tokens + schedule.lost_tokens).tolist()
        emitted = per_request(schedule, schedule.piece_length * schedule.piece_emitted, count)
        assert emitted.tolist() == trace.output_tokens.tolist()
        assert np.all((schedule.lost_tokens > 0) == (schedule.preemptions > 0))

    holds()


@pytest.mark.parametrize("shared_prefixes", [False, True])
def test_budget_batch_and_kv_capacity_are_never_exceeded(shared_prefixes):
    @given(traces(shared_prefixes=shared_prefixes))
    def holds(trace):
        engine = small_engine()
        schedule = simulate(trace, engine)
        assert np.all(schedule.decode_rows + schedule.prefill_tokens <= engine.token_budget)
        assert np.all(schedule.decode_rows + schedule.prefill_rows <= engine.max_batch)
        assert np.all(schedule.decode_rows + schedule.prefill_tokens > 0)
        assert np.all(schedule.kv_tokens <= engine.kv_capacity_tokens)

    holds()


@given(traces(shared_prefixes=True))
def test_iterations_are_disjoint_and_requests_wait_for_their_arrival(trace):
    schedule = simulate(trace, small_engine())
    assert np.all(schedule.end_us > schedule.start_us)
    assert np.all(schedule.start_us[1:] >= schedule.end_us[:-1])
    assert np.all(schedule.admitted_us >= trace.arrival_us)
    assert np.all(schedule.finished_us > schedule.admitted_us)
    assert sorted(schedule.admission.tolist()) == list(range(len(trace)))


@given(traces(shared_prefixes=True))
def test_a_request_is_never_twice_in_one_iteration_and_its_context_continues(trace):
    schedule = simulate(trace, small_engine())
    for request in range(len(trace)):
        mine = np.flatnonzero(schedule.piece_request == request)
        mine = mine[np.argsort(schedule.piece_first[mine])]
        ends = schedule.piece_first[mine] + schedule.piece_length[mine]
        assert np.all(schedule.piece_first[mine][1:] >= ends[:-1])
        after = schedule.piece_context[mine] + schedule.piece_length[mine] * schedule.piece_new_tokens[mine]
        restarts = int(np.sum(schedule.piece_context[mine][1:] != after[:-1]))
        assert restarts <= schedule.preemptions[request]
        assert after[-1] == trace.prompt_tokens[request] + trace.output_tokens[request] - 1


@given(traces(shared_prefixes=True))
def test_the_same_requests_give_the_same_schedule(trace):
    first, second = simulate(trace, small_engine()), simulate(trace, small_engine())
    for name in Schedule.__slots__:
        assert np.array_equal(getattr(first, name), getattr(second, name))


def test_an_equal_prompt_is_found_in_the_prefix_cache_but_for_its_last_block():
    engine = replace(small_engine(), kv_capacity_tokens=1000, token_budget=64)
    trace = from_columns([0, 10**6], [32, 32], [2, 2], block_tokens=8, blocks=[(1, 2, 3, 4), (1, 2, 3, 4)])
    assert simulate(trace, engine).cached_tokens.tolist() == [0, 24]


def test_a_cached_prefix_is_forgotten_when_its_memory_is_needed():
    engine = replace(small_engine(), kv_capacity_tokens=64, token_budget=64)
    blocks = [(1, 2, 3, 4), tuple(range(10, 17)), (1, 2, 3, 4)]
    trace = from_columns([0, 10**6, 2 * 10**6], [32, 56, 32], [2, 2, 2], block_tokens=8, blocks=blocks)
    assert simulate(trace, engine).cached_tokens.tolist() == [0, 0, 0]


def test_static_batching_admits_nobody_until_the_batch_is_done():
    trace = from_columns([0, 1000], [10, 10], [50, 2])
    static = simulate(trace, engine_type("llama-3.1-8b-h100"), mode="static")
    continuous = simulate(trace, engine_type("llama-3.1-8b-h100"))
    assert static.admitted_us[1] == static.finished_us[0]
    assert continuous.finished_us[1] < continuous.finished_us[0]


def test_a_request_larger_than_the_kv_cache_is_refused_by_name():
    trace = from_columns([0, 5], [10, 100], [1, 30], source="trace.csv", lines=[2, 3])
    with pytest.raises(
        DataError, match=r"trace\.csv:3: prompt_tokens 100 \+ output_tokens 30 exceed the 120 KV tokens"
    ):
        simulate(trace, small_engine())
