"""Frames joined in one compiled pass are what whole-array operations make of them, number for number."""

from dataclasses import astuple

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.iterations import IterationFrame
from streams.assembly import EXCEPTIONS, SPANS, assemble
from streams.joining import join_rows
from streams.runs import Runs
from tests.rig.joining import joined
from tests.strategies import iteration_frames


@given(st.lists(iteration_frames(), min_size=1, max_size=4), st.data())
@settings(max_examples=60, deadline=None)
def test_rows_and_requests_are_those_of_the_reference(
    frames: list[IterationFrame], data: st.DataObject
) -> None:
    total = sum(len(frame.iteration_start_ns) for frame in frames)
    first = data.draw(st.integers(0, total))
    end = data.draw(st.integers(first, total))
    counts = np.array(
        [
            [len(f.iteration_start_ns), len(f.request_ordinal), len(f.span_length), len(f.exception_row)]
            for f in frames
        ]
    ).T
    columns = [
        tuple(np.concatenate([getattr(frame, name) for frame in frames]) for name in names)
        for names in (("request_ordinal",), SPANS, EXCEPTIONS)
    ]
    found = join_rows(columns[0][0], counts, columns[1], columns[2], first, end)
    runs, ordinals, latest = joined(frames, first, end)
    for ours, plain in zip(astuple(Runs(*found.runs, *found.others)), astuple(runs), strict=True):
        assert np.array_equal(ours, plain)
    assert np.array_equal(columns[0][0][found.latest], ordinals)
    assert np.array_equal(found.latest, latest)


@given(iteration_frames())
@settings(max_examples=25, deadline=None)
def test_parts_of_iterations_inside_windows_that_touch_add_up_to_one(frame: IterationFrame) -> None:
    if not len(frame.iteration_start_ns):
        return
    left, right = int(frame.iteration_start_ns.min()), int(frame.iteration_end_ns.max())
    middle = (left + right) // 2
    parts = [assemble([frame], *bounds) for bounds in ((left, middle), (middle, right))]
    inside = sum(float(part.iteration_share.sum()) for part in parts)
    assert abs(inside - len(frame.iteration_start_ns)) < 1e-6
    assert sum(int(part.iteration_ends_here.sum()) for part in parts) == len(frame.iteration_start_ns)
