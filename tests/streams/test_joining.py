"""Frames joined in one compiled pass are what whole-array operations make of them, number for number."""

from dataclasses import astuple, fields

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.iterations import UNRECORDED, IterationFrame
from schemas.packed_iterations import packed
from streams.assembly import Requests, assemble
from tests.builders import SECOND, T0, decode_frame
from tests.rig.joining import joined
from tests.strategies import iteration_frames


@given(st.lists(iteration_frames(), min_size=1, max_size=4), st.data())
@settings(max_examples=100, deadline=None)
def test_rows_and_requests_are_those_of_the_reference(
    frames: list[IterationFrame], data: st.DataObject
) -> None:
    starts, ends = (
        np.concatenate([getattr(frame, name) for frame in frames])
        for name in ("iteration_start_ns", "iteration_end_ns")
    )
    edges = sorted({0, *starts.tolist(), *ends.tolist()})
    start_ns = data.draw(st.sampled_from(edges))
    end_ns = data.draw(st.sampled_from([edge for edge in edges if edge >= start_ns])) + 1
    inside = np.flatnonzero((ends > start_ns) & (starts < end_ns))
    first, end = (int(inside[0]), int(inside[-1]) + 1) if inside.size else (0, 0)

    found = assemble([packed(frame) for frame in frames], start_ns, end_ns)
    runs, ordinals, latest = joined(frames, first, end)
    for ours, plain in zip(astuple(found.runs), astuple(runs), strict=True):
        assert np.array_equal(ours, plain)
    assert np.array_equal(found.requests.ordinal, ordinals)
    assert np.array_equal(found.iteration_start_ns, starts[first:end])
    assert np.array_equal(found.iteration_end_ns, ends[first:end])
    for name in ("iteration_kind", "iteration_padded_tokens"):
        every = np.concatenate([getattr(frame, name) for frame in frames])
        assert np.array_equal(getattr(found, name), every[first:end])
    named = [attributes(frame, place) for frame in frames for place in range(len(frame.request_ordinal))]
    ours = [getattr(found.requests, field.name).tolist() for field in fields(Requests)]
    assert [*zip(*ours, strict=True)] == [named[place] for place in latest]


def attributes(frame: IterationFrame, place: int) -> tuple[object, ...]:
    """What the frame says of its request at `place`, in the order of `Requests`."""
    load, adapter = int(frame.request_load[place]), int(frame.request_adapter[place])
    return (
        int(frame.request_ordinal[place]),
        frame.request_client_id[place],
        frame.tenants[frame.request_tenant[place]],
        frame.loads[load] if load >= 0 else "",
        int(frame.request_load_ordinal[place]),
        frame.adapters[adapter] if adapter >= 0 else "",
        int(frame.request_prefix_group[place]),
        int(frame.request_prompt_tokens[place]),
        int(frame.request_cached_tokens[place]),
    )


def test_iterations_that_were_given_up_are_none_of_a_window() -> None:
    whole = decode_frame(0.0, 0.5)
    sums = decode_frame(0.5, 1.0, sequence=1, iterations=1, kind=UNRECORDED)
    frames = [packed(frame) for frame in (whole, sums)]
    found = assemble(frames, T0, T0 + SECOND)
    assert found.iteration_start_ns.tolist() == whole.iteration_start_ns.tolist()
    assert not assemble(frames[1:], T0, T0 + SECOND).iteration_start_ns.size


@given(iteration_frames())
@settings(max_examples=25, deadline=None)
def test_parts_of_iterations_inside_windows_that_touch_add_up_to_one(frame: IterationFrame) -> None:
    if not len(frame.iteration_start_ns):
        return
    left, right = int(frame.iteration_start_ns.min()), int(frame.iteration_end_ns.max())
    middle = (left + right) // 2
    parts = [assemble([packed(frame)], *bounds) for bounds in ((left, middle), (middle, right))]
    inside = sum(float(part.iteration_share.sum()) for part in parts)
    assert abs(inside - len(frame.iteration_start_ns)) < 1e-6
    assert sum(int(part.iteration_ends_here.sum()) for part in parts) == len(frame.iteration_start_ns)
