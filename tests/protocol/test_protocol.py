"""Whatever fails, stalls, repeats or dies between any two steps: the ledger is the undisturbed one."""

from collections.abc import Iterator
from dataclasses import replace

import pytest

from tests.protocol.memory import remembering
from tests.protocol.mutants import LATE_MUTANTS, MUTANTS
from tests.protocol.schedules import draw, failure_of, shrink, told

SLICE = 1200
"""Schedules without late frames; `make test-simulation` runs a hundred thousand."""
LATE_SLICE = SLICE // 2
"""The same with frames later than any wait. Any one rule that is broken must be found within its slice."""


@pytest.fixture(autouse=True, scope="module")
def remembered() -> Iterator[None]:
    with remembering():
        yield


def test_the_store_is_the_undisturbed_one_row_for_row_and_nothing_is_committed_before_it_is_durable() -> None:
    for seed in range(SLICE):
        failure = failure_of(draw(seed))
        assert failure is None, told(shrink(failure))


def test_with_frames_later_than_any_wait_repairs_end_at_what_was_booked_had_they_come_in_time() -> None:
    for seed in range(LATE_SLICE):
        failure = failure_of(draw(seed, late=True))
        assert failure is None, told(shrink(failure))


@pytest.mark.parametrize(
    ("mutant", "late"), [*((name, False) for name in MUTANTS), *((name, True) for name in LATE_MUTANTS)]
)
def test_what_breaks_one_rule_is_found_and_its_schedule_is_minimal(mutant: str, late: bool) -> None:
    parts = (LATE_MUTANTS if late else MUTANTS)[mutant]
    enough = LATE_SLICE if late else SLICE
    failures = (failure_of(draw(seed, late=late), parts) for seed in range(enough))
    failure = next((found for found in failures if found is not None), None)
    assert failure is not None, f"{mutant} survived {enough} schedules"
    smallest = shrink(failure, parts)
    actions = smallest.schedule.actions
    for index in range(len(actions)):
        without = replace(smallest.schedule, actions=actions[:index] + actions[index + 1 :])
        assert failure_of(without, parts) is None


def test_a_seed_draws_the_same_schedule_and_the_same_verdict() -> None:
    assert draw(7) == draw(7)
    mutant = next(iter(MUTANTS.values()))
    assert failure_of(draw(7), mutant) == failure_of(draw(7), mutant)
