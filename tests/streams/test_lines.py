"""What stands on a batch's lines: whole microjoules and how sure they are, by the plain formulas to the bit."""

from collections.abc import Callable

import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from schemas.errors import AttributionError
from streams.attribution import apportion
from streams.lines import _anchored, _certainties
from streams.uncertainty.loadings import share_loadings
from streams.uncertainty.sums import Z_90
from streams.whole_microjoules import whole_microjoules

Floats = NDArray[np.float64]

WEIGHTS = st.lists(st.sampled_from([0.0, -1e-9, 0.1, 1 / 3, 1.0, 1.0, 2.5, 1e6]) | st.floats(1e-9, 1e9))


@given(WEIGHTS.map(np.array), st.integers(-5, 60) | st.integers(0, 2**53))
@example(np.array([1e-9, -1.0, 1.0]), 5)
@example(np.array([1.0, 1.0, 1.0, 1.0, 1.0, 1.0]), 3)
@example(np.array([0.1] * 10), 2**53)
@settings(max_examples=500, deadline=None)
def test_whole_microjoules_are_those_of_the_largest_remainder(weights: Floats, total_uj: int) -> None:
    weights = weights.astype(np.float64)
    assert outcome(whole_microjoules, weights, total_uj) == outcome(apportion, weights, total_uj)


def outcome(split: Callable[[Floats, int], NDArray[np.int64]], weights: Floats, total_uj: int) -> object:
    """The microjoules, or what is said against them."""
    try:
        return split(weights, total_uj).tolist()
    except AttributionError as error:
        return str(error)


@given(st.integers(0, 2**32 - 1), st.integers(1, 60), st.sampled_from([0.0, 1e-3, 700.0]))
@settings(max_examples=100, deadline=None)
def test_half_widths_are_those_of_whole_arrays(seed: int, requests: int, total_j: float) -> None:
    rng = np.random.default_rng(seed)
    shares, spread = rng.normal(size=(requests, 7)), rng.normal(size=(7, 7))
    request_j, sampling = rng.random(requests), rng.random(requests) * float(rng.choice([0.0, 0.01]))
    energy_uj, edges = rng.integers(0, 10**9, requests), float(rng.random() * 0.01)

    expected_uj = 1.7e6 * share_loadings(shares, spread, request_j, total_j)
    loadings_uj = _anchored(shares @ spread, request_j, total_j, 1.7e6)
    assert np.array_equal(loadings_uj, expected_uj)

    half_width_uj, narrow_uj, sampling_uj = _certainties(loadings_uj, sampling, energy_uj, edges)
    drawn_uj = sampling * energy_uj
    variance = np.square(expected_uj).sum(axis=1) + drawn_uj**2 + (edges * energy_uj) ** 2
    assert np.array_equal(half_width_uj, np.ceil(Z_90 * np.sqrt(variance)).astype(np.int64))
    assert np.array_equal(narrow_uj, expected_uj.astype(np.float32))
    assert np.array_equal(sampling_uj, np.ceil(drawn_uj).astype(np.int64))
