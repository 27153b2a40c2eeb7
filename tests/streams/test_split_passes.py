"""The compiled passes of the split give what the attribution package gives, to the bit: the same microjoules."""

from dataclasses import astuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.iterations import IterationFrame
from schemas.packed_iterations import packed
from streams.assembly import EngineWindow, assemble
from streams.attribution import EnergyModel, Hinge, apportion, attribute_trace, held_time, iteration_energy
from streams.attribution.features import iteration_features, weighted_sums
from streams.attribution.trace import iteration_sums
from streams.split_rows import rows_and_sums
from streams.split_shares import declared_shares
from streams.uncertainty.loadings import add_the_rest, term_shares
from tests.rig.plain_split import plain_trace
from tests.strategies import iteration_frames

JOULES = st.sampled_from([0.0, 1e-5, 3.1])
ROOFLINE = Hinge(2e-3, 40.0, per_request=-0.3, per_token=1.0, per_context=1e-4, per_attention=1e-6)


@st.composite
def energy_models(draw: st.DrawFn) -> EnergyModel:
    """Any combination of terms."""
    experts_j = draw(JOULES)
    return EnergyModel(
        fixed_j=draw(JOULES) + 0.1,
        request_j=draw(JOULES),
        prefill_token_j=draw(JOULES),
        context_token_j=draw(JOULES),
        attention_j=draw(JOULES) * 1e-3,
        experts_j=experts_j,
        expert_fraction=draw(st.sampled_from([0.0625, 1.0] if experts_j else [0.0, 0.0625])),
        excess_token_j=draw(JOULES),
        knee_tokens=draw(st.sampled_from([2.0, 128.0, 5000.0])),
        padding_token_j=draw(JOULES) * 1e-6,
        adapter_j=draw(JOULES),
        prefix_group_j=draw(JOULES),
        hinges=(ROOFLINE,) if draw(st.booleans()) else (),
    )


@st.composite
def windows(draw: st.DrawFn) -> EngineWindow:
    """A frame cut anywhere."""
    frame: IterationFrame = draw(iteration_frames())
    first_ns = int(frame.iteration_start_ns.min(initial=frame.start_ns))
    start_ns = draw(st.integers(first_ns, frame.end_ns))
    return assemble([packed(frame)], start_ns, draw(st.integers(start_ns, frame.end_ns + 1)))


@given(windows())
@settings(max_examples=60, deadline=None)
def test_rows_and_sums_are_those_of_whole_arrays(window: EngineWindow) -> None:
    trace, sums = rows_and_sums(window)
    plain = plain_trace(window)
    for ours, theirs in zip(astuple(trace), astuple(plain), strict=True):
        assert np.array_equal(ours, theirs)
    for ours, theirs in zip(astuple(sums), astuple(iteration_sums(plain)), strict=True):
        assert np.array_equal(ours, theirs)


@given(windows(), energy_models(), st.integers(0, 2**53))
@settings(max_examples=100, deadline=None)
def test_shares_are_those_of_the_attribution_package_to_the_bit(
    window: EngineWindow, model: EnergyModel, total_uj: int
) -> None:
    trace, sums = rows_and_sums(window)
    durations = (window.iteration_end_ns - window.iteration_start_ns).astype(np.float64)
    weights = np.stack((trace.weights, trace.weights / 3.0))
    found = declared_shares(trace, sums, model, durations, weights)

    plain = attribute_trace(trace, model, seed=1)
    assert np.array_equal(found.request_j, plain.request_j)
    assert np.array_equal(found.half_widths_j, plain.half_widths_j)
    assert (found.series > 0) == (plain.method == "shapley_series")
    assert np.array_equal(found.iteration_j, iteration_energy(model, trace))
    assert np.array_equal(found.held, held_time(trace, durations))
    add_the_rest(found.linear_terms, model, found.request_j)
    assert np.array_equal(found.linear_terms, term_shares(trace, sums, model, plain.request_j))
    terms = iteration_features(trace, sums, expert_fraction=model.expert_fraction)
    for own, of in zip(found.features, weights, strict=True):
        # The package adds up with the machine's BLAS, in an order that is the machine's.
        assert own == pytest.approx(weighted_sums(terms, of), rel=1e-12, abs=1e-12)
    if found.request_j.sum() > 0:
        assert np.array_equal(apportion(found.request_j, total_uj), apportion(plain.request_j, total_uj))
