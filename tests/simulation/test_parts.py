"""A run cut into parts is the same run."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from producers.simulation.engine import simulate, simulate_parts
from producers.simulation.engine_types import engine_type
from producers.simulation.requests import Requests, from_columns

ENGINE = replace(engine_type("llama-3.1-8b-h100"), max_batch=6, token_budget=96, kv_capacity_tokens=700)
PER_ITERATION = (
    "start_us",
    "end_us",
    "decode_rows",
    "prefill_rows",
    "context_tokens",
    "prefill_tokens",
    "prefill_pairs",
    "kv_tokens",
)


@st.composite
def traces(draw: st.DrawFn) -> Requests:
    count = draw(st.integers(1, 12))
    lengths = st.lists(st.integers(1, 250), min_size=count, max_size=count)
    arrivals = st.lists(st.integers(0, 400_000), min_size=count, max_size=count)
    shared = draw(st.booleans())
    prompts = draw(lengths)
    return from_columns(
        sorted(draw(arrivals)),
        prompts,
        draw(lengths),
        block_tokens=16 if shared else 0,
        blocks=[tuple(range(p // 16)) for p in prompts] if shared else None,
    )


@given(traces(), st.integers(1, 60), st.sampled_from(["continuous", "static"]))
def test_parts_put_together_are_the_whole_run(requests: Requests, length: int, mode: str) -> None:
    whole = simulate(requests, ENGINE, mode=mode)
    parts = list(simulate_parts(requests, ENGINE, mode=mode, part_iterations=length))
    for name in PER_ITERATION:
        together = np.concatenate([getattr(part, name) for part in parts])
        np.testing.assert_array_equal(together, getattr(whole, name), err_msg=name)
    assert sum(part.request_iterations for part in parts) == whole.request_iterations
    for name in ("finished_us", "lost_tokens", "reused_tokens", "preemptions"):
        total = sum(getattr(part, name) for part in parts)
        np.testing.assert_array_equal(total, getattr(whole, name), err_msg=name)


@given(traces(), st.integers(1, 60))
def test_a_cut_moves_no_row_to_another_iteration_or_context(requests: Requests, length: int) -> None:
    whole = _rows(simulate(requests, ENGINE), 0)
    cut, first = [], 0
    for part in simulate_parts(requests, ENGINE, part_iterations=length):
        cut.append(_rows(part, first))
        first += len(part.start_us)
    np.testing.assert_array_equal(np.sort(np.concatenate(cut), axis=0), np.sort(whole, axis=0))


@pytest.mark.parametrize("length", [1, 7, 10_000])
def test_every_part_but_the_last_has_the_asked_length(length: int) -> None:
    requests = from_columns([0, 0, 5], [40, 90, 10], [80, 60, 70])
    sizes = [len(part.start_us) for part in simulate_parts(requests, ENGINE, part_iterations=length)]
    assert all(size >= length for size in sizes[:-1])


def _rows(schedule, first):
    """(rows,) of request, iteration, context, new tokens as one structured array."""
    length = schedule.piece_length
    offset = np.arange(length.sum()) - np.repeat(np.cumsum(length) - length, length)
    columns = (
        np.repeat(schedule.piece_request, length).astype(np.int64),
        np.repeat(schedule.piece_first, length) + offset + first,
        np.repeat(schedule.piece_context, length) + offset,
        np.repeat(schedule.piece_new_tokens, length),
    )
    return np.rec.fromarrays(columns)
