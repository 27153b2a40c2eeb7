"""However long the database is away, memory is bounded, nothing is dropped, and work goes on when it returns."""

import asyncio
import threading
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import numpy as np

from schemas.frames import encode_energy, encode_iterations
from schemas.topics import ENERGY, ITERATIONS
from streams.pipeline import Frontier, Work
from streams.side_inputs import SideInputs
from streams.worker.health import Health
from streams.worker.jobs import Jobs
from streams.worker.metrics import WorkerMetrics
from streams.worker.settings import WorkerSettings
from streams.worker.shell import BREATH, Shell
from streams.worker.turns import Turns
from tests.builders import GROUP, T0, decode_frame, descriptor, energy_frame

MOST_BYTES = 20_000
FIRST = 40
"""Frames of each topic that make a window due; both topics' together are less than may be held."""


class Database:
    """Stands for Durable: takes work while `there` is set, and else waits as a retry does."""

    def __init__(self) -> None:
        self.there = threading.Event()
        self.give_up = threading.Event()
        self.turns = Turns()
        self.asked = threading.Event()
        self.windows: list[int] = []

    def write(self, work: Work) -> bool:
        self.asked.set()
        self.there.wait(30)
        self.windows += [closed.start_ns for closed in work.windows]
        return True


def events(seconds: int) -> dict[str, list[Any]]:
    """By topic, what Faust hands over."""
    found: dict[str, list[Any]] = defaultdict(list)
    for offset, start in enumerate(np.arange(0, seconds, 0.5)):
        frames = (
            (ENERGY, encode_energy(energy_frame(start, start + 0.5, sequence=offset))),
            (ITERATIONS, encode_iterations(decode_frame(start, start + 0.5, sequence=offset))),
        )
        for topic, value in frames:
            record = SimpleNamespace(
                topic=topic,
                partition=0,
                offset=offset,
                timestamp=round(T0 / 1e6 + 1e3 * (start + 0.5)),
                key=GROUP.encode(),
                value=value,
                headers=(),
            )
            message = SimpleNamespace(topic=topic, offset=offset, value=(record,), generation_id=1)
            app = SimpleNamespace(consumer_generation_id=1)
            found[topic].append(SimpleNamespace(message=message, app=app))
    return found


def make_shell(database: Database) -> Shell:
    side = SideInputs()
    side.add_engine(descriptor())
    frontier = SimpleNamespace(
        read=lambda partitions: Frontier(), ends=lambda asked: {}, holds=lambda position, first: False
    )
    return Shell(
        settings=WorkerSettings("nowhere:9092", "nowhere", most_held_bytes=MOST_BYTES, flush_interval_s=0.01),
        side=side,
        side_reader=SimpleNamespace(refresh=lambda: None),  # type: ignore[arg-type]
        frontier=frontier,  # type: ignore[arg-type]
        durable=database,  # type: ignore[arg-type]
        metrics=WorkerMetrics.create(),
        thread=ThreadPoolExecutor(1),
        jobs=Jobs([]),
        health=Health(),
    )


async def feed(shell: Shell, handed_over: Sequence[Any], done: list[int]) -> None:
    for event in handed_over:
        await shell.receive(event)
        done.append(event.message.offset)
        await asyncio.sleep(0)  # as Faust does when its buffer is empty


async def run(scenario: Callable[[Shell, Database], Awaitable[None]]) -> None:
    database = Database()
    shell = make_shell(database)
    consumer = SimpleNamespace(highwater=lambda position: 10**9)
    await shell.open_gate({(ITERATIONS, 0), (ENERGY, 0)}, consumer)
    stop = False
    flushing = asyncio.create_task(shell.flush_forever(lambda: stop))
    await asyncio.wait_for(scenario(shell, database), 60)
    stop = True
    await flushing


def test_memory_is_bounded_while_the_database_is_away_and_everything_is_booked_when_it_returns() -> None:
    async def scenario(shell: Shell, database: Database) -> None:
        handed_over = events(600)
        received: dict[str, list[int]] = {topic: [] for topic in handed_over}
        for topic, received_of in received.items():
            await feed(shell, handed_over[topic][:FIRST], received_of)
        while not database.asked.is_set():
            await asyncio.sleep(0.01)
        # From here on a write stands still; between two writes nothing waits for memory.
        feeders = [asyncio.create_task(feed(shell, handed_over[t][FIRST:], received[t])) for t in handed_over]
        held: list[float] = []
        settled = 0
        while settled < 10:
            before = sum(map(len, received.values()))
            await asyncio.sleep(0.05)
            settled = settled + 1 if sum(map(len, received.values())) == before else 0
            assert shell._pipeline is not None
            held.append(shell._pipeline.held_bytes)
        largest = max(len(e.message.value[0].value) for frames in handed_over.values() for e in frames)
        assert max(held) <= MOST_BYTES + 2 * largest
        assert all(len(done) < len(handed_over[topic]) for topic, done in received.items())
        database.there.set()
        await asyncio.gather(*feeders)
        while len(database.windows) < 120:
            await asyncio.sleep(0.02)
        assert received == {topic: list(range(1200)) for topic in handed_over}
        assert database.windows == [T0 + n * 5_000_000_000 for n in range(120)]

    asyncio.run(run(scenario))


def test_full_memory_alone_stops_nothing_so_that_the_window_that_empties_it_can_close() -> None:
    """One window's frames are more than may be held: only the database's absence makes a message wait."""

    async def scenario(shell: Shell, database: Database) -> None:
        database.there.set()
        shell._settings = WorkerSettings("nowhere:9092", "nowhere", most_held_bytes=1, flush_interval_s=0.01)
        handed_over = events(40)
        await asyncio.gather(*(feed(shell, frames, []) for frames in handed_over.values()))
        while len(database.windows) < 7:
            await asyncio.sleep(0.02)

    asyncio.run(run(scenario))


def test_a_topic_far_ahead_waits_for_the_other_and_both_arrive() -> None:
    async def scenario(shell: Shell, database: Database) -> None:
        database.there.set()
        handed_over = events(300)
        energy: list[int] = []
        ahead = asyncio.create_task(feed(shell, handed_over[ENERGY], energy))
        await feed(shell, handed_over[ITERATIONS][:1], [])
        await asyncio.sleep(0.5)
        assert len(energy) < 130  # a minute, and not five
        await feed(shell, handed_over[ITERATIONS][1:], [])
        await ahead
        assert len(energy) == 600

    asyncio.run(run(scenario))


def test_records_of_a_fetch_are_taken_in_order_until_their_assignment_ends() -> None:
    async def scenario(shell: Shell, database: Database) -> None:
        database.there.set()
        single = events(50)[ENERGY]
        app = SimpleNamespace(consumer_generation_id=1)
        records = tuple(event.message.value[0] for event in single)
        fetch = SimpleNamespace(topic=ENERGY, offset=len(records) - 1, value=records, generation_id=1)
        task = asyncio.create_task(shell.receive(SimpleNamespace(message=fetch, app=app)))
        assert shell._pipeline is not None
        while not shell._pipeline.position(ENERGY, 0):
            await asyncio.sleep(0)
        app.consumer_generation_id = 2  # partitions are being taken, and the rest will be read again
        await task
        assert shell._pipeline.position(ENERGY, 0) == BREATH < len(records)

    asyncio.run(run(scenario))
