"""The published method as people know it, and the accuracy that it really has."""

import numpy as np
import pytest

from schemas.errors import AttributionError
from streams.attribution import SumGame, shapley
from tests.attribution.enumeration import by_kinds


def decode_batch(n=32, fixed=3.2, each=0.05):
    context = np.linspace(200, 4000, n)
    return SumGame(
        np.stack([np.ones(n), context], 1),
        lambda s: np.where(s[..., 0] > 0.5, fixed + each * s[..., 0] + 2.4e-5 * s[..., 1], 0.0),
    ), fixed / n + each + 2.4e-5 * context


def test_200_permutations_miss_requests_by_twenty_percent_where_two_percent_is_claimed():
    game, exact = decode_batch()
    errors = np.array(
        [np.abs(shapley.truncated(game, 32, seed=seed).values / exact - 1) for seed in range(60)]
    )
    assert 0.15 < errors.mean() < 0.30
    assert 0.40 < errors.max(axis=1).mean() < 0.90
    assert (errors * exact / exact.sum()).max() < 0.05


def test_a_cut_off_leaves_energy_with_nobody_and_takes_it_from_the_last():
    n = 32
    context = np.r_[np.full(n - 1, 100.0), 200_000.0]
    game = SumGame(
        np.stack([np.ones(n), context], 1),
        lambda s: np.where(s[..., 0] > 0.5, 1.0 + 0.002 * s[..., 0] + 2e-4 * s[..., 1], 0.0),
    )
    whole = game(np.ones((1, n), bool))[0]
    cut = shapley.truncated(game, n, permutations=2000, tolerance=0.01, seed=1)
    assert cut.values.sum() < whole * (1 - 1e-3)
    small = 1.0 / n + 0.002 + 2e-4 * 100
    assert cut.values[:-1].mean() < 0.97 * small
    assert cut.evaluations < 2000 * (n - 1)


def test_without_a_tolerance_the_shares_sum_to_the_whole(rng):
    game, exact = decode_batch(n=int(rng.integers(2, 40)))
    estimate = shapley.truncated(game, exact.size, permutations=7, seed=int(rng.integers(1e9)))
    assert estimate.values.sum() == pytest.approx(exact.sum(), rel=1e-12)
    assert (estimate.permutations, estimate.evaluations) == (7, 7 * (exact.size - 1) + 2)


def test_is_unbiased_over_400_runs(rng):
    features = np.r_[np.tile([[1.0, 1.0]], (5, 1)), np.tile([[1.0, 300.0]], (2, 1))]

    def value(s):
        return np.where(s[..., 0] > 0.5, 3.0 + np.maximum(s[..., 1] - 128, 0) * 0.02, 0.0)

    game = SumGame(features, value)
    runs = np.array(
        [shapley.truncated(game, 7, permutations=10, seed=int(s)).values for s in rng.integers(0, 2**62, 400)]
    )
    error = runs.mean(axis=0) - by_kinds(features, value)
    # Seven players at six standard errors: a false alarm once in 70 million runs.
    assert np.all(np.abs(error) < 6.0 * runs.std(axis=0, ddof=1) / np.sqrt(400))


def test_adapted_permutations_reach_two_percent_of_the_batch_and_say_how_many_they_took():
    game, exact = decode_batch()
    estimate = shapley.truncated(game, 32, permutations=None, seed=3)
    assert estimate.converged
    assert 100 < estimate.permutations < 600
    assert np.all(np.abs(estimate.values - exact) < 0.04 * exact.sum())


def test_adapted_permutations_stop_at_their_cap_and_admit_it():
    def value(s):  # one of two huge opposite contributions: far above the whole
        return np.where(s[..., 0] == 1, 1000.0, s[..., 0] * 0.1)

    estimate = shapley.truncated(SumGame(np.ones((6, 1)), value), 6, permutations=None, seed=1)
    assert not estimate.converged
    assert estimate.permutations == 20_000


def test_a_seed_gives_the_same_bits_again():
    game, _ = decode_batch()
    one, two = (shapley.truncated(game, 32, seed=99) for _ in range(2))
    assert one.values.tobytes() == two.values.tobytes()


def test_one_player_gets_everything():
    assert shapley.truncated(lambda s: 5.0 * s[:, 0], 1, seed=0).values.tolist() == [5.0]


@pytest.mark.parametrize("settings", [{"permutations": 0}, {"tolerance": 1.0}, {"tolerance": -0.1}])
def test_settings_out_of_range_are_named(settings):
    with pytest.raises(AttributionError, match=next(iter(settings))):
        shapley.truncated(lambda s: s.sum(axis=1).astype(float), 3, seed=0, **settings)
