"""One iteration split: integers that meet the meter, a method that names itself, bad input named."""

import numpy as np
import pytest

from schemas.errors import AttributionError
from streams.attribution import EnergyModel, IterationRows, SumGame, attribute
from tests.attribution.random_games import DENSE, ROOFLINE, batch, exact_shares

ROWS = IterationRows([1, 1, 300], [400, 4000, 0])


def test_shares_are_integers_that_sum_to_the_meter_exactly(rng):
    for _ in range(50):
        rows = batch(rng, int(rng.integers(1, 60)))
        measured = int(rng.integers(0, 10**9))
        split = attribute(rows, DENSE, measured, seed=0)
        assert split.shares_uj.dtype == np.int64
        assert int(split.shares_uj.sum()) == measured


def test_shares_are_the_shapley_values_scaled_to_the_meter(rng):
    rows = batch(rng, 9)
    exact = exact_shares(DENSE, rows)
    split = attribute(rows, DENSE, 10**9, seed=0)
    np.testing.assert_allclose(split.shares_uj, exact / exact.sum() * 1e9, atol=1.0)


def test_the_method_says_what_was_done():
    assert attribute(ROWS, DENSE, 10**6, seed=0).method == "shapley_exact"
    crossing = IterationRows(np.r_[[150] * 4, [90] * 4, np.ones(16, int)], np.arange(24) * 997)
    series = attribute(crossing, ROOFLINE, 10**6, seed=0)
    assert series.method == "shapley_series"
    assert 0 < series.error_estimate < 1e-3
    assert (series.half_widths > 0).any()
    published = attribute(ROWS, DENSE, 10**6, method="truncated", permutations=50, seed=0)
    assert (published.method, published.permutations) == ("shapley_truncated_K50", 50)
    many = IterationRows(np.ones(20, int), np.arange(20) * 100)
    sampled = attribute(many, DENSE, 10**6, method="sampled", seed=0)
    assert sampled.method == f"shapley_sampled_K{sampled.permutations}"
    assert sampled.evaluations > 0


def test_a_sum_game_and_a_callable_are_played_as_black_boxes(rng):
    features = np.stack([np.ones(18), rng.random(18)], axis=1)
    game = SumGame(features, lambda s: np.sqrt(s[..., 0]) + s[..., 1])
    for model in (game, lambda s: game(s)):
        split = attribute(range(18), model, 777_777, seed=1)
        assert int(split.shares_uj.sum()) == 777_777
        assert split.method.startswith("shapley_sampled_K")


def test_no_measured_energy_gives_zeros():
    assert attribute(ROWS, DENSE, 0, seed=0).shares_uj.tolist() == [0, 0, 0]


def test_energy_without_rows_is_no_requests_energy():
    with pytest.raises(AttributionError, match="no rows for 5 µJ: book it to idle"):
        attribute(IterationRows([], []), DENSE, 5, seed=0)


def test_energy_that_the_model_gives_to_nobody_is_an_error():
    with pytest.raises(AttributionError, match="book it to an account"):
        attribute(IterationRows([0, 0], [5, 5]), DENSE, 5, seed=0)
    with pytest.raises(AttributionError, match="book it to an account"):
        attribute(ROWS, EnergyModel(), 5, seed=0)


def test_a_meter_that_went_backwards_is_named():
    with pytest.raises(AttributionError, match="measured_uj = -1"):
        attribute(ROWS, DENSE, -1, seed=0)


def test_an_unknown_method_is_named():
    with pytest.raises(AttributionError, match="method = 'guess': must be one of auto, sampled, truncated"):
        attribute(ROWS, DENSE, 1, method="guess", seed=0)


def test_an_energy_model_needs_rows_that_say_what_was_computed():
    with pytest.raises(AttributionError, match="needs IterationRows"):
        attribute([1, 2], DENSE, 1, seed=0)


@pytest.mark.parametrize("seed", [0, 2**63])
def test_the_same_seed_gives_the_same_microjoules(rng, seed):
    rows = batch(rng, 30)
    one, two = (attribute(rows, DENSE, 10**9 + 7, method="truncated", seed=seed) for _ in range(2))
    np.testing.assert_array_equal(one.shares_uj, two.shares_uj)
