"""Whatever fails, stalls, repeats or dies between any two steps: the ledger is the undisturbed one."""

from collections.abc import Iterator
from dataclasses import replace

import pytest

from tests.protocol.memory import decoding_once
from tests.protocol.mutants import MUTANTS
from tests.protocol.schedules import draw, failure_of, shrink, told
from tests.protocol.worker import Worker

SLICE = 1200
"""Schedules of each kind; `make test-simulation` runs a hundred thousand."""
ENOUGH = 400
"""Any one rule that is broken must be found within so many."""


@pytest.fixture(autouse=True, scope="module")
def remembered() -> Iterator[None]:
    with decoding_once():
        yield


def test_the_store_is_the_undisturbed_one_row_for_row_and_nothing_is_committed_before_it_is_durable():
    for seed in range(SLICE):
        failure = failure_of(draw(seed))
        assert failure is None, told(shrink(failure))


def test_with_frames_later_than_any_wait_the_books_close_and_every_frame_is_booked_or_recorded():
    for seed in range(SLICE // 2):
        failure = failure_of(draw(seed, late=True))
        assert failure is None, told(shrink(failure))


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.__name__)
def test_a_worker_that_breaks_one_rule_is_found_and_its_schedule_is_minimal(mutant: type[Worker]):
    failures = (failure_of(draw(seed), mutant) for seed in range(ENOUGH))
    failure = next((found for found in failures if found is not None), None)
    assert failure is not None, f"{mutant.__name__} survived {ENOUGH} schedules"
    smallest = shrink(failure, mutant)
    actions = smallest.schedule.actions
    for index in range(len(actions)):
        without = replace(smallest.schedule, actions=actions[:index] + actions[index + 1 :])
        assert failure_of(without, mutant) is None


def test_a_seed_draws_the_same_schedule_and_the_same_verdict():
    assert draw(7) == draw(7)
    assert failure_of(draw(7), MUTANTS[0]) == failure_of(draw(7), MUTANTS[0])
