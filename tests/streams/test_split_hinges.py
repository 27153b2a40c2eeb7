"""The compiled pass over a window's hinges gives what the attribution package gives, tier by tier, to the bit."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.attribution import Hinge, Trace, hinges
from streams.attribution.trace import iteration_sums
from streams.split_hinges import hinge_shares

HINGES = (
    st.builds(lambda knee: Hinge(1.0, knee, per_token=1.0), st.sampled_from([2.0, 4.0, 20.5, 128.0]))
    | st.builds(lambda least: Hinge(2.0, least, per_request=0.5, per_token=0.7), st.floats(0.0, 60.0))
    | st.sampled_from(
        [
            Hinge(1.0, 3.0, per_context=0.1),
            Hinge(1.0, 10.0, per_request=0.5, per_token=0.7, per_context=-0.02),
            Hinge(2e-3, 40.0, per_request=-0.3, per_token=1.0, per_context=1e-4, per_attention=1e-6),
            Hinge(1.0, 0.0, per_request=-1.0, per_token=1.0),
        ]
    )
)


@st.composite
def traces(draw: st.DrawFn) -> Trace:
    """Windows in which a few, none or most rows are chunks, many of them alike."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    iterations, requests = draw(st.integers(1, 10)), draw(st.integers(1, 24))
    chunks = draw(st.sampled_from([0.0, 0.05, 0.2, 0.6]))
    at, who = np.nonzero(rng.random((iterations, requests)) < draw(st.sampled_from([0.2, 0.8, 1.0])))
    tokens = np.where(rng.random(len(at)) < chunks, rng.choice([2, 3, 50, 512], len(at)), 1)
    context = rng.integers(0, 50, len(at)) * int(rng.integers(1, 100))
    return Trace.from_rows(
        at, who, tokens, context, iterations=iterations, requests=requests, weights=rng.random(iterations)
    )


@given(traces(), HINGES)
@settings(max_examples=300, deadline=None)
def test_a_hinge_s_shares_are_those_of_the_attribution_package_to_the_bit(trace: Trace, hinge: Hinge) -> None:
    sums = iteration_sums(trace)
    ours, theirs = hinge_shares(trace, sums, hinge), hinges.hinge_shares(trace, sums, hinge)
    assert np.array_equal(ours.slope, theirs.slope)
    assert np.array_equal(ours.wide, theirs.wide)
    assert np.array_equal(ours.by_request, theirs.by_request)
    assert np.array_equal(ours.half_widths, theirs.half_widths)
    assert ours.series == theirs.series
