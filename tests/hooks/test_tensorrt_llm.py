"""TensorRT-LLM's statistics, in their documented shape: tokens by difference, gaps by iteration number."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from producers.hooks.contract import EngineFacts
from producers.hooks.recorder import Recorder
from producers.hooks.settings import HookSettings
from producers.hooks.tensorrt_llm import StatsReader, Translator, unix_ns
from schemas.iterations import expand
from tests.hooks.fake_agent import FakeAgent

FACTS = EngineFacts("tiny", "tensorrt_llm 1.2", "tiny", "bfloat16", ("GPU-0",))


BEGUN = datetime.now(UTC).astimezone()


def iteration(number: int, *requests: dict[str, Any]) -> dict[str, Any]:
    ended = BEGUN - timedelta(seconds=1) + timedelta(milliseconds=20 * number)
    return {
        "iter": number,
        "timestamp": ended.strftime("%m-%d-%Y %H:%M:%S.%f"),
        "iterLatencyMS": 15.0,
        "requestStats": list(requests),
    }


def request(
    key: int, prefilled: int, generated: int, stage: str = "GENERATION_IN_PROGRESS"
) -> dict[str, Any]:
    return {
        "id": key,
        "stage": stage,
        "contextPrefillPosition": prefilled,
        "numGeneratedTokens": generated,
        "scheduled": True,
    }


def test_tokens_are_the_difference_of_positions() -> None:
    translate = Translator(lambda key: f"tenant-{key}")
    stats = [
        iteration(0, request(1, 64, 0, "CONTEXT_IN_PROGRESS")),
        iteration(1, request(1, 100, 1), request(2, 10, 1)),
        iteration(2, request(1, 100, 2), request(2, 10, 2, "GENERATION_COMPLETE")),
        iteration(3, request(1, 100, 3)),
    ]
    steps = [translate.step(one, 0, 1000) for one in stats]
    assert [step.new_tokens for step in steps] == [{"1": 64}, {"1": 36, "2": 10}, {"1": 1, "2": 1}, {"1": 1}]
    assert [step.emitted for step in steps] == [{}, {"1": 1, "2": 1}, {"1": 1, "2": 1}, {"1": 1}]
    assert [sorted(step.entered) for step in steps] == [["1"], ["2"], [], []]
    assert list(steps[3].finished) == ["2"]


def test_tokens_found_in_the_prefix_cache_were_not_computed() -> None:
    """A record as `jsonSerialization.cpp` writes it: the position of a prompt begins after the reused blocks."""
    stats = {
        **iteration(0),
        "kvCacheStats": {"tokensPerBlock": 32, "maxNumBlocks": 100, "usedNumBlocks": 4},
        "staticBatchingStats": None,
        "inflightBatchingStats": {"numScheduledRequests": 1, "numContextRequests": 1, "numCtxTokens": 36},
        "requestStats": [
            {
                **request(7, 100, 1),
                "avgNumDecodedTokensPerIter": 1.0,
                "paused": False,
                "disServingStats": None,
                "allocTotalBlocksPerRequest": 4,
                "allocNewBlocksPerRequest": 2,
                "reusedBlocksPerRequest": 2,
                "missedBlocksPerRequest": 2,
                "kvCacheHitRatePerRequest": 0.5,
            }
        ],
    }
    step = Translator().step(stats, 0, 1000)
    assert step.new_tokens == {"7": 36}
    entry = step.entered["7"]
    assert entry.context_tokens == 64
    assert entry.admission is not None
    assert (entry.admission.cached_tokens, entry.admission.prompt_tokens) == (64, 100)


def test_a_missing_iteration_costs_its_frame_and_leaves_a_hole(tmp_path: Path) -> None:
    agent = FakeAgent(tmp_path / "agent.sock")
    settings = HookSettings(socket=str(agent.path), frame_s=5)
    recorder = Recorder(FACTS, Translator().step, settings)
    reader = StatsReader(recorder)
    reader.read([iteration(0, request(1, 10, 1)), iteration(1, request(1, 10, 2))])
    recorder.cut()
    reader.read([iteration(4, request(1, 10, 5))])
    recorder.cut()
    reader.read([iteration(5, request(1, 10, 6))])
    recorder.cut()
    recorder.start()
    agent.wait_for(lambda: len(agent.messages) >= 2, timeout_s=15)
    recorder.stop()
    assert [frame.sequence for frame in agent.frames][:2] == [0, 2]
    assert [len(expand(frame).iteration) for frame in agent.frames][:2] == [2, 1]
    agent.close()


def test_timestamps_are_local_time_to_the_microsecond() -> None:
    one, other = unix_ns("03-11-2026 10:00:00.000001"), unix_ns("03-11-2026 10:00:01.000002")
    assert other - one == 1_000_001_000
