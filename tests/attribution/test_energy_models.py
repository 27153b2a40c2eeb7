"""Energy models: stored and restored, built from a data sheet, summed over a window."""

import numpy as np
import pytest

from schemas.errors import AttributionError
from streams.attribution import (
    FEATURES,
    EnergyModel,
    GpuSheet,
    Hinge,
    Trace,
    attribute_trace,
    gpu_sheet,
    iteration_energy,
    modelled_energy,
    window_features,
)
from tests.attribution.random_games import DENSE, MIXTURE, ROOFLINE


@pytest.mark.parametrize("model", [EnergyModel(), DENSE, MIXTURE, ROOFLINE])
def test_coefficients_restore_the_model(model):
    assert EnergyModel.from_coefficients(model.coefficients()) == model


@pytest.mark.parametrize(
    ("coefficients", "complaint"),
    [
        ({"fixd_j": 1.0}, "'fixd_j' is unknown"),
        ({"fixed_j": -1.0}, "fixed_j = -1.0"),
        ({"fixed_j": float("nan")}, "fixed_j = nan"),
        ({"experts_j": 1.0}, "expert_fraction = 0.0"),
        ({"hinge.0.weight_j": 1.0}, "hinge coefficients are incomplete"),
        ({"hinge.0.colour": 1.0}, "unknown"),
    ],
)
def test_coefficients_that_make_no_model_are_named(coefficients, complaint):
    with pytest.raises(AttributionError, match=complaint):
        EnergyModel.from_coefficients(coefficients)


def random_trace(rng):
    n = 300
    return Trace.from_rows(
        rng.integers(0, 40, n),
        rng.permutation(np.repeat(np.arange(50), 6)),
        np.where(rng.random(n) < 0.2, rng.integers(2, 500, n), 1),
        rng.integers(0, 9000, n),
        iterations=41,
        requests=50,
        weights=rng.random(41),
        padded_tokens=rng.integers(0, 3000, 41),
        adapter=rng.integers(-1, 4, 50),
        prefix_group=rng.integers(0, 4, 50),
    )


@pytest.mark.parametrize("model", [DENSE, MIXTURE])
def test_features_times_coefficients_are_the_modelled_energy(rng, model):
    trace = random_trace(rng)
    features = window_features(trace, expert_fraction=model.expert_fraction)
    expected = float(iteration_energy(model, trace) @ trace.weights)
    assert modelled_energy(model, features) == pytest.approx(expected, rel=1e-12)
    assert attribute_trace(trace, model, seed=0).request_j.sum() == pytest.approx(expected, rel=1e-11)


def test_feature_names_are_those_the_ledger_keeps(rng):
    features = window_features(random_trace(rng), idle_s=1.5)
    assert set(features) == set(FEATURES)
    assert features["idle_s"] == 1.5


def test_the_prior_of_a_dense_model_lies_near_its_public_fit():
    """Llama-3.1-8B on one H100: ML.ENERGY v3 gives 3.16 J an iteration and 0.067 J a request, prefill included."""
    prior = EnergyModel.prior(weight_bytes=16.06e9, kv_bytes_per_token=131_072, gpu="NVIDIA H100 80GB HBM3")
    assert prior.fixed_j == pytest.approx(3.16, rel=0.15)
    whole_request = prior.request_j + 0.6 * prior.prefill_token_j + 590 * prior.context_token_j
    assert whole_request == pytest.approx(0.067, rel=0.3)
    assert prior.idle_w == 120


def test_the_prior_of_a_mixture_reads_the_experts_that_are_touched():
    prior = EnergyModel.prior(
        weight_bytes=3.1e9,
        kv_bytes_per_token=98_304,
        gpu=gpu_sheet("H100"),
        gpus=2,
        expert_weight_bytes=58e9,
        experts_active=8,
        experts_total=128,
    )
    assert prior.expert_fraction == 1 / 16
    assert prior.experts_j == pytest.approx(58e9 * 185e-12)
    assert prior.idle_w == 240


def test_a_prior_without_a_size_or_a_known_gpu_is_an_error_that_says_what_to_give():
    with pytest.raises(AttributionError, match=r"weight_bytes = 0.*descriptor"):
        EnergyModel.prior(weight_bytes=0, kv_bytes_per_token=1, gpu="H100")
    with pytest.raises(AttributionError, match=r"gpu_model = 'Abacus 3000'.*pass a GpuSheet"):
        EnergyModel.prior(weight_bytes=1e9, kv_bytes_per_token=1, gpu="Abacus 3000")
    own = GpuSheet("Abacus 3000", 100, 1e12, 1e11, 5, "measured")
    assert EnergyModel.prior(weight_bytes=1e9, kv_bytes_per_token=1, gpu=own).fixed_j > 0


def test_gpu_models_are_recognised_as_the_driver_names_them():
    for name in (
        "NVIDIA A100-SXM4-80GB",
        "NVIDIA H100 80GB HBM3",
        "NVIDIA B200",
        "AMD Instinct MI300X",
        "L40S",
    ):
        assert gpu_sheet(name).name in name


def test_hinges_other_than_the_knee_survive_storage():
    hinge = Hinge(1.0, 2.0, 3.0, 4.0, 5.0, 6.0)
    model = EnergyModel(hinges=(hinge, Hinge(0.5, 1.0)))
    assert EnergyModel.from_coefficients(model.coefficients()).hinges == model.hinges
