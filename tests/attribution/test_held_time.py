"""The time game: what an iteration took is held by those who were in it, and by nobody else."""

import numpy as np
import pytest

from schemas.errors import AttributionError
from streams.attribution import TimeModel, Trace, held_time


def two_requests():
    return Trace.from_rows(
        [0, 1, 2, 1, 2], [0, 0, 0, 1, 1], [1, 1, 1, 64, 1], [10, 11, 12, 0, 64],
        iterations=4, requests=2, weights=[1.0, 1.0, 0.5, 1.0],
    )  # fmt: skip


def test_the_time_of_iterations_with_rows_is_shared_out_completely():
    durations = np.array([1e6, 2e6, 4e6, 9e6])
    held = held_time(two_requests(), durations)
    assert held.sum() == pytest.approx(1e6 + 2e6 + 0.5 * 4e6, rel=1e-12)


def test_alone_a_request_holds_its_whole_iteration_and_a_prefill_holds_more_than_a_decode():
    held = held_time(two_requests(), np.array([1e6, 2e6, 0.0, 0.0]))
    assert held[0] > 1e6
    assert held[1] > 1e6


def test_with_a_fixed_part_only_everybody_holds_the_same():
    held = held_time(two_requests(), np.array([0.0, 2e6, 4e6, 0.0]), TimeModel(1.0, 0.0, 0.0, 0.0))
    np.testing.assert_allclose(held, [2e6, 2e6])


@pytest.mark.parametrize(
    "numbers", [(0.0, 0.0, 1.0, 1.0), (-1.0, 1.0, 0.0, 0.0), (float("nan"), 1.0, 0.0, 0.0)]
)
def test_a_time_model_that_holds_nothing_is_an_error(numbers):
    with pytest.raises(AttributionError, match="time model"):
        TimeModel(*numbers)
