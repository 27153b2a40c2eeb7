"""The SGLang hook on SGLang's own classes: its registry, its scheduler, its requests and batches; on CPU, no model.

What is played here is the event loop and the model's answers; every structure that the hook reads is the package's.
`make test-sglang` runs this in an environment with the package.
"""

from array import array
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from sglang.srt import runtime_context
from sglang.srt.managers.schedule_batch import FINISH_LENGTH, Req, ScheduleBatch
from sglang.srt.managers.scheduler import Scheduler
from sglang.srt.model_executor.forward_batch_info import ForwardMode
from sglang.srt.plugins.hook_registry import HookRegistry
from sglang.srt.sampling.sampling_params import SamplingParams
from sglang.version import __version__

from producers.hooks import sglang as plugin
from schemas.iterations import DUMMY, IterationFrame, expand
from tests.hooks.fake_agent import FakeAgent

ANSWER = 7


def run_batch(self: Any, batch: Any, pp_proxy_tensors: Any = None) -> str:
    """In the place of a forward pass."""
    return "result"


def process_batch_result(self: Any, batch: Any, result: Any) -> None:
    """A token for each request that the test says, and the end of those that have had enough."""
    for req in batch.gets_a_token:
        req.output_ids.append(ANSWER)
        if len(req.output_ids) >= req.sampling_params.max_new_tokens:
            req.finished_reason = FINISH_LENGTH(len(req.output_ids))


@pytest.fixture(scope="module")
def wrapped() -> None:
    """The real Scheduler class with the hook applied by SGLang's own registry."""
    Scheduler.run_batch = run_batch  # type: ignore[method-assign]
    Scheduler.process_batch_result = process_batch_result  # type: ignore[method-assign]
    plugin.register()
    HookRegistry.apply_hooks()


@pytest.fixture
def agent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeAgent]:
    agent = FakeAgent(tmp_path / "agent.sock")
    monkeypatch.setenv("WATTLEDGER_SOCKET", str(agent.path))
    monkeypatch.setenv("WATTLEDGER_FRAME_S", "0.05")
    monkeypatch.setenv("WATTLEDGER_GPU_UUIDS", "GPU-0")
    monkeypatch.setenv("WATTLEDGER_TENANT_FROM", "xargs")
    yield agent
    agent.close()


@pytest.fixture
def scheduler(wrapped: None, agent: FakeAgent, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A Scheduler without workers: what its hook reads is there."""
    monkeypatch.setattr(runtime_context, "get_parallel", lambda: SimpleNamespace(tp_rank=0, pp_rank=0))
    found = object.__new__(Scheduler)
    found.server_args = SimpleNamespace(
        served_model_name="org/tiny", model_path="org/tiny", quantization=None, dtype="bfloat16", tp_size=1,
        pp_size=1, dp_size=1,
    )  # fmt: skip
    return found


def request(rid: str, prompt: int, answer: int, tenant: str = "acme") -> Req:
    parameters = SamplingParams(max_new_tokens=answer, custom_params={"tenant": tenant})
    return Req(rid, "", array("q", range(prompt)), parameters, vocab_size=512)


def batch(mode: ForwardMode, reqs: list[Req], gets: list[Req], **fields: Any) -> ScheduleBatch:
    made = ScheduleBatch(reqs=reqs, forward_mode=mode, **fields)
    made.gets_a_token = gets  # type: ignore[attr-defined]
    return made


def extend(reqs: list[Req], tokens: list[int], cached: list[int], gets: list[Req]) -> ScheduleBatch:
    return batch(ForwardMode.EXTEND, reqs, gets, extend_lens=tokens, prefix_lens=cached)


def decode(reqs: list[Req], lengths: list[int], gets: list[Req]) -> ScheduleBatch:
    return batch(ForwardMode.DECODE, reqs, gets, seq_lens_cpu=torch.tensor(lengths))


def rows(agent: FakeAgent, passes: int) -> list[tuple[str, int, int, int]]:
    """Client, tokens, context, emitted, once so many passes are there."""
    agent.wait_for(lambda: sum(len(f.iteration_start_ns) for f in agent.frames) >= passes)
    found: list[tuple[int, str, int, int, int]] = []
    first = 0
    for frame in agent.frames:
        written = expand(frame)
        for place in range(len(written.iteration)):
            client = frame.request_client_id[written.request[place]]
            numbers = (written.new_tokens[place], written.context_tokens[place], written.emitted[place])
            found.append((first + int(written.iteration[place]), client, *map(int, numbers)))
        first += len(frame.iteration_start_ns)
    return [row[1:] for row in sorted(found, key=lambda row: row[0])]


def test_the_version_is_the_one_that_is_named() -> None:
    assert plugin.SglangHook.tested.startswith(__version__)


def test_what_the_hook_reads_is_there() -> None:
    """Fields by name, so that another version that lacks one fails here and not in a user's engine."""
    assert {"reqs", "extend_lens", "prefix_lens", "seq_lens_cpu", "forward_mode"} <= set(
        ScheduleBatch.__dataclass_fields__
    )
    subject = request("r", 3, 1)
    for name in (
        "rid",
        "origin_input_ids",
        "output_ids",
        "lora_id",
        "sampling_params",
        "extra_key",
        "seqlen",
    ):
        assert hasattr(subject, name), name
    assert subject.finished() is False
    assert callable(runtime_context.get_device)
    assert {"tp_rank", "pp_rank"} <= set(dir(type(runtime_context.get_parallel())))


def test_a_chunked_prompt_a_mixed_batch_and_decode_are_exact(agent: FakeAgent, scheduler: Any) -> None:
    a, b = request("a", 40, 3), request("b", 10, 2, tenant="globex")
    plan = [
        extend([a], [16], [8], []),
        extend([a, b], [16, 10], [24, 0], [a, b]),
        decode([a, b], [41, 11], [a, b]),
        decode([a], [42], [a]),
    ]
    for ran in plan:
        assert scheduler.run_batch(ran) == "result"
        scheduler.process_batch_result(ran, "result")
    assert rows(agent, 4) == [
        ("a", 16, 8, 0), ("a", 16, 24, 1), ("b", 10, 0, 1), ("a", 1, 40, 1), ("b", 1, 10, 1), ("a", 1, 41, 1),
    ]  # fmt: skip
    tenants = {
        client: frame.tenants[tenant]
        for frame in agent.frames
        for client, tenant in zip(frame.request_client_id, frame.request_tenant, strict=True)
    }
    assert tenants == {"a": "acme", "b": "globex"}
    facts = agent.hellos[0].facts
    assert (facts.model, facts.software, facts.gpu_uuids) == ("org/tiny", f"sglang {__version__}", ("GPU-0",))


def test_overlap_runs_a_finished_request_once_more(agent: FakeAgent, scheduler: Any) -> None:
    a = request("a", 5, 1)
    first, ahead = extend([a], [5], [0], [a]), decode([a], [6], [])
    scheduler.run_batch(first)
    scheduler.run_batch(ahead)
    scheduler.process_batch_result(first, "result")
    scheduler.process_batch_result(ahead, "result")
    assert rows(agent, 2) == [("a", 5, 0, 1), ("a", 1, 5, 0)]


def test_an_idle_batch_is_a_dummy(agent: FakeAgent, scheduler: Any) -> None:
    idle = batch(ForwardMode.IDLE, [], [])
    scheduler.run_batch(idle)
    scheduler.process_batch_result(idle, "result")

    def kinds(frames: list[IterationFrame]) -> list[int]:
        return [kind for frame in frames for kind in frame.iteration_kind.tolist()]

    agent.wait_for(lambda: kinds(agent.frames) == [DUMMY])


def test_other_ranks_of_an_engine_are_not_recorded(
    agent: FakeAgent, scheduler: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runtime_context, "get_parallel", lambda: SimpleNamespace(tp_rank=1, pp_rank=0))
    idle = batch(ForwardMode.IDLE, [], [])
    assert scheduler.run_batch(idle) == "result"
    scheduler.process_batch_result(idle, "result")
    assert getattr(scheduler, plugin.TAP) is None
    assert agent.hellos == []
