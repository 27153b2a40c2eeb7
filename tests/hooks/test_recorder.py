"""The recorder and its socket: nothing lost that could be kept, every loss a hole, no error reaches the engine."""

import logging
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from producers import wire
from producers.hooks.contract import Admission, EngineFacts, Entry, Step
from producers.hooks.recorder import Recorder
from producers.hooks.settings import HookSettings
from schemas.errors import MalformedMessage
from schemas.iterations import expand
from tests.hooks.fake_agent import FakeAgent

FACTS = EngineFacts("tiny", "engine 1", "tiny", "bfloat16", ("GPU-0",))


def step(payload: str, start_ns: int, end_ns: int) -> Step:
    """One request, admitted anew in every pass; `payload` is its key."""
    if payload == "poison":
        raise ValueError("poisoned payload")
    entered = {payload: Entry(0, Admission(payload, "acme", prompt_tokens=1))}
    return Step(start_ns, end_ns, {payload: 1}, 1, entered, emitted=None)


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[FakeAgent]:
    agent = FakeAgent(tmp_path / "agent.sock")
    yield agent
    agent.close()


def settings(path: Path, **changes: object) -> HookSettings:
    return HookSettings(**{"socket": str(path), "frame_s": 0.02, **changes})  # type: ignore[arg-type]


def record(recorder: Recorder, key: str) -> None:
    opened = recorder.open()
    assert opened is not None
    recorder.close(opened, key)


def clients(agent: FakeAgent) -> list[str]:
    return [client for frame in agent.frames for client in frame.request_client_id]


def test_passes_reach_the_agent_under_the_agents_names(agent: FakeAgent) -> None:
    recorder = Recorder(FACTS, step, settings(agent.path))
    recorder.start()
    agent.wait_for(lambda: bool(agent.messages))
    record(recorder, "a")
    agent.wait_for(lambda: clients(agent) == ["a"])
    recorder.stop()
    assert agent.hellos[0].facts == FACTS
    assert {frame.engine_id for frame in agent.frames if frame.request_client_id} == {"test/node/tiny"}


def test_the_last_half_second_is_sent_when_the_engine_stops(agent: FakeAgent) -> None:
    recorder = Recorder(FACTS, step, settings(agent.path, frame_s=0.5))
    recorder.start()
    agent.wait_for(lambda: bool(agent.messages))
    record(recorder, "last")
    recorder.stop()
    agent.wait_for(lambda: clients(agent) == ["last"])


def test_an_idle_engine_sends_heartbeats_that_move_its_watermark(agent: FakeAgent) -> None:
    recorder = Recorder(FACTS, step, settings(agent.path))
    recorder.start()
    agent.wait_for(lambda: len(agent.messages) >= 5)
    recorder.stop()
    frames = agent.frames
    assert all(frame.watermark_ns == frame.end_ns for frame in frames)
    assert [frame.sequence for frame in frames] == list(range(len(frames)))


def test_a_pass_in_flight_holds_the_watermark_until_it_ends(agent: FakeAgent) -> None:
    recorder = Recorder(FACTS, step, settings(agent.path))
    opened = recorder.open()
    assert opened is not None
    recorder.start()
    agent.wait_for(lambda: len(agent.messages) >= 3)
    recorder.close(opened, "a")
    agent.wait_for(lambda: clients(agent) == ["a"])
    recorder.stop()
    start_ns = next(int(f.iteration_start_ns[0]) for f in agent.frames if len(f.iteration_start_ns))
    assert agent.frames[0].watermark_ns <= start_ns
    assert agent.frames[-1].watermark_ns > start_ns


def test_frames_wait_for_an_absent_agent_and_arrive_in_order(tmp_path: Path) -> None:
    path = tmp_path / "later.sock"
    recorder = Recorder(FACTS, step, settings(path))
    recorder.start()
    for index in range(10):
        record(recorder, f"r{index}")
    agent = FakeAgent(path)
    agent.wait_for(lambda: len(clients(agent)) == 10)
    recorder.stop()
    assert clients(agent) == [f"r{index}" for index in range(10)]
    assert [frame.sequence for frame in agent.frames] == list(range(len(agent.frames)))
    agent.close()


def test_what_an_agent_did_not_acknowledge_is_sent_again_to_the_next(tmp_path: Path) -> None:
    path = tmp_path / "agent.sock"
    deaf = FakeAgent(path, acknowledge=False)
    recorder = Recorder(FACTS, step, settings(path))
    recorder.start()
    record(recorder, "a")
    deaf.wait_for(lambda: clients(deaf) == ["a"])
    deaf.close()
    agent = FakeAgent(path)
    agent.wait_for(lambda: "a" in clients(agent))
    recorder.stop()
    assert agent.frames[0].sequence == 0
    agent.close()


def test_a_full_buffer_drops_the_oldest_frames_and_leaves_a_hole(tmp_path: Path) -> None:
    path = tmp_path / "later.sock"
    recorder = Recorder(FACTS, step, settings(path, buffer_bytes=600))
    for index in range(20):
        record(recorder, f"r{index}")
        recorder.cut()
    recorder.start()
    agent = FakeAgent(path)
    agent.wait_for(lambda: "r19" in clients(agent))
    recorder.stop()
    sequences = [frame.sequence for frame in agent.frames]
    assert sequences[0] > 0
    assert sequences == list(range(sequences[0], sequences[0] + len(sequences)))
    agent.close()


def test_passes_beyond_the_queue_cost_their_frame_and_leave_a_hole(agent: FakeAgent) -> None:
    recorder = Recorder(FACTS, step, settings(agent.path, max_passes=4))
    for index in range(4):
        record(recorder, f"r{index}")
    assert recorder.open() is None
    recorder.cut()
    record(recorder, "after")
    recorder.start()
    agent.wait_for(lambda: "after" in clients(agent))
    recorder.stop()
    assert clients(agent) == ["after"]
    assert agent.frames[0].sequence == 1


def test_an_error_switches_the_hook_off_logs_once_and_tells_the_agent(
    agent: FakeAgent, caplog: pytest.LogCaptureFixture
) -> None:
    recorder = Recorder(FACTS, step, settings(agent.path))
    recorder.start()
    with caplog.at_level(logging.ERROR):
        record(recorder, "poison")
        agent.wait_for(lambda: bool(agent.offs))
        before = len(agent.messages)
        for _ in range(3):
            recorder.switch_off("again")
    recorder.stop()
    assert not recorder.on
    assert "poisoned payload" in agent.offs[0].reason
    assert len([r for r in caplog.records if "energy hook is off" in r.message]) == 1
    assert len(agent.messages) == before


def test_loads_reach_an_agent_that_came_late_and_count_their_requests(tmp_path: Path) -> None:
    path = tmp_path / "later.sock"
    recorder = Recorder(FACTS, step, settings(path))
    recorder.start()
    load_id = recorder.loads.started("model_load", "tiny")
    recorder.loads.ended(load_id)
    record(recorder, "a")
    record(recorder, "b")
    agent = FakeAgent(path)
    agent.wait_for(lambda: clients(agent) == ["a", "b"] and len(agent.loads) == 2)
    recorder.stop()
    assert [load.end_ns > 0 for load in agent.loads] == [False, True]
    ordinals = [k for frame in agent.frames for k in frame.request_load_ordinal.tolist()]
    assert ordinals == [1, 2]
    agent.close()


def test_an_adapters_requests_are_counted_under_its_own_load(agent: FakeAgent) -> None:
    def adapted(payload: str, start_ns: int, end_ns: int) -> Step:
        entry = Entry(0, Admission(payload, "acme", prompt_tokens=1, adapter="sql"))
        return Step(start_ns, end_ns, {payload: 1}, 1, {payload: entry}, emitted=None)

    recorder = Recorder(FACTS, adapted, settings(agent.path))
    recorder.loads.ended(recorder.loads.started("model_load", "tiny"))
    adapter = recorder.loads.started("adapter_load", "sql")
    recorder.loads.ended(adapter)
    recorder.start()
    record(recorder, "a")
    agent.wait_for(lambda: clients(agent) == ["a"])
    recorder.stop()
    assert [frame.loads for frame in agent.frames if frame.loads] == [(adapter,)]


def test_iterations_are_whole_microseconds_and_at_least_one_long(agent: FakeAgent) -> None:
    recorder = Recorder(FACTS, step, settings(agent.path))
    recorder.start()
    for index in range(50):
        record(recorder, f"r{index}")
    agent.wait_for(lambda: len(clients(agent)) == 50)
    recorder.stop()
    for frame in agent.frames:
        assert (frame.iteration_start_ns % 1000 == 0).all()
        assert (frame.iteration_end_ns > frame.iteration_start_ns).all()
        assert len(expand(frame).iteration) == len(frame.iteration_start_ns)


def test_a_stream_that_is_not_ours_is_named_and_refused() -> None:
    reader = wire.MessageReader()
    with pytest.raises(MalformedMessage, match="message type 99"):
        list(reader.feed(wire.HEADER.pack(1, 99)))
    with pytest.raises(MalformedMessage, match="message length"):
        list(wire.MessageReader().feed(b"GET / HTTP/1.1\r\n"))


def test_messages_cut_anywhere_are_put_together_again() -> None:
    stream = wire.ack(7) + wire.frame_message(wire.Frame(3, 9, b"payload")) + wire.ack(8)
    reader = wire.MessageReader()
    found = [found for place in range(len(stream)) for found in reader.feed(stream[place : place + 1])]
    assert [kind for kind, _ in found] == [wire.Kind.ACK, wire.Kind.FRAME, wire.Kind.ACK]
    assert wire.read_frame(found[1][1]) == wire.Frame(3, 9, b"payload")


def test_a_last_frame_waits_for_the_agents_welcome(tmp_path: Path) -> None:
    agent = FakeAgent(tmp_path / "agent.sock")
    recorder = Recorder(FACTS, step, settings(agent.path, frame_s=5.0))
    recorder.start()
    record(recorder, "only")
    recorder.stop()
    agent.wait_for(lambda: clients(agent) == ["only"])
    agent.close()


def test_an_engine_that_ends_does_not_wait_for_an_agent_that_is_not_there(tmp_path: Path) -> None:
    recorder = Recorder(FACTS, step, settings(tmp_path / "nobody.sock", frame_s=5.0))
    recorder.start()
    record(recorder, "unheard")
    began_s = time.monotonic()
    recorder.stop(timeout_s=60.0)
    assert time.monotonic() - began_s < 30
