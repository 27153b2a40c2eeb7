"""The hook on vLLM's own Scheduler: every row as the scheduler had it, in every way a batch can change."""

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from vllm.v1.core.sched.async_scheduler import AsyncScheduler

from producers.hooks import vllm as plugin
from schemas.iterations import IterationFrame, expand
from tests.hooks.fake_agent import FakeAgent
from tests.vllm.scheduler_rig import BLOCK, Rig, Row, make_rig


@pytest.fixture
def agent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeAgent]:
    """An agent that listens, and the hook installed as vLLM would."""
    agent = FakeAgent(tmp_path / "agent.sock")
    for name, value in {
        "WATTLEDGER_SOCKET": str(agent.path),
        "WATTLEDGER_FRAME_S": "0.05",
        "WATTLEDGER_TENANT_FROM": "middleware,xargs",
        "WATTLEDGER_TEST": "1",
    }.items():
        monkeypatch.setenv(name, value)
    plugin.register()
    yield agent
    agent.close()


def recorded(agent: FakeAgent, rig: Rig) -> list[IterationFrame]:
    """All frames up to the one that holds the last iteration."""
    recorder = getattr(rig.scheduler, plugin.TAP).recorder
    agent.wait_for(lambda: sum(len(f.iteration_start_ns) for f in agent.frames) >= rig.iterations)
    assert recorder.on
    recorder.stop()
    return agent.frames


def rows_of(frames: list[IterationFrame]) -> dict[str, list[tuple[int, int, int, int, int]]]:
    """By client id: iteration, new tokens, context, drafts, emitted."""
    rows: dict[str, list[tuple[int, int, int, int, int]]] = {}
    first = 0
    for frame in frames:
        written = expand(frame)
        for iteration, request, tokens, context, drafts, emitted in zip(
            written.iteration.tolist(), written.request.tolist(), written.new_tokens.tolist(),
            written.context_tokens.tolist(), written.drafts.tolist(), written.emitted.tolist(), strict=True,
        ):  # fmt: skip
            client = frame.request_client_id[request]
            rows.setdefault(client, []).append((first + iteration, tokens, context, drafts, emitted))
        first += len(frame.iteration_start_ns)
    return {client: sorted(values) for client, values in rows.items()}


def contexts_of(frames: list[IterationFrame]) -> dict[str, list[tuple[int, int]]]:
    """By client id, row by row: context before, and by how much it grew."""
    found: dict[str, list[tuple[int, int]]] = {}
    for frame in frames:
        rows = expand(frame)
        advance = np.ones(len(rows.iteration), np.int64)
        advance[frame.exception_row] = frame.exception_new_tokens - frame.exception_rejected
        for place in np.argsort(rows.iteration, kind="stable").tolist():
            client = frame.request_client_id[rows.request[place]]
            found.setdefault(client, []).append((int(rows.context_tokens[place]), int(advance[place])))
    return found


def assert_exact(rig: Rig, frames: list[IterationFrame], *, contexts: bool = True) -> None:
    """Rows equal the oracle's, one for one; emitted tokens equal what clients got."""
    found = rows_of(frames)
    expected: dict[str, list[Row]] = {}
    for row in rig.rows:
        expected.setdefault(row.key, []).append(row)
    assert found.keys() == expected.keys()
    for key, rows in expected.items():
        assert [(r.iteration, r.new_tokens, r.drafts) for r in rows] == [
            (iteration, tokens, drafts) for iteration, tokens, _, drafts, _ in found[key]
        ]
        if contexts:
            assert [r.context_tokens for r in rows] == [row[2] for row in found[key]]
        assert sum(row[4] for row in found[key]) == rig.emitted.get(key, 0)


@pytest.mark.parametrize("asynchronous", [False, True])
def test_chunked_prefill_and_mixed_batches(agent: FakeAgent, tmp_path: Path, asynchronous: bool) -> None:
    rig = make_rig(tmp_path / "model", asynchronous=asynchronous, budget=128)
    for index in range(20):
        rig.submit(f"r{index}", [100 + index] * (10 + 37 * index), max_tokens=5 + index)
    rig.run()
    frames = recorded(agent, rig)
    assert max(row.new_tokens for row in rig.rows) > 1
    assert_exact(rig, frames)


@pytest.mark.parametrize("asynchronous", [False, True])
def test_prefix_hits_start_with_their_context(agent: FakeAgent, tmp_path: Path, asynchronous: bool) -> None:
    rig = make_rig(tmp_path / "model", asynchronous=asynchronous)
    prompt = list(range(3, 203))
    for key, salt in (("a", None), ("b", None), ("salted", "s3cret")):
        rig.submit(key, prompt, max_tokens=3, salt=salt)
        rig.run()
    frames = recorded(agent, rig)
    assert_exact(rig, frames)
    cached = {}
    groups = {}
    for frame in frames:
        for index, client in enumerate(frame.request_client_id):
            cached[client] = int(frame.request_cached_tokens[index])
            groups[client] = int(frame.request_prefix_group[index])
    assert cached == {"a": 0, "b": 200 // BLOCK * BLOCK, "salted": 0}
    assert groups["a"] == groups["b"] != groups["salted"]


@pytest.mark.parametrize("asynchronous", [False, True])
def test_preemption_and_recomputation(agent: FakeAgent, tmp_path: Path, asynchronous: bool) -> None:
    rig = make_rig(tmp_path / "model", asynchronous=asynchronous, blocks=24)
    for index in range(6):
        rig.submit(f"r{index}", [50 + index] * 40, max_tokens=60)
    rig.run()
    frames = recorded(agent, rig)
    assert rig.preemptions > 0
    assert_exact(rig, frames)


@pytest.mark.parametrize("accept", [0, 1, 3])
def test_speculative_decoding(agent: FakeAgent, tmp_path: Path, accept: int) -> None:
    rig = make_rig(tmp_path / "model", drafts=3)
    rig.accept = accept
    for index in range(5):
        rig.submit(f"r{index}", [60 + index] * 33, max_tokens=23)
    rig.run()
    frames = recorded(agent, rig)
    assert any(row.drafts for row in rig.rows)
    assert_exact(rig, frames)


@pytest.mark.parametrize("accept", [0, 1, 3])
def test_asynchronous_speculative_decoding(agent: FakeAgent, tmp_path: Path, accept: int) -> None:
    rig = make_rig(tmp_path / "model", asynchronous=True, drafts=3)
    rig.accept = accept
    for index in range(5):
        rig.submit(f"r{index}", [60 + index] * 33, max_tokens=23)
    rig.run()
    frames = recorded(agent, rig)
    assert any(row.drafts for row in rig.rows)
    # Ahead of verification the scheduler counts every draft in; the cache holds those that were accepted.
    assert_exact(rig, frames, contexts=False)
    for rows in contexts_of(frames).values():
        for (context, advance), (after, _) in pairwise(rows):
            assert context + advance == after


def test_pipeline_parallel_passes_overlap_and_every_row_is_exact(agent: FakeAgent, tmp_path: Path) -> None:
    rig = make_rig(tmp_path / "model", pipeline=2, sequences=4, budget=64)
    for index in range(12):
        rig.submit(f"r{index}", [60 + index] * (20 + 3 * index), max_tokens=9)
    rig.run()
    frames = recorded(agent, rig)
    assert_exact(rig, frames)
    starts = np.concatenate([frame.iteration_start_ns for frame in frames])
    ends = np.concatenate([frame.iteration_end_ns for frame in frames])
    assert (np.diff(starts) >= 0).all()
    assert (starts[1:] < ends[:-1]).sum() > len(starts) // 2


def test_asynchronous_overshoot_is_a_row_that_delivers_nothing(agent: FakeAgent, tmp_path: Path) -> None:
    rig = make_rig(tmp_path / "model", asynchronous=True)
    rig.stop_at = {"r0": 4}
    rig.submit("r0", [9] * 20, max_tokens=50)
    rig.submit("r1", [8] * 20, max_tokens=12)
    rig.run()
    rows = rows_of(recorded(agent, rig))
    assert rig.emitted == {"r0": 4, "r1": 12}
    assert [row[4] for row in rows["r0"]] == [1, 1, 1, 1, 0]
    assert_exact(rig, agent.frames)


def test_a_scheduler_derived_by_others_is_tapped_too(agent: FakeAgent, tmp_path: Path) -> None:
    class Instrumented(AsyncScheduler):
        """As Dynamo's --scheduler-cls does: overrides and calls super."""

        def schedule(self, *args, **kwargs):
            return super().schedule(*args, **kwargs)

        def update_from_output(self, scheduler_output, model_runner_output):
            return super().update_from_output(scheduler_output, model_runner_output)

    rig = make_rig(tmp_path / "model", asynchronous=True, base=Instrumented)
    rig.submit("r0", [9] * 20, max_tokens=7)
    rig.run()
    assert_exact(rig, recorded(agent, rig))


def test_aborted_requests_leave_no_trace_behind(agent: FakeAgent, tmp_path: Path) -> None:
    from vllm.v1.request import RequestStatus

    rig = make_rig(tmp_path / "model")
    for index in range(8):
        rig.submit(f"r{index}", [9 + index] * 20, max_tokens=30)
    with pytest.raises(AssertionError, match="come to an end"):
        rig.run(max_steps=10)
    rig.scheduler.finish_requests([f"r{index}" for index in range(8)], RequestStatus.FINISHED_ABORTED)
    rig.run()
    recorder = getattr(rig.scheduler, plugin.TAP).recorder
    frames = recorded(agent, rig)
    assert_exact(rig, frames)
    assert recorder.live_requests == 0


def test_tenants_come_from_the_extra_arguments_if_the_operator_says_so(
    agent: FakeAgent, tmp_path: Path
) -> None:
    rig = make_rig(tmp_path / "model")
    rig.submit("a", [5] * 20, max_tokens=2, tenant="acme")
    rig.submit("b", [6] * 20, max_tokens=2)
    rig.run()
    tenants = {}
    for frame in recorded(agent, rig):
        for client, tenant in zip(frame.request_client_id, frame.request_tenant, strict=True):
            tenants[client] = frame.tenants[tenant]
    assert tenants == {"a": "acme", "b": "no-tenant"}


def test_frames_follow_each_other_without_a_hole(agent: FakeAgent, tmp_path: Path) -> None:
    rig = make_rig(tmp_path / "model", asynchronous=True)
    for index in range(30):
        rig.submit(f"r{index}", [9 + index] * 20, max_tokens=40)
        rig.run()
    frames = recorded(agent, rig)
    assert len(frames) > 1
    assert [frame.sequence for frame in frames] == list(range(len(frames)))
    for before, after in pairwise(frames):
        assert before.end_ns == after.start_ns
        assert before.watermark_ns <= after.watermark_ns
        # What the watermark promised: nothing that started before it comes later.
        assert (after.iteration_start_ns >= before.watermark_ns).all()
