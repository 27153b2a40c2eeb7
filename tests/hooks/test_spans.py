"""Frames made by difference say exactly what a recorder that writes every row down would say."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from producers.hooks.contract import Admission, Entry, Step
from producers.hooks.spans import FrameHead, SpanRecorder
from schemas.frames import decode_iterations, encode_iterations
from schemas.iterations import expand

MS = 1_000_000
Row = tuple[int, int, int, int, int, int]
"""iteration, ordinal, new tokens, context, drafts, emitted"""


@dataclass
class Request:
    """One request of the toy scheduler."""

    key: str
    ordinal: int
    context: int = 0
    entered: bool = False


@dataclass
class Engine:
    """A toy scheduler, driven by random choices: it writes every row down, and makes the steps of the
    same.
    """

    draw: Callable[..., Any]
    requests: list[Request] = field(default_factory=list)
    finished: set[str] = field(default_factory=set)
    admitted: int = 0
    now_ns: int = 0
    rows: list[Row] = field(default_factory=list)

    def step(self, iteration: int) -> Step:
        for _ in range(self.draw(st.integers(0, 2))):
            # Clients repeat ids, engines repeat keys once the first holder has finished.
            free = [key for key in "abcdefgh" if key not in {r.key for r in self.requests} | self.finished]
            if free:
                self.requests.append(Request(free[0], -1))
        new_tokens: dict[str, int] = {}
        entered: dict[str, Entry] = {}
        drafts: dict[str, int] = {}
        rejected: dict[str, int] = {}
        emitted: dict[str, int] = {}
        finished, self.finished = self.finished, set()
        for request in self.requests:
            fate = self.draw(st.sampled_from(["run", "run", "run", "skip", "preempted", "stop"]))
            if fate == "skip" and request.entered:
                continue
            if not request.entered:
                request.ordinal, self.admitted = self.admitted, self.admitted + 1
                request.context = self.draw(st.sampled_from([0, 16]))
                entered[request.key] = Entry(
                    request.context, Admission(f"client-{request.key}", "acme", prompt_tokens=40)
                )
                request.entered = True
            elif fate == "preempted":
                request.context = self.draw(st.sampled_from([0, 16, 32]))
                entered[request.key] = Entry(request.context)
            tokens = self.draw(st.sampled_from([1, 1, 1, 1, 3, 17]))
            drafted = tokens - 1 if tokens == 3 else 0
            refused = self.draw(st.integers(0, drafted))
            out = self.draw(st.sampled_from([0, 1, 1, 1])) if not drafted else 1 + drafted - refused
            new_tokens[request.key] = tokens
            if drafted:
                drafts[request.key], rejected[request.key] = drafted, refused
            if out:
                emitted[request.key] = out
            self.rows.append((iteration, request.ordinal, tokens, request.context, drafted, out))
            request.context += tokens - refused
            if fate == "stop":
                self.finished.add(request.key)
        self.requests = [r for r in self.requests if r.key not in self.finished]
        start_ns = self.now_ns + self.draw(st.sampled_from([0, MS]))
        self.now_ns = start_ns + MS
        plain = set(emitted.values()) <= {1} and emitted.keys() == new_tokens.keys()
        return Step(
            start_ns,
            self.now_ns,
            new_tokens,
            sum(new_tokens.values()),
            entered,
            finished,
            drafts,
            rejected,
            None if plain else emitted,
        )


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_expanded_frames_are_the_rows_as_they_ran_across_frames_and_the_wire(data: st.DataObject) -> None:
    engine, recorder = Engine(data.draw), SpanRecorder()
    for sequence in range(data.draw(st.integers(1, 4))):
        engine.rows.clear()
        start_ns = engine.now_ns
        for iteration in range(data.draw(st.integers(0, 6))):
            recorder.add(engine.step(iteration), lambda _: "")
        head = FrameHead("g", "c/n/e", "0-ab", 0, sequence, start_ns, engine.now_ns + MS, engine.now_ns)
        engine.now_ns += MS
        frame = decode_iterations(encode_iterations(recorder.build(head)))
        rows = expand(frame)
        found = zip(
            rows.iteration.tolist(),
            frame.request_ordinal[rows.request].tolist(),
            rows.new_tokens.tolist(),
            rows.context_tokens.tolist(),
            rows.drafts.tolist(),
            rows.emitted.tolist(),
            strict=True,
        )
        assert sorted(found) == sorted(engine.rows)


def decode_steps(count: int, requests: int) -> list[Step]:
    batch = {f"r{index}": 1 for index in range(requests)}
    entered = {key: Entry(9, Admission(key, "acme", prompt_tokens=9)) for key in batch}
    return [
        Step(i * MS, (i + 1) * MS, batch, requests, entered if i == 0 else {}, emitted=None)
        for i in range(count)
    ]


def test_steady_decode_is_one_span_per_request_and_no_exception() -> None:
    recorder = SpanRecorder()
    for step in decode_steps(count=25, requests=64):
        recorder.add(step, lambda _: "")
    frame = recorder.build(FrameHead("g", "c/n/e", "0-ab", 0, 0, 0, 25 * MS, 25 * MS))
    assert len(frame.span_request) == 64
    assert len(frame.exception_row) == 0
    assert frame.span_length.tolist() == [25] * 64
    assert np.all(frame.span_entry_context == 9)


def test_each_load_counts_its_own_requests_from_one() -> None:
    recorder = SpanRecorder()
    loads = {"a": "load-0", "b": "load-1", "c": "load-1", "d": ""}
    entered = {key: Entry(0, Admission(key, "acme", prompt_tokens=1)) for key in loads}
    recorder.add(
        Step(0, MS, dict.fromkeys(loads, 1), 4, entered), lambda admission: loads[admission.client_id]
    )
    frame = recorder.build(FrameHead("g", "c/n/e", "0-ab", 0, 0, 0, MS, MS))
    assert frame.loads == ("load-0", "load-1")
    assert frame.request_load.tolist() == [0, 1, 1, -1]
    assert frame.request_load_ordinal.tolist() == [1, 1, 2, 0]


def test_finished_requests_are_forgotten() -> None:
    recorder = SpanRecorder()
    for step in decode_steps(count=3, requests=8):
        recorder.add(step, lambda _: "")
    recorder.add(Step(3 * MS, 3 * MS, finished=[f"r{index}" for index in range(8)]), lambda _: "")
    assert recorder.live == 0
