"""Errors add up as what they are: common to a model or a meter, or independent; and calibration is honest."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.energy import Meter
from streams.attribution import EnergyModel, Trace
from streams.attribution.closed_form import closed_form
from streams.attribution.features import modelled_energy
from streams.attribution.trace import iteration_sums
from streams.meter_habits import late_share, level
from streams.metering import MeterReadings, measure
from streams.uncertainty.edges import edge_error
from streams.uncertainty.loadings import COEFFICIENTS, root, share_loadings, term_shares
from streams.uncertainty.parameters import calibrate, conformal_quantile
from streams.uncertainty.sensors import UNKNOWN, sensor
from streams.uncertainty.sums import Rows, certainty

MODEL = EnergyModel(
    fixed_j=4.0, request_j=0.08, prefill_token_j=0.03, context_token_j=4e-5, attention_j=1e-7,
    excess_token_j=0.02, knee_tokens=64.0,
)  # fmt: skip


@st.composite
def traces(draw: st.DrawFn) -> Trace:
    """A few requests over a few iterations, decodes and chunks."""
    iterations, requests = draw(st.integers(1, 6)), draw(st.integers(1, 5))
    present = draw(st.lists(st.booleans(), min_size=iterations * requests, max_size=iterations * requests))
    cells = [(i, r) for i in range(iterations) for r in range(requests) if present[i * requests + r]] or [
        (0, 0)
    ]
    tokens = draw(st.lists(st.sampled_from([1, 1, 1, 40, 300]), min_size=len(cells), max_size=len(cells)))
    context = draw(st.lists(st.integers(0, 5000), min_size=len(cells), max_size=len(cells)))
    weights = draw(st.lists(st.floats(0.1, 1.0), min_size=iterations, max_size=iterations))
    at, who = zip(*cells, strict=True)
    return Trace.from_rows(
        at, who, tokens, context, iterations=iterations, requests=requests, weights=weights
    )


@given(trace=traces())
def test_shares_of_single_terms_add_up_to_the_share_under_the_model(trace: Trace):
    request_j = closed_form(trace, MODEL).request_j
    shares = term_shares(trace, iteration_sums(trace), MODEL, request_j)
    figures = np.asarray([getattr(MODEL, name) for name in COEFFICIENTS])
    assert shares @ figures == pytest.approx(request_j, rel=1e-9, abs=1e-9)
    linear = EnergyModel(prefill_token_j=1.0)
    assert shares[:, 2] == pytest.approx(closed_form(trace, linear).request_j, abs=1e-9)


@given(trace=traces(), seed=st.integers(0, 1000))
def test_loadings_are_what_a_small_change_of_the_coefficients_does(trace: Trace, seed: int):
    draw = np.random.default_rng(seed)
    figures = np.asarray([getattr(MODEL, name) for name in COEFFICIENTS])
    mix = draw.standard_normal((7, 7)) * figures[:, None] * 1e-5
    spread = root(mix @ mix.T)
    assert spread @ spread.T == pytest.approx(mix @ mix.T, rel=1e-6, abs=1e-30)
    request_j = closed_form(trace, MODEL).request_j
    shares = term_shares(trace, iteration_sums(trace), MODEL, request_j)
    loadings = share_loadings(shares, spread, request_j, float(request_j.sum()))
    for column in range(7):
        moved = shares @ (figures + spread[:, column])
        exact = moved / moved.sum() - request_j / request_j.sum()
        assert loadings[:, column] == pytest.approx(exact, rel=0.01, abs=1e-8)
    assert loadings.sum(axis=0) == pytest.approx(np.zeros(7), abs=1e-9), "the meter fixes the sum"


def rows(size: int, **changes: object) -> Rows:
    values: dict[str, object] = {
        "energy_uj": np.full(size, 1e6), "loadings_uj": np.zeros((size, 7)), "sampling_uj": np.zeros(size),
        "engine_class": np.zeros(size, np.int64), "group": np.zeros(size, np.int64),
        "gpus": np.ones(size, np.int64), "edge_error": np.zeros(size), "batch": np.arange(size),
    }  # fmt: skip
    return Rows(**{**values, **changes})  # type: ignore[arg-type]


def test_sampling_averages_out_and_a_meters_bias_does_not():
    known = sensor("NVIDIA H100 80GB HBM3")
    one, many = (certainty(rows(n, sampling_uj=np.full(n, 1e4)), known) for n in (1, 100))
    assert many.model_uj / many.energy_uj == pytest.approx(one.model_uj / one.energy_uj / 10)
    assert (
        many.meter_uj / many.energy_uj == pytest.approx(one.meter_uj / one.energy_uj) == pytest.approx(0.05)
    )


def test_meters_of_many_gpus_average_out_but_for_what_their_generation_shares():
    known = sensor("NVIDIA H100 80GB HBM3")
    fleet = certainty(rows(10_000, group=np.arange(10_000)), known)
    assert fleet.meter_uj / fleet.energy_uj == pytest.approx(0.05 / 2**0.5, rel=0.01)


def test_errors_of_a_model_that_help_one_request_and_hurt_another_cancel_in_their_sum():
    loadings = np.zeros((2, 7))
    loadings[:, 0] = [5e4, -5e4]
    assert certainty(rows(2, loadings_uj=loadings), UNKNOWN).model_uj == 0
    assert certainty(rows(2, loadings_uj=np.abs(loadings)), UNKNOWN).model_uj == pytest.approx(1.6449 * 1e5)
    two_classes = rows(2, loadings_uj=np.abs(loadings), engine_class=np.asarray([0, 1]))
    assert certainty(two_classes, UNKNOWN).model_uj == pytest.approx(1.6449 * 5e4 * 2**0.5)


def test_an_edge_is_common_to_the_rows_of_its_batch():
    apart = certainty(rows(4, edge_error=np.full(4, 0.01)), UNKNOWN).model_uj
    together = certainty(rows(4, edge_error=np.full(4, 0.01), batch=np.zeros(4)), UNKNOWN).model_uj
    assert together == pytest.approx(2 * apart)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=200))
def test_the_conformal_quantile_leaves_at_most_a_tenth_above_it(errors: list[float]):
    limit = conformal_quantile(errors)
    assert sum(error > limit for error in errors) <= 0.1 * len(errors)


TRUTH = EnergyModel(fixed_j=4.0, request_j=0.08, context_token_j=4e-5)
TERMS = ("iterations", "requests", "context_tokens")


def windows(count: int, seed: int, noise: float) -> tuple[list[dict[str, float]], np.ndarray]:
    """Windows at random batches and contexts, and what TRUTH makes of them."""
    draw = np.random.default_rng(seed)
    batches, contexts = draw.integers(2, 60, count), draw.integers(10**5, 10**7, count)
    found = [
        {"iterations": 100.0, "requests": 100.0 * batch, "context_tokens": float(context)}
        for batch, context in zip(batches.tolist(), contexts.tolist(), strict=True)
    ]
    joules = np.asarray([modelled_energy(TRUTH, window) for window in found])
    return found, joules * (1 + noise * draw.standard_normal(count))


def deviation(count: int, noise: float) -> np.ndarray:
    """Standard errors of the coefficients in the order of COEFFICIENTS."""
    found, energy = windows(count, 3, noise)
    errors = energy / np.asarray([modelled_energy(TRUTH, window) for window in found]) - 1
    calibrated = calibrate(found, energy, errors, TRUTH, prior=TRUTH, fitted=TERMS, weights=np.ones(count))
    return np.sqrt(np.diag(calibrated.covariance))


def test_more_windows_make_coefficients_surer_and_more_scatter_less_sure():
    assert (deviation(400, 0.02)[[0, 1, 3]] < 0.7 * deviation(100, 0.02)[[0, 1, 3]]).all()
    assert (deviation(100, 0.06)[[0, 1, 3]] > 2 * deviation(100, 0.02)[[0, 1, 3]]).all()


def test_windows_that_err_together_count_less_than_windows_that_do_not():
    found, energy = windows(160, 5, 0.0)
    draw = np.random.default_rng(1)

    def birge(errors: np.ndarray) -> float:
        return calibrate(found, energy, errors, TRUTH, prior=TRUTH, fitted=TERMS, weights=np.ones(160)).birge

    alone = birge(0.02 * draw.standard_normal(160))
    together = birge(np.repeat(0.02 * draw.standard_normal(16), 10))
    assert together > 1.5 * alone


def readings(power_w: np.ndarray) -> MeterReadings:
    """A counter read every 100 ms over steps of this power."""
    times = np.arange(len(power_w) + 1) * 100_000_000
    joules = np.concatenate([[0.0], np.cumsum(power_w * 0.1)])
    return MeterReadings(
        Meter("GPU-0", "gpu", "e", "gpu", "counter"), times, np.rint(joules * 1e6).astype(np.int64)
    )


def test_a_window_that_ends_as_it_began_is_surer_than_one_that_does_not_and_a_longer_one_than_a_shorter():
    known = sensor("H100")
    steady, rising = readings(np.full(100, 500.0)), readings(np.linspace(200, 700, 100))
    assert edge_error(measure([steady], 0, 10**10), known) == pytest.approx(0.0, abs=1e-9)
    short = edge_error(measure([rising], 0, 5 * 10**9), known)
    long = edge_error(measure([readings(np.linspace(200, 700, 400))], 0, 4 * 10**10), known)
    assert short > long > 0


@given(cut=st.floats(0.1, 4.9), average=st.floats(0.1, 2.0))
def test_what_a_late_counter_owes_is_half_its_average_of_steady_work(cut: float, average: float):
    edges = np.linspace(0, 10e9, 1001).astype(np.int64)
    until = round((5 + cut) * 1e9)
    owed = late_share(edges[:-1], edges[1:], until, average)
    assert (owed >= 0).all()
    assert (owed <= 1).all()
    inside = float((owed * np.diff(edges)).sum()) / 1e9
    assert inside == pytest.approx(average / 2, rel=0.02, abs=0.01)


def test_levels_take_off_what_meters_differ_by_and_nothing_else():
    found, energy = windows(80, 2, 0.0)
    group = ["a"] * 40 + ["b"] * 40
    biased = energy * np.repeat([1.04, 0.96], 40)
    ratio = level(found, biased, group, TRUTH) / energy
    assert ratio == pytest.approx(np.full(80, ratio[0]))
