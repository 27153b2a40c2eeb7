"""The SGLang hook on structures of SGLang's shape: extend, chunks, decode, overlap, idle batches."""

from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from producers.hooks import sglang
from producers.hooks.contract import EngineFacts
from producers.hooks.recorder import Recorder
from producers.hooks.settings import HookSettings
from schemas.iterations import DUMMY, expand
from tests.hooks.fake_agent import FakeAgent

FACTS = EngineFacts("tiny", "sglang 0.5.23", "tiny", "bfloat16", ("GPU-0",))


@dataclass
class Req:
    """What the hook reads of SGLang's Req."""

    rid: str
    origin_input_ids: list[int]
    output_ids: list[int] = field(default_factory=list)
    limit: int = 3
    lora_id: str | None = None
    sampling_params: Any = field(default_factory=lambda: SimpleNamespace(custom_params={"tenant": "acme"}))

    def finished(self) -> bool:
        return len(self.output_ids) >= self.limit


def batch(mode: str, reqs: list[Req], **lists: list[int]) -> Any:
    forward_mode = SimpleNamespace(
        is_extend=lambda: mode in ("extend", "mixed"), is_idle=lambda: mode == "idle"
    )
    return SimpleNamespace(forward_mode=forward_mode, reqs=reqs, **lists)


class Scheduler:
    """Runs batches as SGLang's event loop does: `give` says which requests get a token from a result."""

    tp_rank = pp_rank = 0

    def run_batch(self, ran: Any) -> str:
        return "result"

    def process_batch_result(self, ran: Any, give: list[Req]) -> None:
        for req in give:
            req.output_ids.append(7)


def run(tmp_path: Path, plan: list[tuple[str, Any, list[Req]]]) -> Any:
    """Run a plan of ("run" | "result", batch, who gets a token); returns the frames that hold rows."""
    agent = FakeAgent(tmp_path / "agent.sock")
    settings = HookSettings(socket=str(agent.path), frame_s=0.02, tenant_sources=("xargs",))
    recorder = Recorder(FACTS, sglang.Translator(settings).step, settings)
    recorder.start()
    scheduler = Scheduler()
    for what, ran, give in plan:
        if what == "run":
            found = sglang.run_batch(lambda _: sglang.Tap(recorder), Scheduler.run_batch, scheduler, ran)
            assert found == "result"
        else:
            sglang.process_batch_result(Scheduler.process_batch_result, scheduler, ran, give)
    passes = sum(what == "result" for what, _, _ in plan)
    agent.wait_for(lambda: sum(len(f.iteration_start_ns) for f in agent.frames) == passes)
    assert recorder.on
    recorder.stop()
    agent.close()
    return [frame for frame in agent.frames if len(frame.iteration_start_ns)]


def rows(frames: Any) -> list[tuple[str, int, int, int]]:
    """Client, tokens, context, emitted."""
    found = []
    for frame in frames:
        written = expand(frame)
        order = sorted(
            range(len(written.iteration)), key=lambda i: (written.iteration[i], written.request[i])
        )
        found += [
            (
                frame.request_client_id[written.request[i]],
                int(written.new_tokens[i]),
                int(written.context_tokens[i]),
                int(written.emitted[i]),
            )
            for i in order
        ]
    return found


def test_a_chunked_prompt_and_its_decode_are_exact(tmp_path: Path) -> None:
    a = Req("a", list(range(100)))
    first = batch("extend", [a], extend_lens=[64], prefix_lens=[16])
    second = batch("extend", [a], extend_lens=[20], prefix_lens=[80])
    third = batch("decode", [a], seq_lens_cpu=[101])
    plan = [("run", first, []), ("result", first, []), ("run", second, []), ("result", second, [a])]
    frames = run(tmp_path, [*plan, ("run", third, []), ("result", third, [a])])
    assert rows(frames) == [("a", 64, 16, 0), ("a", 20, 80, 1), ("a", 1, 100, 1)]
    assert frames[0].tenants == ("acme",)
    assert frames[0].request_cached_tokens.tolist() == [16]


def test_overlap_runs_a_finished_request_once_more_and_it_gets_nothing(tmp_path: Path) -> None:
    a, b = Req("a", [1, 2], limit=1), Req("b", [1, 2, 3], limit=9)
    one = batch("extend", [a, b], extend_lens=[2, 3], prefix_lens=[0, 0])
    two = batch("decode", [a, b], seq_lens_cpu=[3, 4])
    three = batch("decode", [b], seq_lens_cpu=[5])
    plan = [("run", one, []), ("run", two, []), ("result", one, [a, b]), ("run", three, [])]
    frames = run(tmp_path, [*plan, ("result", two, [b]), ("result", three, [b])])
    assert rows(frames) == [
        ("a", 2, 0, 1), ("b", 3, 0, 1), ("a", 1, 2, 0), ("b", 1, 3, 1), ("b", 1, 4, 1),
    ]  # fmt: skip


def test_an_idle_batch_of_a_data_parallel_rank_is_a_dummy(tmp_path: Path) -> None:
    idle = batch("idle", [])
    frames = run(tmp_path, [("run", idle, []), ("result", idle, [])])
    assert frames[0].iteration_kind.tolist() == [DUMMY]
    assert len(frames[0].span_request) == 0


def test_a_batch_of_another_shape_switches_the_hook_off_and_not_the_engine(tmp_path: Path) -> None:
    agent = FakeAgent(tmp_path / "agent.sock")
    settings = HookSettings(socket=str(agent.path), frame_s=0.02)
    recorder = Recorder(FACTS, sglang.Translator(settings).step, settings)
    recorder.start()
    scheduler = Scheduler()
    ran = SimpleNamespace(reqs=[])
    assert sglang.run_batch(lambda _: sglang.Tap(recorder), Scheduler.run_batch, scheduler, ran) == "result"
    sglang.process_batch_result(Scheduler.process_batch_result, scheduler, ran, [])
    assert not recorder.on
    recorder.stop()
    agent.close()
