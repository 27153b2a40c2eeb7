"""A window at once: equal to the sum of its iterations, whatever the order, weights or length."""

import numpy as np
import pytest

from schemas.errors import AttributionError
from streams.attribution import EnergyModel, IterationRows, Trace, apportion, attribute_trace
from tests.attribution.random_games import DENSE, MIXTURE, ROOFLINE

MODELS = {"dense": DENSE, "mixture": MIXTURE, "roofline": ROOFLINE}


def traffic(rng, iterations=60, arrivals=0.5, chunk=256):
    """Rows of a small engine: chunked prefill, decode, speculative steps, requests that leave and come back."""
    rows, live, requests = [], [], 0
    for t in range(iterations):
        for _ in range(rng.poisson(arrivals) + (8 if t == 0 else 0)):
            live.append([requests, int(rng.integers(1, 600)), 0, int(rng.geometric(0.03))])
            requests += 1
        for request in live:
            who, prompt, context, _ = request
            if rng.random() < 0.03:
                continue  # preempted for one iteration
            q = min(prompt, chunk) if prompt else int(rng.choice([1, 1, 1, 3]))
            rows.append((t, who, q, context))
            request[1] = max(0, prompt - q)
            request[2] += q if prompt else int(rng.integers(1, q + 1))
            request[3] -= 0 if prompt else 1
        live = [r for r in live if r[3] > 0]
    return np.array(sorted(rows, key=lambda r: (r[1], r[0]))).T, requests


def window(rng, columns, requests, iterations=60):
    return {
        "iterations": iterations,
        "requests": requests,
        "weights": rng.choice([1.0, 1.0, 0.25, 0.0], iterations),
        "padded_tokens": rng.integers(0, 400, iterations),
        "adapter": rng.integers(-1, 3, requests),
        "prefix_group": rng.integers(0, 5, requests).astype(np.uint64) * 2**40,
    }


def sum_of_iterations(model, columns, settings):
    t, who, q, c = columns
    total = np.zeros(settings["requests"])
    for i in range(settings["iterations"]):
        at = np.flatnonzero(t == i)
        if at.size == 0:
            continue
        adapter, group = settings["adapter"][who[at]], settings["prefix_group"][who[at]]
        rows = IterationRows(q[at], c[at], adapter, group, int(settings["padded_tokens"][i]))
        split = attribute_trace(rows.trace(), model, seed=0)
        total[who[at]] += split.request_j * settings["weights"][i]
    return total


@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)
def test_a_window_is_the_sum_of_its_iterations(rng, model):
    columns, requests = traffic(rng)
    settings = window(rng, columns, requests)
    split = attribute_trace(Trace.from_rows(*columns, **settings), model, seed=0)
    np.testing.assert_allclose(
        split.request_j, sum_of_iterations(model, columns, settings), rtol=1e-9, atol=1e-12
    )
    assert split.request_j.sum() == pytest.approx(split.iteration_j.sum(), rel=1e-11)


def test_rows_may_come_in_any_order(rng):
    columns, requests = traffic(rng)
    settings = window(rng, columns, requests)
    shuffled = columns[:, rng.permutation(columns.shape[1])]
    by_iteration = columns[:, np.lexsort((columns[1], columns[0]))]
    expected = attribute_trace(Trace.from_rows(*columns, **settings), DENSE, seed=0).request_j
    for other in (shuffled, by_iteration):
        got = attribute_trace(Trace.from_rows(*other, **settings), DENSE, seed=0).request_j
        np.testing.assert_allclose(got, expected, rtol=1e-9, atol=1e-12)


def test_a_long_stay_is_exact_far_into_a_long_window():
    n, length = 4, 30_000
    iteration = np.tile(np.arange(length), n)
    request = np.repeat(np.arange(n), length)
    context = 1000 * request + iteration
    trace = Trace.from_rows(
        iteration, request, np.ones(n * length, int), context, iterations=length, requests=n + 1
    )
    late = Trace.from_rows(
        np.append(iteration, length - 1),
        np.append(request, n),
        np.ones(n * length + 1, int),
        np.append(context, 7),
        iterations=length,
        requests=n + 1,
    )
    model = EnergyModel(fixed_j=3.0, request_j=0.03, context_token_j=2.4e-5)
    split = attribute_trace(trace, model, seed=0).request_j
    expected = length * (3.0 / n + 0.03) + 2.4e-5 * (
        1000.0 * np.arange(n) * length + length * (length - 1) / 2
    )
    np.testing.assert_allclose(split[:n], expected, rtol=1e-12)
    assert attribute_trace(late, model, seed=0).request_j[n] == pytest.approx(
        3.0 / (n + 1) + 0.03 + 7 * 2.4e-5, rel=1e-8
    )


@pytest.mark.parametrize("method", ["truncated", "sampled"])
def test_played_iteration_by_iteration_a_window_is_the_sum_of_its_games(rng, method):
    columns, requests = traffic(rng, iterations=12)
    settings = window(rng, columns, requests, iterations=12)
    trace = Trace.from_rows(*columns, **settings)
    how = {"method": method, "permutations": 20, "max_permutations": 40, "seed": 5}
    split = attribute_trace(trace, MIXTURE, **how)
    alone = [
        attribute_trace(trace.reweighted(np.where(np.arange(12) == t, trace.weights, 0.0)), MIXTURE, **how)
        for t in range(12)
    ]
    np.testing.assert_allclose(split.request_j, sum(one.request_j for one in alone), rtol=1e-12)
    assert split.evaluations == sum(one.evaluations for one in alone)
    assert split.request_j.sum() == pytest.approx(split.iteration_j.sum(), rel=1e-9)
    assert split.method.startswith(f"shapley_{method}_K") or split.method == "shapley_exact"


def test_sampling_a_window_lands_near_the_closed_form(rng):
    columns, requests = traffic(rng, iterations=12)
    settings = window(rng, columns, requests, iterations=12)
    trace = Trace.from_rows(*columns, **settings)
    exact = attribute_trace(trace, MIXTURE, seed=0).request_j
    sampled = attribute_trace(trace, MIXTURE, method="sampled", seed=0)
    assert np.all(np.abs(sampled.request_j - exact) <= 4 * sampled.half_widths_j + 1e-9 * exact)


def test_a_window_books_its_measured_energy_to_the_microjoule(rng):
    columns, requests = traffic(rng)
    settings = window(rng, columns, requests)
    split = attribute_trace(Trace.from_rows(*columns, **settings), DENSE, seed=0)
    measured = int(rng.integers(1, 10**10))
    assert int(apportion(np.append(split.request_j, 12.5), measured).sum()) == measured


def test_a_window_without_rows_attributes_nothing():
    split = attribute_trace(Trace.from_rows([], [], [], [], iterations=3, requests=0), DENSE, seed=0)
    assert split.request_j.size == 0
    assert split.iteration_j.tolist() == [0.0, 0.0, 0.0]


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"new_tokens": [1, -1]}, r"new_tokens\[1\] = .*-1"),
        ({"new_tokens": [1.0, float("nan")]}, r"new_tokens\[1\] = .*missing is not 0"),
        ({"context_tokens": [1, -5]}, "context_tokens"),
        ({"context_tokens": [1.5, 2.0]}, "not a whole number"),
        ({"iteration": [0, 2]}, r"iteration\[1\] = .*in 0\.\.1"),
        ({"request": [0, 9]}, "request"),
        ({"request": [0]}, "one number per row"),
        ({"weights": [1.0, -1.0]}, "weights"),
        ({"weights": [1.0, float("nan")]}, "weights"),
        ({"padded_tokens": [-1, 0]}, "padded_tokens"),
        ({"adapter": [0, -2]}, "adapter"),
        ({"prefix_group": [0.5, 1.0]}, "prefix_group"),
    ],
)
def test_bad_rows_are_named(change, complaint):
    good = {
        "iteration": [0, 1],
        "request": [0, 1],
        "new_tokens": [1, 1],
        "context_tokens": [5, 6],
        "iterations": 2,
        "requests": 2,
    }
    with pytest.raises(AttributionError, match=complaint):
        Trace.from_rows(**(good | change))
