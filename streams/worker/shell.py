"""What stands between Faust and the pure pipeline: the gate, the flow, the flushes, the commits.

After every assignment the state is dropped and built anew from the manifest, before a single message is let
in; messages fetched under an earlier assignment are dropped, for they will be read again. An error that is
nobody's input ends the process at once (`os._exit`): a clean shutdown would commit.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

from faust.types import TP

from schemas.errors import (
    BrokerUnavailable,
    DatabaseUnavailable,
    UnknownEngine,
    UntrustedMessage,
)
from schemas.topics import ENERGY, ITERATIONS
from streams.messages import Message
from streams.pipeline import Pipeline
from streams.side_inputs import SideInputs
from streams.trust import Check, trust_all
from streams.worker.assignor import must_be_co_partitioned
from streams.worker.commits import Commits
from streams.worker.durable import Durable
from streams.worker.exits import die
from streams.worker.frontier import FrontierReader
from streams.worker.health import Health
from streams.worker.jobs import Jobs, Scope
from streams.worker.limits import DeadLetterLimits
from streams.worker.metrics import WorkerMetrics
from streams.worker.settings import WorkerSettings
from streams.worker.side_reader import SideReader

__all__ = ["Shell"]

log = logging.getLogger(__name__)

RETRY_S: Final = 1.0
"""How often a broker or database that is away is asked again."""
LOOK_S: Final = 30.0
"""How often the logs' ends are held against what was read: one call to the broker."""
QUIET_LOOK_S: Final = 30.0
"""How often the logs are asked whether a group of which nothing is heard has ended."""
WAIT_S: Final = 0.02
"""How often a message that must wait looks again."""
BREATH: Final = 64
"""Records taken in one go: 5 ms, then flushes, commits and the group's calls have their turn."""

Position = tuple[str, int]
_PARTNER: Final = {ITERATIONS: ENERGY, ENERGY: ITERATIONS}


class Shell:
    """One worker's mutable state; every method runs on the event loop, writing on one thread of its own."""

    def __init__(
        self,
        settings: WorkerSettings,
        side: SideInputs,
        side_reader: SideReader,
        frontier: FrontierReader,
        durable: Durable,
        metrics: WorkerMetrics,
        thread: ThreadPoolExecutor,
        jobs: Jobs,
        health: Health,
        check: Check = trust_all,
    ) -> None:
        self._settings = settings
        self._side = side
        self._side_reader = side_reader
        self._frontier = frontier
        self._durable = durable
        self._metrics = metrics
        self._thread = thread
        self._jobs = jobs
        self._health = health
        self._check = check
        self._gate = asyncio.Event()
        self._flushing = asyncio.Lock()
        self._pipeline: Pipeline | None = None
        self._commits = Commits()
        self._assigned: frozenset[Position] = frozenset()
        self._consumer: Any = None
        self._seen_ns: dict[Position, int] = {}
        self._seen_offset: dict[Position, int] = {}
        self._waiting: set[str] = set()
        self._next_quiet_look_s = 0.0
        self._received = 0
        self._limits = DeadLetterLimits(settings.dead_letter_ratio, settings.dead_letters_in_a_row)

    async def close_gate(self) -> None:
        """Partitions are being taken: forget everything unsealed, it will be read again.

        Returns once nothing is being written any more: whoever is given the partitions reads the manifest next.
        """
        self._gate.clear()
        self._jobs.forget()
        self._metrics.ready.set(0)
        self._pipeline = None
        self._commits.forget()
        self._durable.give_up.set()
        async with self._flushing:
            self._durable.give_up.clear()

    async def open_gate(self, assigned: Collection[Position], consumer: Any) -> None:
        """Partitions were given: read the manifest's frontier, then let messages in."""
        try:
            self._gate.clear()
            self._consumer = consumer
            self._assigned = frozenset(p for p in assigned if p[0] in (ITERATIONS, ENERGY))
            must_be_co_partitioned(self._assigned)
            partitions = sorted({partition for _, partition in self._assigned})
            async with self._flushing:  # what an earlier assignment still writes belongs to the frontier
                frontier = await self._until_it_answers(self._frontier.read, partitions)
            await self._until_it_answers(self._side_reader.refresh)
            self._pipeline = Pipeline(self._settings.windows, self._side, frontier)
            self._seen_ns.clear()
            self._seen_offset.clear()
            self._gate.set()
            self._metrics.ready.set(1)
            self._health.assigned()
            log.info(
                "gate open: %d partitions, %d groups sealed before",
                len(self._assigned) // 2,
                len(frontier.sealed_until_ns),
            )
        except Exception as error:  # noqa: BLE001 - Faust would carry on with an unread frontier
            die(error)

    async def receive(self, event: Any) -> None:
        """Take one Faust event in, a fetch; waits while the gate is closed, windows are booked, memory is full, or
        its topic leads.
        """
        try:
            await self._gate.wait()
            fetch = event.message
            taken = 0
            for number, record in enumerate(fetch.value):
                if number % BREATH == 0:
                    await asyncio.sleep(0)
                    await self._durable.turns.receiving()
                if not await self._take(
                    record, lambda: fetch.generation_id == event.app.consumer_generation_id
                ):
                    break
                taken += 1
            self._received += taken
            self._metrics.messages.labels(fetch.topic).inc(taken)
        except Exception as error:  # noqa: BLE001 - Faust acks an event whose agent raises
            die(error)

    async def _take(self, record: Any, is_current: Callable[[], bool]) -> bool:
        """Take one record in; False where it belongs to an assignment that has ended."""
        message = Message(
            topic=record.topic,
            partition=record.partition,
            offset=record.offset,
            arrival_ns=record.timestamp * 1_000_000,
            key=record.key or b"",
            value=record.value or b"",
        )
        await self._in_step(message)
        pipeline = self._pipeline
        if pipeline is None or not is_current():
            return False
        if missing := pipeline.missing_before(message):
            await self._must_be_a_hole(message, missing)
            if pipeline is not self._pipeline:
                return False
        try:
            self._check(message.topic, message.key, message.value, message.arrival_ns, record.headers)
        except UntrustedMessage as error:
            pipeline.refuse(message, error)
            return True
        try:
            pipeline.receive(message, engines_may_be_unknown=True)
        except UnknownEngine:
            await self._until_it_answers(self._side_reader.refresh)
            if pipeline is not self._pipeline:
                return False
            pipeline.receive(message)
        return True

    async def _must_be_a_hole(self, message: Message, missing: int) -> None:
        """Raise if the log has what was not handed over: a fetch that a rebalance cut short, say."""
        first = message.offset - missing
        position = (message.topic, message.partition)
        if await self._until_it_answers(self._frontier.holds, position, first):
            raise AssertionError(
                f"{message.topic}[{message.partition}]: {missing} messages from offset {first} on were fetched and "
                "never handed over; none is committed, a restart reads them"
            )
        log.warning("%s[%d] has no messages in [%d, %d)", *position, first, message.offset)

    async def _in_step(self, message: Message) -> None:
        """Hold a message back while the database is away and memory full, or while its topic leads too far."""
        while self._must_wait(message):
            self._waiting.add(message.topic)
            await asyncio.sleep(WAIT_S)
        self._waiting.discard(message.topic)
        position = (message.topic, message.partition)
        self._seen_ns[position] = message.arrival_ns
        self._seen_offset[position] = message.offset

    def _must_wait(self, message: Message) -> bool:
        pipeline = self._pipeline
        if pipeline is None:
            return False
        if pipeline.held_bytes > self._settings.most_held_bytes and self._flushing.locked():
            return True
        other_topic = _PARTNER.get(message.topic)
        if other_topic is None or other_topic in self._waiting:
            return False
        other = (other_topic, message.partition)
        lead_ns = message.arrival_ns - self._seen_ns.get(other, message.arrival_ns)
        if lead_ns <= self._settings.most_lead_s * 1e9:
            return False
        end = self._consumer.highwater(TP(*other))
        return end is not None and self._seen_offset[other] + 1 < end

    async def flush_forever(self, stopping: Callable[[], bool]) -> None:
        """Every flush interval make what is due durable; at once again while there is more."""
        try:
            while not stopping():
                self._health.turned()
                more = self._gate.is_set() and await self._flush()
                if not more:
                    await self._work_on_jobs()
                await asyncio.sleep(0 if more else self._settings.flush_interval_s)
        except asyncio.CancelledError:
            raise
        except Exception as error:  # noqa: BLE001 - nothing may be acked after a failed flush
            die(error)

    async def _flush(self) -> bool:
        async with self._flushing:
            pipeline = self._pipeline
            if pipeline is None:
                return False
            await self._look_for_silence(pipeline)
            work = pipeline.take(self._settings.flush_windows)
            self._metrics.held_bytes.set(pipeline.held_bytes)
            if not work:
                return False
            written = await self._on_thread(self._durable.write, work)
            if not written or pipeline is not self._pipeline:
                return False  # stopped, or another worker's partitions by now: they will be read again
            received, self._received = self._received, 0
            self._limits.check(received, len(work.dead_letters), pipeline.refused_in_a_row)
            self._commits.add(pipeline.settle(work))
            self._metrics.groups.set(len(pipeline.groups))
            self._metrics.sealed_until_seconds.set(pipeline.durable_until_ns() / 1e9)
            return len(work.windows) >= self._settings.flush_windows

    async def _look_for_silence(self, pipeline: Pipeline) -> None:
        """Where a window is open only for frames that may be unread: see whether the logs are at their end."""
        overdue, now_ns = pipeline.overdue(), time.time_ns()
        if time.monotonic() >= self._next_quiet_look_s:
            self._next_quiet_look_s = time.monotonic() + QUIET_LOOK_S
            overdue = {**pipeline.quiet(now_ns), **overdue}
        if not overdue:
            return
        try:
            asked = [(topic, partition) for partition in overdue for topic in _PARTNER]
            ends = await self._on_thread(self._frontier.ends, asked)
        except BrokerUnavailable as error:
            log.warning("windows stay open for streams that may be unread: %s", error)
            return
        for (topic, partition), end in ends.items():
            if pipeline.position(topic, partition) >= end:
                pipeline.log_read(topic, partition, max(now_ns, overdue[partition]))

    async def commit_forever(self, stopping: Callable[[], bool]) -> None:
        """Every commit interval commit what was released; a broker that is slow holds no flush up."""
        while not stopping():
            await asyncio.sleep(self._settings.commit_interval_s)
            if self._gate.is_set():
                await self._commits.send(self._consumer)

    async def watch_forever(self, stopping: Callable[[], bool]) -> None:
        """Now and then see whether what the logs hold is read: a fetcher that stands still raises nothing."""
        before = -1
        while not stopping():
            await asyncio.sleep(LOOK_S)
            pipeline = self._pipeline
            at = {} if pipeline is None else {one: pipeline.position(*one) for one in self._assigned}
            moved, before = sum(at.values()) != before, sum(at.values())
            unread = not moved and not self._waiting and await self._holds_more(at)
            self._health.reading(unread=unread and pipeline is self._pipeline)

    async def _holds_more(self, at: Mapping[Position, int]) -> bool:
        """Whether a log has a message where its reading stands; its end may be behind a transaction's marker."""
        try:
            ends = await self._on_thread(self._frontier.ends, list(at)) if at else {}
            behind = max(ends, key=lambda position: ends[position] - at[position], default=None)
            if behind is None or at[behind] >= ends[behind]:
                return False
            await self._on_thread(self._frontier.holds, behind, at[behind])
        except BrokerUnavailable:
            return False  # no answer, or no message there; who waits for the broker says so
        return True

    async def _work_on_jobs(self) -> None:
        """One step of what is due beside the stream."""
        now_s = time.monotonic()
        if self._pipeline is None or not self._jobs.is_due(now_s):
            return
        partitions = frozenset(partition for _, partition in self._assigned)
        scope = Scope(partitions, self._pipeline.durable_until_ns())
        async with self._flushing:
            await self._on_thread(self._jobs.step, now_s, scope)

    async def _until_it_answers(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """The function's result, asked again while broker or database are away; nothing is let in meanwhile."""
        while True:
            self._health.turned()
            try:
                return await self._on_thread(function, *arguments)
            except (BrokerUnavailable, DatabaseUnavailable) as error:
                log.warning("waiting: %s", error)
                await asyncio.sleep(RETRY_S)

    async def _on_thread(self, function: Callable[..., Any], *arguments: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._thread, function, *arguments)
