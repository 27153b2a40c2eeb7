"""The adaptive estimator: unbiased, honest for all players at once, and as accurate as it says."""

import numpy as np
import pytest

from schemas.errors import AttributionError
from streams.attribution import SumGame, shapley
from streams.attribution.sampled import _student_t
from tests.attribution.enumeration import by_kinds, by_subsets
from tests.attribution.random_games import hash_game


def sum_game(rng, n=32):
    """A batch of few kinds: decodes of some contexts and up to two chunks, under one of five energy functions.

    Features are requests, tokens, Σ context, Σ tokens × context.
    """
    contexts = rng.lognormal(7, 1, int(rng.integers(1, 4))).astype(int)
    tokens, context = np.ones(n), rng.choice(contexts, n).astype(float)
    chunks = int(rng.integers(0, 3))
    tokens[:chunks] = rng.choice([64, 200, 512, 1000, 2048], chunks)
    context[:chunks] = rng.choice([0, 512, 2048], chunks)
    kind = rng.choice(["plain", "roofline", "tiles", "power_cap", "experts"])

    def value(sums):
        count, q, c, a = np.moveaxis(sums, -1, 0)
        effective = np.ceil(q / 64 - 1e-9) * 64 if kind == "tiles" else q
        compute, memory = 16 * effective + 5e-4 * a, 4800 + 0.039 * c
        energy = 7e-4 * (memory + compute if kind == "plain" else np.maximum(compute, memory))
        if kind == "experts":
            energy = energy + 10 * (1 - (15 / 16) ** q)
        if kind == "power_cap":
            energy = np.minimum(energy, 3 + 0.6 * (energy - 3))
        return np.where(count > 0.5, energy + 0.02 * count, 0.0)

    features = np.stack([np.ones(n), tokens, context, tokens * context], axis=1)
    return SumGame(features, value), by_kinds(features, value)


def coverage_game(rng, n, items=40):
    owns = rng.random((n, items)) < 0.1
    worth = rng.random(items)
    return lambda s: ((s.astype(float) @ owns) > 0) @ worth


def table_of(v, n):
    return v((np.arange(2**n)[:, None] >> np.arange(n)) & 1 == 1)


def test_200_permutations_of_a_32_batch_are_within_one_percent(rng):
    errors = []
    for _ in range(80):
        game, exact = sum_game(rng)
        estimate = shapley.sample(game, 32, max_permutations=200, seed=int(rng.integers(2**62)))
        assert estimate.permutations == 200
        errors.append(np.abs(estimate.values / exact - 1).max())
    assert np.quantile(errors, 0.95) < 0.01


def test_adaptive_sampling_meets_its_target_and_covers_every_player_at_once(rng):
    met, covered = [], []
    for _ in range(60):
        game, exact = sum_game(rng)
        estimate = shapley.sample(game, 32, rel_tol=0.005, seed=int(rng.integers(2**62)))
        error = np.abs(estimate.values - exact)
        met.append(np.all(error <= 0.005 * np.maximum(np.abs(exact), 0.1 * exact.mean())))
        covered.append(np.all(error <= estimate.half_widths))
    # Held to 95 %; 8 misses of 60 at a true 5 % happen once in 300 runs, and the true rate is about 1 %.
    assert np.mean(met) > 0.87
    assert np.mean(covered) > 0.87


def test_games_without_features_keep_their_confidence_for_all_players_at_once(rng):
    n, covered = 14, []
    for _ in range(40):
        v = coverage_game(rng, n)
        exact = by_subsets(table_of(v, n))
        estimate = shapley.sample(v, n, max_permutations=800, seed=int(rng.integers(2**62)))
        assert estimate.permutations > 0
        covered.append(np.all(np.abs(estimate.values - exact) <= estimate.half_widths))
    assert np.mean(covered) >= 0.8


def test_a_hash_perturbed_game_is_covered_and_every_coalition_asked_is_counted(rng):
    n = 17
    v, calls = hash_game(int(rng.integers(2**62)), n)
    exact = by_subsets(table_of(v, n))
    calls["coalitions"] = 0
    estimate = shapley.sample(v, n, max_permutations=2000, seed=1)
    assert estimate.evaluations == calls["coalitions"]
    assert np.all(np.abs(estimate.values - exact) <= 1.3 * estimate.half_widths)
    assert estimate.values.sum() == pytest.approx(v(np.ones((1, n), bool))[0], rel=1e-12)


@pytest.mark.parametrize("features", [True, False])
def test_is_unbiased_over_400_runs(rng, features):
    """Few permutations, a rough game, and with features a surrogate that does not fit it at all."""
    n = 6
    opaque, _ = hash_game(int(rng.integers(2**62)), n, bumps=3.0)
    exact = by_subsets(table_of(opaque, n))
    code = (2.0 ** np.arange(n))[:, None]

    def by_code(sums):
        index = np.clip(np.rint(sums[..., 0]), 0, 2**n - 1).astype(np.int64)
        return table_of(opaque, n)[index]

    game = SumGame(code, by_code) if features else opaque
    runs = np.array(
        [shapley.sample(game, n, max_permutations=6, seed=int(s)).values for s in rng.integers(0, 2**62, 400)]
    )
    assert runs.std(axis=0).min() > 1e-3, "the game must leave something to chance"
    error = runs.mean(axis=0) - exact
    assert np.all(np.abs(error) < 6.0 * runs.std(axis=0, ddof=1) / np.sqrt(400))


def test_pairwise_interactions_are_exact_since_each_order_is_played_forwards_and_backwards(rng):
    n = 24
    weight = rng.normal(size=(n, n))
    pair = np.triu(weight, 1)

    def v(coalitions):
        s = coalitions.astype(float)
        return np.einsum("ki,ij,kj->k", s, pair, s) + s @ np.diag(weight)

    exact = np.diag(weight) + (pair.sum(axis=0) + pair.sum(axis=1)) / 2
    estimate = shapley.sample(v, n, max_permutations=200, seed=int(rng.integers(2**62)))
    np.testing.assert_allclose(estimate.values, exact, atol=1e-10)


def test_up_to_16_players_are_enumerated(rng):
    v, _ = hash_game(3, 12)
    estimate = shapley.sample(v, 12, seed=0)
    np.testing.assert_allclose(estimate.values, by_subsets(table_of(v, 12)), atol=1e-12)
    assert (estimate.permutations, estimate.half_widths.any(), estimate.converged) == (0, False, True)


def test_a_cap_that_is_too_low_is_admitted(rng):
    estimate = shapley.sample(coverage_game(rng, 30), 30, rel_tol=1e-5, max_permutations=300, seed=4)
    assert not estimate.converged
    assert estimate.permutations == 300
    assert (estimate.half_widths > 1e-5 * estimate.values).any()


def test_players_with_equal_features_get_bit_identical_values(rng):
    game, _ = sum_game(rng)
    doubled = SumGame(np.tile(game.features, (2, 1)), game.value)
    first, second = shapley.sample(doubled, 64, max_permutations=200, seed=7).values.reshape(2, -1)
    np.testing.assert_array_equal(first, second)


def test_a_seed_gives_the_same_bits_again(rng):
    v = coverage_game(rng, 20)
    one, two, other = (shapley.sample(v, 20, max_permutations=200, seed=s) for s in (5, 5, 6))
    assert one.values.tobytes() == two.values.tobytes() != other.values.tobytes()


@pytest.mark.parametrize(
    "settings", [{"rel_tol": 0.0}, {"confidence": 1.0}, {"confidence": 0.0}, {"max_permutations": 3}]
)
def test_settings_out_of_range_are_named(settings):
    with pytest.raises(AttributionError, match=next(iter(settings))):
        shapley.sample(lambda s: s.sum(axis=1).astype(float), 20, seed=0, **settings)


@pytest.mark.parametrize(
    ("probability", "freedom", "table"),
    [(0.975, 99, 1.98422), (0.995, 99, 2.62641), (0.9999, 99, 3.86145), (0.975, 30, 2.04227)],
)
def test_student_quantiles_are_those_of_the_tables(probability, freedom, table):
    assert _student_t(probability, freedom) == pytest.approx(table, abs=2e-3)
