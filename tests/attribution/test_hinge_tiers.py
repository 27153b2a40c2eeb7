"""Hinges: certificates are proofs, the series knows its error, and both equal enumeration."""

import numpy as np
import pytest

from schemas.errors import AttributionError
from streams.attribution import EnergyModel, Hinge, IterationRows, attribute_trace
from streams.attribution.branching import branch
from streams.attribution.certificates import certify
from streams.attribution.counted import equals_shares
from streams.attribution.series import hinge_series
from tests.attribution.enumeration import by_kinds, by_subsets, subset_sums
from tests.attribution.random_games import ROOFLINE, energies


def hinge_values(d, threshold):
    return by_subsets(np.maximum(0.0, subset_sums(d[:, None])[:, 0] - threshold))


def near_ridge(rng, n):
    """A hinge whose threshold lies a hair below or above one coalition's sum."""
    d = rng.normal(size=n) * np.exp(rng.normal(size=n))
    sums = subset_sums(d[:, None])[:, 0]
    above = sums[sums > 0]
    if above.size == 0:
        return d, 1.0
    hair = rng.choice([0.0, 1e-12, -1e-12, 1e-6, -1e-6]) * above.max()
    return d, max(0.0, float(rng.choice([above.max(), rng.choice(above)])) + hair)


def test_no_certificate_is_false_in_ten_thousand_traps(rng):
    certificates = 0
    for _ in range(10_000):
        n = int(rng.integers(2, 9))
        d, threshold = near_ridge(rng, n)
        p = int(rng.integers(0, min(n, 4) + 1))
        rest = d[p:]
        certified, slope, shares = certify(
            d[None, :p],
            np.array([np.maximum(rest, 0).sum()]),
            np.array([np.minimum(rest, 0).sum()]),
            threshold,
        )
        if certified[0]:
            certificates += 1
            exact = hinge_values(d, threshold)
            found = np.concatenate([shares[0], slope[0] * rest])
            np.testing.assert_allclose(found, exact, atol=1e-9 * np.abs(d).max(), rtol=0)
    assert certificates > 100


def test_branching_is_exact_when_it_closes_the_tree(rng):
    for _ in range(60):
        d, threshold = near_ridge(rng, int(rng.integers(1, 13)))
        d = d[np.argsort(-np.abs(d))]
        values, crossing = branch(d, threshold)
        assert crossing is None
        np.testing.assert_allclose(values, hinge_values(d, threshold), atol=1e-11 * np.abs(d).sum(), rtol=0)


def test_equals_are_counted_exactly(rng):
    for count in (1, 2, 30, 400):
        apart = rng.normal(size=(3, 2)) * 20
        d = rng.normal()
        threshold = float(rng.uniform(0, 10))
        one, others = equals_shares(apart, d, count, threshold)
        for row, equal, rest in zip(apart, one, others, strict=True):
            expected = by_kinds(
                np.concatenate([row, np.full(count, d)])[:, None],
                lambda s, w=threshold: np.maximum(0.0, s[..., 0] - w),
            )
            np.testing.assert_allclose(np.r_[rest, np.full(count, equal)], expected, rtol=1e-9, atol=1e-9)


def roofline_batch(rng, n):
    """Chunks around the ridge among decodes whose context pulls the other way: what no certificate closes."""
    chunk = rng.integers(2, int(rng.choice([64, 300, 600])), n)
    tokens = np.where(rng.random(n) < rng.uniform(0.1, 0.5), chunk, 1)
    context = rng.lognormal(rng.uniform(5, 9), rng.uniform(0.3, 1.5), n).astype(int)
    return IterationRows(tokens, context)


def test_series_shares_are_within_1e_3_and_mostly_1e_4_of_enumeration(rng):
    errors, estimates = [], []
    while len(errors) < 60:
        rows = roofline_batch(rng, int(rng.integers(13, 18)))
        split = attribute_trace(rows.trace(), ROOFLINE, seed=0)
        if split.method == "shapley_series":
            exact = by_subsets(roofline_energies(rows))
            errors.append(np.abs(split.request_j / exact - 1).max())
            estimates.append(split.error_estimate)
    assert max(errors) < 1e-3
    assert np.quantile(errors, 0.95) < 1e-4
    # An estimate is no bound, but it must be of the error's size.
    assert np.mean(np.array(errors) <= 5 * np.array(estimates) + 1e-9) > 0.9


def roofline_energies(rows):
    return energies(ROOFLINE, IterationRows(rows.new_tokens, rows.context_tokens, *no_groups(len(rows))))


def no_groups(n):
    return np.full(n, -1), np.zeros(n, np.uint64)


@pytest.mark.parametrize("n", [32, 150])
def test_series_shares_of_large_batches_equal_counting_by_kinds(rng, n):
    """Seven kinds of player, so that no tier counts equals and enumeration stays possible."""
    hinge = Hinge(1.0, 40.0, per_context=1.0)
    kinds = np.array([3.0, -1.0, 7.0, -4.0])
    d = np.repeat(kinds, n // 4)
    d = np.concatenate([d, rng.choice(kinds, n - d.size)])
    values, errors = hinge_series(d, hinge.threshold)
    expected = by_kinds(d[:, None], lambda s: np.maximum(0.0, s[..., 0] - hinge.threshold))
    assert np.abs(values - expected).max() < 1e-3 * np.abs(expected).max() + errors.max()


def test_series_values_sum_to_the_whole(rng):
    for n in (20, 60, 300):
        d = rng.normal(size=n)
        threshold = 0.3 * np.maximum(d, 0).sum()
        values, _ = hinge_series(d, threshold)
        assert values.sum() == pytest.approx(max(0.0, d.sum() - threshold), abs=1e-9 * n)


def test_the_knee_among_decodes_and_chunks_is_exact_at_any_size(rng):
    model = EnergyModel(excess_token_j=0.03, knee_tokens=128.0)
    for decodes in (20, 127, 128, 129, 400):
        tokens = np.concatenate([np.ones(decodes, int), rng.integers(2, 200, 2)])
        split = attribute_trace(IterationRows(tokens, np.zeros(tokens.size, int)).trace(), model, seed=0)
        expected = by_kinds(
            tokens[:, None].astype(float), lambda s: 0.03 * np.maximum(0.0, s[..., 0] - 128.0)
        )
        assert split.method == "shapley_exact"
        np.testing.assert_allclose(split.request_j, expected, rtol=1e-9, atol=1e-12)


def test_a_hinge_needs_finite_numbers_and_no_negative_threshold():
    with pytest.raises(AttributionError, match="threshold = -1"):
        Hinge(1.0, -1.0)
    with pytest.raises(AttributionError, match="per_token = nan"):
        Hinge(1.0, 1.0, per_token=float("nan"))
