"""The closed form of every term, against enumeration that shares no code with it; and the axioms."""

from dataclasses import replace

import numpy as np
import pytest

from streams.attribution import EnergyModel, IterationRows, attribute_trace
from tests.attribution.enumeration import by_kinds
from tests.attribution.random_games import DENSE, MIXTURE, ROOFLINE, batch, energies, exact_shares

MODELS = {"dense": DENSE, "mixture": MIXTURE, "roofline": ROOFLINE}


def shares(model, rows):
    return attribute_trace(rows.trace(), model, seed=0)


@pytest.mark.parametrize("name", MODELS)
def test_certified_shares_equal_enumeration_to_1e_9(rng, name):
    worst, certified = 0.0, 0
    for _ in range(60):
        rows = batch(rng, int(rng.integers(1, 13)), wide=rng.random())
        split = shares(MODELS[name], rows)
        if split.method == "shapley_exact":
            certified += 1
            worst = max(worst, np.abs(split.request_j / exact_shares(MODELS[name], rows) - 1).max())
    assert certified > 30
    assert worst < 1e-9


@pytest.mark.parametrize("term", [f for f, v in MIXTURE.coefficients().items() if f.endswith("_j") and v])
def test_each_term_alone_equals_enumeration(rng, term):
    coefficients = MIXTURE.coefficients()
    keep = {term, "knee_tokens", "expert_fraction"}
    model = EnergyModel.from_coefficients({k: v for k, v in coefficients.items() if k in keep})
    rows = batch(rng, 9, wide=0.4)
    np.testing.assert_allclose(
        shares(model, rows).request_j, exact_shares(model, rows), rtol=1e-9, atol=1e-15
    )


@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)
@pytest.mark.parametrize("n", [1, 2])
def test_batches_of_one_and_two(rng, model, n):
    rows = batch(rng, n, wide=0.5)
    np.testing.assert_allclose(shares(model, rows).request_j, exact_shares(model, rows), rtol=1e-9)


@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)
@pytest.mark.parametrize("tokens", [1, 2, 64, 4096])
def test_identical_requests_get_bit_identical_equal_parts(model, tokens):
    n = 40
    rows = IterationRows([tokens] * n, [700] * n)
    split = shares(model, rows)
    assert np.unique(split.request_j).size == 1
    assert split.method == "shapley_exact"
    assert split.request_j.sum() == pytest.approx(split.iteration_j[0], rel=1e-12)


def test_duplicated_requests_keep_bit_identical_shares_in_any_batch(rng):
    rows = batch(rng, 20)
    doubled = IterationRows(
        np.tile(rows.new_tokens, 2),
        np.tile(rows.context_tokens, 2),
        np.tile(rows.adapter, 2),
        np.tile(rows.prefix_group, 2),
    )
    for model in MODELS.values():
        first, second = shares(model, doubled).request_j.reshape(2, -1)
        np.testing.assert_array_equal(first, second)


def test_permuted_labels_permute_the_shares(rng):
    rows = batch(rng, 24)
    order = rng.permutation(24)
    shuffled = IterationRows(
        np.asarray(rows.new_tokens)[order],
        np.asarray(rows.context_tokens)[order],
        np.asarray(rows.adapter)[order],
        np.asarray(rows.prefix_group)[order],
        rows.padded_tokens,
    )
    for model in MODELS.values():
        np.testing.assert_allclose(
            shares(model, shuffled).request_j, shares(model, rows).request_j[order], rtol=1e-9
        )


def test_shares_sum_to_the_whole_to_1e_12(rng):
    for model in MODELS.values():
        for _ in range(20):
            split = shares(model, batch(rng, int(rng.integers(1, 200))))
            assert split.request_j.sum() == pytest.approx(split.iteration_j[0], rel=1e-12)


def test_the_whole_is_the_written_out_energy(rng):
    for model in MODELS.values():
        rows = batch(rng, 8, wide=0.5)
        assert shares(model, rows).iteration_j[0] == pytest.approx(energies(model, rows)[-1], rel=1e-12)


def test_shares_of_a_sum_of_models_are_sums_of_shares(rng):
    rows = batch(rng, 30)
    flat = MIXTURE.coefficients()
    halves = [{k: v for i, (k, v) in enumerate(flat.items()) if i % 2 == odd} for odd in (0, 1)]
    shared = {"knee_tokens": MIXTURE.knee_tokens, "expert_fraction": MIXTURE.expert_fraction}
    parts = [shares(EnergyModel.from_coefficients(half | shared), rows).request_j for half in halves]
    np.testing.assert_allclose(sum(parts), shares(MIXTURE, rows).request_j, rtol=1e-12)


def test_shares_scale_with_the_energy(rng):
    rows = batch(rng, 30)
    tripled = {k: v * 3 if k.endswith("_j") else v for k, v in MIXTURE.coefficients().items()}
    scaled = shares(EnergyModel.from_coefficients(tripled), rows).request_j
    np.testing.assert_allclose(scaled, 3 * shares(MIXTURE, rows).request_j, rtol=1e-12)


def test_a_row_without_tokens_is_no_player():
    with_idle = shares(DENSE, IterationRows([1, 0, 5], [10, 99, 20])).request_j
    without = shares(DENSE, IterationRows([1, 5], [10, 20])).request_j
    np.testing.assert_array_equal(with_idle, [without[0], 0.0, without[1]])


def test_a_null_request_pays_nothing():
    """With every cost above a knee that it cannot reach, one token beside others adds nothing."""
    model = EnergyModel(adapter_j=2.0)
    np.testing.assert_array_equal(
        shares(model, IterationRows([1, 1], [5, 5], adapter=[0, -1])).request_j, [2, 0]
    )


def test_one_128k_context_among_31_short_ones_pays_for_its_reading_and_no_more(rng):
    context = np.full(32, 300)
    context[7] = 131_072
    rows = IterationRows(np.ones(32, int), context)
    model = replace(ROOFLINE, hinges=())
    split = shares(model, rows).request_j
    assert split[7] - split[0] == pytest.approx(model.context_token_j * (131_072 - 300), rel=1e-9)
    roofline = shares(ROOFLINE, rows)
    assert roofline.method == "shapley_exact"
    assert roofline.request_j.sum() == pytest.approx(roofline.iteration_j[0], rel=1e-12)


@pytest.mark.parametrize("n", [30, 200, 900])
def test_experts_of_large_batches_equal_counting_by_kinds(rng, n):
    tokens = np.ones(n)
    tokens[:2] = 512, 37
    model = EnergyModel(experts_j=10.0, expert_fraction=1 / 128)
    expected = by_kinds(tokens[:, None], lambda s: 10.0 * (1 - (1 - 1 / 128) ** s[..., 0]))
    got = shares(model, IterationRows(tokens.astype(int), np.zeros(n, int))).request_j
    np.testing.assert_allclose(got, expected, rtol=1e-10)


@pytest.mark.parametrize("fraction", [1.0, 0.25])
def test_experts_that_one_token_nearly_exhausts(fraction):
    model = EnergyModel(experts_j=8.0, expert_fraction=fraction)
    tokens = np.array([1, 4096, 7, 1])
    expected = by_kinds(tokens[:, None].astype(float), lambda s: 8.0 * (1 - (1 - fraction) ** s[..., 0]))
    got = shares(model, IterationRows(tokens, np.zeros(4, int))).request_j
    np.testing.assert_allclose(got, expected, rtol=1e-9)
