"""What the vLLM hook costs: the real Scheduler at 256 requests per batch, recording on against off.

    .cache/vllm-venv/bin/python benchmarks/hook.py      (or: make bench-hook)

Counts CPU time of the whole process, so the hook's own thread (frames, encoding, socket) is in it. On and off
alternate within one process, many times, because a shared machine drifts by more than the hook costs; the
medians are compared. The latency percentiles are those of schedule() + update_from_output().
"""

import importlib
import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

REQUESTS = 256
ROUND = 300
ROUNDS = 12
ITERATION_MS = 30.0
"""A GPU's iteration at this batch size (Llama-3.1-8B on an H100), to which the cost is compared."""


def main() -> None:
    """Run and print one JSON object."""
    from producers.hooks import vllm as plugin

    rig_module = importlib.import_module("tests.vllm.scheduler_rig")
    agent_module = importlib.import_module("tests.hooks.fake_agent")
    folder = Path(tempfile.mkdtemp(prefix="wattledger-hook-bench-"))
    agent = agent_module.FakeAgent(folder / "agent.sock")
    os.environ["WATTLEDGER_SOCKET"] = str(agent.path)
    plugin.register()
    rig = rig_module.make_rig(folder / "model", blocks=200_000, budget=8192, sequences=REQUESTS)
    for index in range(REQUESTS):
        rig.submit(f"cmpl-{index:032x}-0-{index:08x}", [3 + index] * 64, max_tokens=100_000)
    scheduler = rig.scheduler
    tap = getattr(scheduler, plugin.TAP)
    for _ in range(60):
        step(rig)

    cpu: dict[bool, list[float]] = {True: [], False: []}
    latency: dict[bool, list[float]] = {True: [], False: []}
    for number in range(2 * ROUNDS):
        on = number % 2 == 0
        setattr(scheduler, plugin.TAP, tap if on else None)
        # A round is about a second: two frames, so that each pays for its share of the encoding.
        start = time.process_time()
        for _ in range(ROUND):
            latency[on].append(step(rig))
        cpu[on].append((time.process_time() - start) / ROUND)
    rows = REQUESTS
    extra = statistics.median(a - b for a, b in zip(cpu[True], cpu[False], strict=True))
    print(
        json.dumps(
            {
                "requests": rows,
                "iterations": 2 * ROUNDS * ROUND,
                "cpu_us_per_iteration_off": round(statistics.median(cpu[False]) * 1e6, 1),
                "cpu_us_per_iteration_hook": round(extra * 1e6, 2),
                "cpu_us_per_row_hook": round(extra * 1e6 / rows, 4),
                "share_of_30_ms_iteration": round(extra * 1e3 / ITERATION_MS, 5),
                "scheduler_p99_us_off": percentile(latency[False], 0.99),
                "scheduler_p99_us_on": percentile(latency[True], 0.99),
                "scheduler_p50_us_off": percentile(latency[False], 0.5),
                "scheduler_p50_us_on": percentile(latency[True], 0.5),
                "hook_on": tap.recorder.on,
            },
            indent=2,
        )
    )


def step(rig: Any) -> float:
    """One iteration; seconds spent in the scheduler's two methods."""
    from vllm.v1.outputs import ModelRunnerOutput

    begun = time.perf_counter()
    output = rig.scheduler.schedule()
    scheduled = time.perf_counter()
    keys = list(output.num_scheduled_tokens)
    runner = ModelRunnerOutput(
        req_ids=keys,
        req_id_to_index={key: index for index, key in enumerate(keys)},
        sampled_token_ids=[[7] if not rig.scheduler.requests[key].is_prefill_chunk else [] for key in keys],
    )
    resumed = time.perf_counter()
    rig.scheduler.update_from_output(output, runner)
    return scheduled - begun + time.perf_counter() - resumed


def percentile(values: list[float], share: float) -> float:
    """In microseconds."""
    return round(sorted(values)[int(share * (len(values) - 1))] * 1e6, 1)


if __name__ == "__main__":
    main()
