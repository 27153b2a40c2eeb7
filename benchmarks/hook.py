"""What the vLLM hook costs: the real Scheduler at 256 requests per batch, recording on against off.

    .cache/vllm-venv/bin/python benchmarks/hook.py      (or: make bench-hook)

CPU time, not wall time: of the engine's thread with the hook and without, in turns of a few iterations, because a
shared machine drifts by more than the hook costs; and of the hook's own thread (frames, encoding, socket) over the
whole run, though it has half the iterations to spread its frames over. The engine thread's part is the median of
the pairs of turns, with that median's standard error; percentiles are of schedule() + update_from_output().
"""

import importlib
import json
import os
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

REQUESTS = 256
TURN = 20
"""Iterations between switching: a quarter of a frame on a fast machine."""
PAIRS = 180
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
    own_before = own_cpu_s()
    for number in range(2 * PAIRS):
        # On first in one pair, off first in the next.
        on = number % 4 in {0, 3}
        setattr(scheduler, plugin.TAP, tap if on else None)
        start = time.thread_time()
        latency[on] += [step(rig) for _ in range(TURN)]
        cpu[on].append((time.thread_time() - start) / TURN * 1e6)
    own_us = (own_cpu_s() - own_before) / (PAIRS * TURN) * 1e6
    pairs = [a - b for a, b in zip(cpu[True], cpu[False], strict=True)]
    engine_us = statistics.median(pairs)
    quarter, _, three_quarters = statistics.quantiles(pairs, n=4)
    extra_us = engine_us + own_us
    print(
        json.dumps(
            {
                "requests": REQUESTS,
                "iterations": 2 * PAIRS * TURN,
                "engine_thread_cpu_us_per_iteration_off": round(statistics.median(cpu[False]), 1),
                "engine_thread_cpu_us_per_iteration_hook": round(engine_us, 2),
                "standard_error_us": round(1.253 * (three_quarters - quarter) / 1.349 / PAIRS**0.5, 2),
                "own_thread_cpu_us_per_iteration": round(own_us, 2),
                "cpu_us_per_row_hook": round(extra_us / REQUESTS, 4),
                "share_of_30_ms_iteration": round(extra_us / 1e3 / ITERATION_MS, 5),
                "scheduler_p99_us_off": percentile(latency[False], 0.99),
                "scheduler_p99_us_on": percentile(latency[True], 0.99),
                "scheduler_p50_us_off": percentile(latency[False], 0.5),
                "scheduler_p50_us_on": percentile(latency[True], 0.5),
                "hook_on": tap.recorder.on,
            },
            indent=2,
        )
    )


def own_cpu_s() -> float:
    """CPU seconds of the hook's thread so far, as the kernel accounts them."""
    thread = next(each for each in threading.enumerate() if each.name == "wattledger-hook")
    return int(Path(f"/proc/self/task/{thread.native_id}/schedstat").read_text().split()[0]) / 1e9


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
