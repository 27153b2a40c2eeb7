"""Joined frames say what they said apart; sums say how long and how much, and nothing of any request."""

from itertools import pairwise

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from producers.agent.folding import can_join, join, sums_of
from producers.hooks.contract import Admission, Entry, Step
from producers.hooks.spans import FrameHead, SpanRecorder
from schemas.frames import decode_iterations, encode_iterations
from schemas.iterations import UNRECORDED, IterationFrame, expand
from tests.builders import decode_frame

MS = 1_000_000
Row = tuple[int, int, str, str, str, int, int, int, int, int]


@st.composite
def cut_streams(draw: st.DrawFn) -> tuple[list[IterationFrame], IterationFrame]:
    """The same steps as several frames that follow each other, and as one."""
    apart, whole = SpanRecorder(), SpanRecorder()
    running: dict[str, int] = {}
    frames: list[IterationFrame] = []
    now_ns, cut_ns, born = 0, 0, 0
    for _ in range(draw(st.integers(2, 5))):
        for _ in range(draw(st.integers(0, 4))):
            entered, finished, new_tokens = {}, [], {}
            for key in list(running):
                fate = draw(st.sampled_from(["run", "run", "run", "wait", "leave", "again"]))
                if fate == "leave":
                    del running[key]
                    finished.append(key)
                elif fate != "wait":
                    new_tokens[key] = draw(st.sampled_from([1, 1, 1, 5]))
                    if fate == "again":
                        entered[key] = Entry(draw(st.sampled_from([0, 16])))
            for _ in range(draw(st.integers(0, 2))):
                key = f"r{born}"
                born += 1
                adapter = draw(st.sampled_from(["", "sql"]))
                tenant = draw(st.sampled_from(["acme", "globex", "initech"]))
                running[key] = 0
                entered[key] = Entry(
                    0, Admission(f"c-{key}", tenant, 30, adapter=adapter, prefix_group=born % 2)
                )
                new_tokens[key] = draw(st.sampled_from([1, 30]))
            step = Step(
                now_ns, now_ns + MS, new_tokens, sum(new_tokens.values()), entered, finished,
                emitted={key: 1 for key in new_tokens if draw(st.booleans())},
            )  # fmt: skip
            now_ns += draw(st.sampled_from([MS, 2 * MS]))
            for recorder in (apart, whole):
                recorder.add(step, lambda admission: admission.adapter and "load-1")
        now_ns += MS
        frames.append(apart.build(head(len(frames), cut_ns, now_ns)))
        cut_ns = now_ns
    return frames, whole.build(head(len(frames) - 1, 0, now_ns))


def head(sequence: int, start_ns: int, end_ns: int) -> FrameHead:
    return FrameHead("g", "c/n/e", "0-ab", 0, sequence, start_ns, end_ns, end_ns - MS)


def rows(frame: IterationFrame) -> set[Row]:
    """Every row with all that is known of it."""
    written = expand(frame)
    found = set()
    for place, request in enumerate(written.request.tolist()):
        load = int(frame.request_load[request])
        adapter = int(frame.request_adapter[request])
        found.add(
            (
                int(frame.iteration_start_ns[written.iteration[place]]),
                int(frame.request_ordinal[request]),
                frame.request_client_id[request],
                frame.tenants[frame.request_tenant[request]],
                (frame.adapters[adapter] if adapter >= 0 else "") + (frame.loads[load] if load >= 0 else ""),
                int(frame.request_prefix_group[request]),
                int(written.new_tokens[place]),
                int(written.context_tokens[place]),
                int(written.drafts[place]),
                int(written.emitted[place]),
            )
        )
    return found


@settings(max_examples=50)
@given(cut_streams())
def test_joined_frames_are_the_frame_that_was_never_cut(
    streams: tuple[list[IterationFrame], IterationFrame],
) -> None:
    frames, whole = streams
    assert can_join(frames)
    joined = decode_iterations(encode_iterations(join(frames)))
    assert rows(joined) == rows(whole) == set().union(*(rows(frame) for frame in frames))
    assert len(expand(joined).iteration) == len(expand(whole).iteration)
    assert (joined.start_ns, joined.end_ns, joined.watermark_ns) == (0, whole.end_ns, whole.watermark_ns)
    assert joined.iteration_end_ns.tolist() == whole.iteration_end_ns.tolist()
    assert len(joined.span_length) <= len(whole.span_length)


@settings(max_examples=50)
@given(cut_streams())
def test_sums_keep_the_time_and_the_tokens_and_name_nobody(
    streams: tuple[list[IterationFrame], IterationFrame],
) -> None:
    _, whole = streams
    sums = decode_iterations(encode_iterations(sums_of(whole)))
    if not len(whole.iteration_start_ns):
        assert sums.iteration_kind.tolist() == []
        return
    assert sums.iteration_kind.tolist() == [UNRECORDED]
    assert sums.iteration_padded_tokens.sum() == expand(whole).new_tokens.sum()
    assert sums.iteration_start_ns[0] == whole.iteration_start_ns.min()
    assert sums.iteration_end_ns[0] == whole.iteration_end_ns.max()
    assert (sums.request_client_id, sums.tenants, sums.adapters, sums.loads) == ((), (), (), ())
    assert (sums.start_ns, sums.end_ns, sums.sequence) == (whole.start_ns, whole.end_ns, whole.sequence)


def test_frames_with_a_hole_of_two_lives_or_two_engines_are_not_joined() -> None:
    first = decode_frame(0.0, 0.5, sequence=0)
    assert can_join([first, decode_frame(0.5, 1.0, sequence=1)])
    assert not can_join([first, decode_frame(1.0, 1.5, sequence=1)])
    assert not can_join([first, decode_frame(0.5, 1.0, sequence=2)])
    assert not can_join([first, decode_frame(0.5, 1.0, sequence=1, engine_id="lab/node-1/other")])
    assert not can_join([sums_of(first), decode_frame(0.5, 1.0, sequence=1)])


def test_ten_frames_of_steady_decode_take_a_fifth_of_their_room_joined() -> None:
    frames = [decode_frame(n / 2, n / 2 + 0.5, sequence=n, requests=64, iterations=25, context=100 + 25 * n)
              for n in range(10)]  # fmt: skip
    assert all(before.end_ns == after.start_ns for before, after in pairwise(frames))
    apart = sum(len(encode_iterations(frame)) for frame in frames)
    joined = join(frames)
    assert len(joined.span_length) == 64
    assert len(encode_iterations(joined)) < apart / 5
    assert int(np.sum(joined.span_length)) == 64 * 250
