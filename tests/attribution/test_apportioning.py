"""Microjoules: every split meets its total exactly, whatever the floats."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.errors import AttributionError
from streams.attribution import apportion, largest_remainder

weights = st.lists(st.floats(0, 1e9, allow_nan=False), min_size=1, max_size=60).filter(
    lambda w: sum(w) > 1e-6
)


@given(weights, st.integers(0, 10**13))
def test_shares_sum_to_the_total_exactly(parts, total):
    assert int(apportion(np.array(parts), total).sum()) == total


@given(weights, st.integers(0, 10**12))
def test_no_share_is_a_whole_microjoule_away_from_its_exact_part(parts, total):
    exact = np.array(parts) * (total / sum(parts))
    assert np.all(np.abs(apportion(np.array(parts), total) - exact) <= 1.0 + 1e-9 * exact)


@given(weights, st.integers(1, 10**12))
def test_equal_weights_differ_by_at_most_one_and_earlier_positions_come_first(parts, total):
    shares = apportion(np.array(parts * 2), total)
    first, second = shares[: len(parts)], shares[len(parts) :]
    assert np.all((first - second >= 0) & (first - second <= 1))


def test_the_units_left_over_go_to_the_largest_fractions_then_to_the_earliest():
    assert largest_remainder(np.array([1.5, 1.5, 1.75, 0.25]), 5).tolist() == [2, 1, 2, 0]


def test_values_below_zero_are_rounded_like_others():
    assert largest_remainder(np.array([-0.5, 2.5]), 2).tolist() == [0, 2]


def test_nothing_to_split_gives_zeros():
    assert apportion(np.array([1.0, 2.0]), 0).tolist() == [0, 0]


@pytest.mark.parametrize("parts", [[], [0.0, 0.0], [float("nan"), 1.0], [1.0, -2.0]])
def test_energy_that_nobody_can_carry_is_an_error(parts):
    with pytest.raises(AttributionError, match="cannot split 5 µJ"):
        apportion(np.array(parts), 5)


def test_values_of_another_total_are_an_error():
    with pytest.raises(AttributionError, match="scale them first"):
        largest_remainder(np.array([1.0, 1.0]), 7)


def test_a_total_that_floats_cannot_count_is_an_error():
    with pytest.raises(AttributionError, match=r"beyond 2\^53"):
        apportion(np.array([1.0]), 2**53 + 2)
