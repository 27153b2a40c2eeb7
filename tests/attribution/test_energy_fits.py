"""Fits: on public measurements to the accuracy we are held to, and frank where the data do not bear it."""

import numpy as np
import pytest

from benchmarks.attribution_tables import EXPERTS, iteration_times, measured_pairs, splitwise_runs
from schemas.errors import AttributionError
from streams.attribution import EnergyModel, gpu_sheet
from streams.attribution.fit_checks import Shape
from streams.attribution.nnls import nonnegative_least_squares, robust_regression
from streams.attribution.transfer import leave_one_pair_out

PAIRS = measured_pairs()
REGIMES = "Qwen3-14B B200 v3"
"""Host-bound at long outputs, memory-bound at short ones."""


def fit(pair, **settings):
    settings = {"expert_fraction": EXPERTS.get(pair.name, 0.0), "shape": pair.shape, "folds": 2} | settings
    return EnergyModel.fit(pair.windows, pair.energy_j, **settings)


def kinds(fitted):
    return {flag.kind for flag in fitted.flags}


def test_dense_models_predict_held_out_batch_sizes_within_three_percent():
    errors = [fit(p).held_out_error for name, p in PAIRS.items() if p.name not in EXPERTS and name != REGIMES]
    assert len(errors) == 7
    assert np.median(errors) < 0.03
    assert max(errors) < 0.05


def test_mixtures_predict_held_out_batch_sizes_within_six_percent_with_the_expert_term():
    fits = {name: fit(p) for name, p in PAIRS.items() if p.name in EXPERTS}
    assert np.median([f.held_out_error for f in fits.values()]) < 0.06
    assert fits["Qwen3-30B-A3B-Instruct-2507 H100 v3"].held_out_error < 0.06


@pytest.mark.parametrize("name", ["Qwen3-30B-A3B-Instruct-2507 H100 v3", "gpt-oss-20b B200 v3"])
@pytest.mark.parametrize("told", [True, False], ids=["shape known", "seen in the data"])
def test_a_mixture_fitted_without_the_expert_term_is_flagged(name, told):
    pair = PAIRS[name]
    windows = [{k: v for k, v in w.items() if k != "experts"} for w in pair.windows]
    without = EnergyModel.fit(windows, pair.energy_j, shape=pair.shape if told else None, folds=2)
    assert {"mixture_without_experts", "poor_fit"} <= kinds(without)
    assert without.held_out_error > 0.10
    assert "mixture_without_experts" not in kinds(fit(pair))


def test_experts_that_every_batch_touches_completely_are_reported_as_inseparable():
    assert "not_separable" in kinds(fit(PAIRS["Mixtral-8x7B-Instruct-v0.1 A100 v2"]))


def test_two_regimes_are_found_and_not_averaged():
    fitted = fit(PAIRS[REGIMES])
    assert fitted.regimes is not None
    assert "two_regimes" in kinds(fitted)
    assert sorted(np.bincount(fitted.regimes.labels).tolist()) == [5, 9]
    assert fitted.regimes.split_error < fitted.regimes.single_error / 1.5


def test_one_regime_is_not_split():
    for name, pair in PAIRS.items():
        assert name == REGIMES or fit(pair).regimes is None


def test_physics_holds_for_dense_models_on_current_software():
    for name in ("Qwen3-14B H100 v3", "Llama-3.1-8B-Instruct H100 v3", "Llama-3.1-70B-Instruct H100 v3"):
        fitted = fit(PAIRS[name])
        assert not {k for k in kinds(fitted) if k.startswith("physics")}
        assert 150 < fitted.physics.weights_pj_per_byte < 210
    assert 150 < fit(PAIRS["Qwen3-14B H100 v3"]).physics.cache_pj_per_byte < 210


def test_physics_warns_with_the_numbers_where_a_fit_does_not_hold_them():
    flag = next(f for f in fit(PAIRS["gemma-2-27b-it H100 v2"]).flags if f.kind == "physics_weights")
    assert "348 pJ per byte" in flag.message
    assert "about 185" in flag.message


@pytest.mark.parametrize(("gpus", "fixed_j"), [(4, 40.4), (8, 59.5)])
def test_splitwise_runs_give_fixed_request_and_prefill_energy(gpus, fixed_j):
    fitted = EnergyModel.fit(*splitwise_runs(gpus))
    assert fitted.held_out_error < 0.03
    assert fitted.model.fixed_j == pytest.approx(fixed_j, rel=0.02)
    assert 1.3 < fitted.model.request_j < 2.0
    assert 0.05 < fitted.model.prefill_token_j < 0.15


def test_the_knee_of_vidurs_iteration_times_is_found_at_128_tokens():
    fitted = EnergyModel.fit(*iteration_times())
    assert fitted.model.knee_tokens == 128
    assert fitted.held_out_error < 0.03


def test_every_pair_is_predicted_from_the_others_and_flagged_above_fifteen_percent():
    predictions = leave_one_pair_out(list(PAIRS.values()))
    assert len(predictions) == len(PAIRS)
    assert all(p.flagged == (p.median_error > 0.15) for p in predictions)
    assert any(p.flagged for p in predictions)
    assert any(not p.flagged for p in predictions)


def test_two_pairs_predict_nothing():
    with pytest.raises(AttributionError, match="at least three"):
        leave_one_pair_out(list(PAIRS.values())[:2])


TRUTH = EnergyModel(fixed_j=3.0, request_j=0.05, prefill_token_j=0.02, context_token_j=2.4e-5)


def windows_of(rng, n, truth=TRUTH):
    iterations = rng.uniform(50, 200, n)
    batch = rng.uniform(2, 120, n)
    windows = [
        {
            "iterations": t,
            "requests": t * b,
            "prefill_tokens": t * b * p,
            "context_tokens": t * b * c,
        }
        for t, b, p, c in zip(
            iterations, batch, rng.uniform(0, 2, n), rng.lognormal(6.5, 0.5, n), strict=True
        )
    ]
    energy = np.array(
        [
            truth.fixed_j * w["iterations"]
            + truth.request_j * w["requests"]
            + truth.prefill_token_j * w["prefill_tokens"]
            + truth.context_token_j * w["context_tokens"]
            for w in windows
        ]
    )
    return windows, energy


def test_a_tenth_of_wrong_windows_does_not_move_the_fit(rng):
    windows, energy = windows_of(rng, 200)
    noisy = energy * np.exp(rng.normal(0, 0.02, 200))
    noisy[:20] *= rng.uniform(2, 5, 20)
    fitted = EnergyModel.fit(windows, noisy)
    assert fitted.model.fixed_j == pytest.approx(3.0, rel=0.1)
    assert fitted.model.request_j == pytest.approx(0.05, rel=0.1)
    assert fitted.outliers >= 20


def test_uncertainty_is_that_of_repeated_fits(rng):
    windows, energy = windows_of(rng, 60)
    fits = [EnergyModel.fit(windows, energy * np.exp(rng.normal(0, 0.03, 60))) for _ in range(60)]
    scatter = np.std([f.model.fixed_j for f in fits], ddof=1)
    stated = np.median([f.standard_errors["fixed_j"] for f in fits])
    assert 0.6 < stated / scatter < 1.6


def test_forgetting_follows_a_change(rng):
    windows, energy = windows_of(rng, 120)
    changed = np.where(np.arange(120) < 60, energy * 1.0, energy * 1.04)
    ages = np.arange(120)[::-1]
    lasting = EnergyModel.fit(windows, changed)
    forgetful = EnergyModel.fit(windows, changed, ages=ages, half_life=8.0)
    assert abs(forgetful.model.fixed_j / (3.0 * 1.04) - 1) < abs(lasting.model.fixed_j / (3.0 * 1.04) - 1)


def test_the_held_out_error_is_that_of_windows_the_fit_has_not_seen(rng):
    fits = []
    for _ in range(40):  # of one draw of eight windows, either median may come out smaller
        windows, energy = windows_of(rng, 8)
        fits.append(EnergyModel.fit(windows, energy * np.exp(rng.normal(0, 0.4, 8))))
    assert np.mean([fit.held_out_error for fit in fits]) > 1.2 * np.mean([fit.fit_error for fit in fits])


def test_windows_that_look_alike_make_a_singular_fit():
    same = [{"iterations": 10.0, "requests": 80.0}] * 12
    with pytest.raises(AttributionError, match="singular fit: requests cannot be told apart from iterations"):
        EnergyModel.fit(same, np.linspace(30, 31, 12))


@pytest.mark.parametrize(
    ("windows", "energy", "settings", "complaint"),
    [
        ([], [], {}, "0 windows"),
        ([{"iterations": 1.0}], [1.0, 2.0], {}, "one figure per window"),
        ([{"iterations": 1.0}], [float("nan")], {}, r"energy_j\[0\] = .*nan"),
        ([{"iterations": 1.0}], [0.0], {}, "must be above 0"),
        ([{"iterations": -1.0}], [1.0], {}, "is a sum of at least 0"),
        ([{}], [1.0], {}, "nothing to fit"),
        ([{"iterations": 1.0}], [1.0], {}, "one more is needed"),
        ([{"iterations": 1.0}] * 3, [1.0] * 3, {"terms": ["gremlins"]}, "gremlins"),
        ([{"iterations": 1.0}] * 3, [1.0] * 3, {"terms": ["requests"]}, "is 0 in every window"),
        ([{"iterations": 1.0}] * 3, [1.0] * 3, {"ages": [1.0], "half_life": 1.0}, "ages must be 3"),
    ],
)
def test_windows_that_cannot_be_fitted_are_named(windows, energy, settings, complaint):
    with pytest.raises(AttributionError, match=complaint):
        EnergyModel.fit(windows, energy, **settings)


def test_non_negative_least_squares_meets_its_optimality_conditions(rng):
    for _ in range(50):
        design = rng.normal(size=(30, 6))
        target = rng.normal(size=30)
        x = nonnegative_least_squares(design, target)
        gradient = design.T @ (target - design @ x)
        assert (x >= 0).all()
        assert np.all(gradient <= 1e-8)
        assert np.all(np.abs(gradient[x > 0]) < 1e-8)


def test_a_coefficient_that_would_be_negative_is_held_at_zero(rng):
    design = rng.uniform(1, 2, (40, 2))
    result = robust_regression(design, design @ np.array([3.0, -1.0]) + 2.0, np.ones(40))
    assert (result.coefficients >= 0).all()
    assert result.covariance[1, 1] == 0.0


def test_a_shape_says_what_the_gpu_should_need():
    shape = Shape(16e9, 131_072, gpu_sheet("H100"))
    fitted = EnergyModel.fit(*windows_of(np.random.default_rng(1), 40), shape=shape)
    assert fitted.physics.expected_pj_per_byte == 185
    assert fitted.physics.weights_pj_per_byte == pytest.approx(3.0 / 16e9 * 1e12, rel=1e-6)
