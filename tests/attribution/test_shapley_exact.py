"""Enumeration: the definition itself, and every way in which a game can be no game."""

import numpy as np
import pytest

from schemas.errors import AttributionError
from streams.attribution import SumGame, shapley
from streams.attribution.games import CountedGame
from tests.attribution.enumeration import by_permutations, by_subsets


def table_game(table):
    n = table.size.bit_length() - 1
    return lambda coalitions: table[coalitions @ (1 << np.arange(n))]


def random_table(rng, n):
    table = rng.normal(size=2**n)
    table[0] = 0.0
    return table


@pytest.mark.parametrize("n", [1, 2, 3, 5, 6])
def test_equals_the_mean_over_all_orders(rng, n):
    table = random_table(rng, n)
    expected = by_permutations(lambda s: table[sum(1 << i for i in s)], n)
    np.testing.assert_allclose(shapley.exact(table_game(table), n), expected, atol=1e-12)


@pytest.mark.parametrize("n", [9, 13, 17])
def test_equals_independent_enumeration_of_larger_games(rng, n):
    table = random_table(rng, n)
    np.testing.assert_allclose(shapley.exact(table_game(table), n), by_subsets(table), atol=1e-11)


def test_a_sum_game_is_the_same_game_as_its_callable(rng):
    features = rng.random((8, 3))
    game = SumGame(features, lambda sums: np.sqrt(sums[..., 0]) * sums[..., 1])
    np.testing.assert_array_equal(shapley.exact(game, 8), shapley.exact(lambda s: game(s), 8))


def test_every_coalition_is_asked_for_once_beside_the_two_ends():
    asked = []
    shapley.exact(lambda s: asked.append(len(s)) or s.sum(axis=1).astype(float), 10)
    assert sum(asked) == 2**10 + 2


def test_above_twenty_players_the_error_names_the_limit_and_the_alternative():
    with pytest.raises(AttributionError, match=r"n = 21.*20 players.*shapley\.sample"):
        shapley.exact(lambda s: s.sum(axis=1).astype(float), 21)


@pytest.mark.parametrize("n", [0, -1, 1.5, True])
def test_a_game_needs_players(n):
    with pytest.raises(AttributionError, match="needs a player"):
        CountedGame(lambda s: s.sum(axis=1).astype(float), n)


@pytest.mark.parametrize(
    ("game", "complaint"),
    [
        (lambda s: np.ones(3), "returned shape"),
        (lambda s: np.full(len(s), np.nan), "NaN or infinity"),
        (lambda s: s.sum(axis=1) + 1.0, "v\\(∅\\) = "),
    ],
)
def test_a_broken_game_is_named(game, complaint):
    with pytest.raises(AttributionError, match=complaint):
        shapley.exact(game, 4)


@pytest.mark.parametrize("estimator", [shapley.truncated, shapley.sample])
def test_the_estimators_name_a_broken_game_as_well(estimator):
    with pytest.raises(AttributionError, match="v\\(∅\\)"):
        estimator(lambda s: s.sum(axis=1) + 1.0, 20, seed=1)
    with pytest.raises(AttributionError, match="returned shape"):
        estimator(lambda s: np.ones(7), 20, seed=1)


def test_features_that_are_not_one_row_per_player_are_named():
    with pytest.raises(AttributionError, match="features have shape"):
        shapley.exact(SumGame(np.ones((3, 2)), lambda s: s[..., 0]), 4)
    with pytest.raises(AttributionError, match="NaN"):
        shapley.exact(SumGame(np.array([[1.0], [np.nan]]), lambda s: s[..., 0]), 2)
