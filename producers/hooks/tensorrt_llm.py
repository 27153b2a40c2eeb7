"""TensorRT-LLM: reads the iteration statistics it queues and takes each request's tokens by difference.

Needs `enable_iter_perf_stats` and `enable_iter_req_stats`. The queue is bounded: a missing iteration number is a
gap, and costs the frame it falls into. Fields are those of its own `jsonSerialization.cpp` (commit 092229b); it
needs a GPU to install, and was never run.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from producers.hooks.contract import Admission, EngineFacts, Step
from producers.hooks.recorder import Recorder
from producers.hooks.rows import Row, StepMaker
from producers.hooks.settings import HookSettings
from producers.hooks.tenants import NO_TENANT

__all__ = ["StatsReader", "Translator", "watch"]

log: Final = logging.getLogger(__name__)

POLL_S: Final = 0.1
"""The queue holds 1,000 iterations by default: seven seconds of the fastest engine."""
TIMESTAMP: Final = "%m-%d-%Y %H:%M:%S.%f"

Stats = Mapping[str, Any]
TenantOf = Callable[[str], str]


class StatsReader:
    """Turns statistics into finished passes of a recorder; tells gaps by iteration numbers."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._last_iteration: int | None = None
        self.end_ns: int | None = None
        """End of the latest iteration read: what comes next starts no earlier."""

    def read(self, stats: Iterable[Stats]) -> None:
        """Take what the queue held, in order."""
        for one in stats:
            number = int(one["iter"])
            if self._last_iteration is not None and number > self._last_iteration + 1:
                self._recorder.lose(number - self._last_iteration - 1)
            self._last_iteration = number
            end_ns = unix_ns(one["timestamp"])
            start_ns = end_ns - int(one["iterLatencyMS"] * 1e6)
            self._recorder.add(start_ns, end_ns, one)
            self.end_ns = end_ns


class Translator:
    """Makes Steps of IterationStats: what a request did is how far its counters moved."""

    def __init__(self, tenant_of: TenantOf = lambda _: NO_TENANT) -> None:
        self._tenant_of = tenant_of
        self._steps = StepMaker()
        self._seen: dict[str, tuple[int, int]] = {}
        self._finished: list[str] = []

    def step(self, stats: Stats, start_ns: int, end_ns: int) -> Step:
        """One iteration."""
        rows, finished = [], []
        for request in stats.get("requestStats", ()):
            key = str(request["id"])
            prefilled, generated = request["contextPrefillPosition"], request["numGeneratedTokens"]
            before = self._seen.get(key) or (min(reused_tokens(stats, request), prefilled), 0)
            self._seen[key] = (prefilled, generated)
            tokens = prefilled - before[0] or generated - before[1]
            if request.get("scheduled", True) and tokens > 0:
                # The pass that ends a prompt yields its first token, which is in no context yet.
                context = before[0] + max(0, before[1] - 1)
                admission = Admission(
                    key, self._tenant_of(key), prompt_tokens=prefilled, cached_tokens=before[0]
                )
                rows.append(Row(key, tokens, context, generated - before[1], admission))
            if request["stage"] == "GENERATION_COMPLETE":
                finished.append(key)
        gone, self._finished = self._finished, finished
        for key in gone:
            self._seen.pop(key, None)
        return self._steps.step(start_ns, end_ns, rows, finished=gone)


def reused_tokens(stats: Stats, request: Stats) -> int:
    """Prompt tokens that were in the prefix cache: whole blocks, so up to a block less one more than said."""
    cache = stats.get("kvCacheStats") or {}
    return int(request.get("reusedBlocksPerRequest", 0)) * int(cache.get("tokensPerBlock", 0))


def watch(llm: Any, facts: EngineFacts, tenant_of: TenantOf = lambda _: NO_TENANT) -> Recorder:
    """Record an `LLM` from now on, by a thread that reads its statistics; never raises into the engine."""
    settings = HookSettings.from_environment()
    readers: list[StatsReader] = []
    recorder = Recorder(
        facts, Translator(tenant_of).step, settings, held_from=lambda: readers[0].end_ns if readers else None
    )
    readers.append(StatsReader(recorder))
    recorder.start()

    def poll() -> None:
        while recorder.on:
            try:
                readers[0].read(llm.get_stats(timeout=POLL_S))
            except Exception as error:  # noqa: BLE001 - the engine must not learn of it
                recorder.switch_off(f"reading TensorRT-LLM's statistics: {error}", error)
            time.sleep(POLL_S)

    threading.Thread(target=poll, name="wattledger-trtllm", daemon=True).start()
    return recorder


def unix_ns(timestamp: str) -> int:
    """IterationStats' timestamp (month-day-year, local time, microseconds) as Unix nanoseconds."""
    local = datetime.strptime(timestamp, TIMESTAMP).astimezone()
    since = local - datetime(1970, 1, 1, tzinfo=UTC)
    return (since.days * 86_400 + since.seconds) * 1_000_000_000 + since.microseconds * 1_000
