"""A mixed fleet in real time on one worker core: how old an event is when stored, and how an outage is made up.

    python -m benchmarks.fleet_live --engines 300                  latency at that load
    python -m benchmarks.fleet_live --engines 300 --outage-s 60    no worker for a minute, then one

Ages are from the event to the moment its batch was stored. An outage scales: a worker of which `load` is taken
makes up `outage` in outage * load / (1 - load), whatever its length, so that ten minutes within twenty are one
within two; what does not scale is the worker's start, which weighs more after a short one.
"""

import argparse
import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

import numpy as np
from confluent_kafka import Producer

from benchmarks.fleet_load import Load, Message, frames, send, side_inputs
from benchmarks.processes import cpu_seconds, descendants
from benchmarks.stream import stored_ages_s
from producers.simulation.fleet import FRAME_US
from streams.ledger import migrations
from streams.ledger.client import connect
from wattledger.demo import begin_at_the_end
from wattledger.local.broker import broker
from wattledger.local.clickhouse_front import Front, clickhouse_front
from wattledger.local.worker import Worker, worker
from wattledger.topics_admin import create_topics

__all__ = ["latency", "outage", "report"]

PARTITIONS: Final = 6
WINDOW_S, WAIT_S = 5.0, 0.5
SECOND_NS: Final = 1_000_000_000
BEHIND_S: Final = WINDOW_S + WAIT_S + 2.0
"""A worker whose oldest open window began longer ago than this has a lag."""
LONGEST: Final = 2.0
"""Outages after which the lag must be gone; nobody waits longer."""


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--engines", type=int, default=300, help="300")
    parser.add_argument("--seconds", type=float, default=60.0, help="of the latency run (60)")
    parser.add_argument("--outage-s", type=float, default=0.0, help="instead: so long without a worker")
    arguments = parser.parse_args()
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        kafka = stack.enter_context(broker(address=os.environ.get("WATTLEDGER_KAFKA"))).bootstrap
        front = stack.enter_context(clickhouse_front(scratch / "clickhouse"))
        create_topics(kafka, partitions=PARTITIONS)
        if arguments.outage_s:
            found = outage(kafka, front, scratch, arguments.engines, arguments.outage_s)
        else:
            found = latency(kafka, front, scratch, arguments.engines, arguments.seconds)
    report(found)


def report(found: dict[str, float]) -> None:
    """One line."""
    print("  ".join(f"{name} {value:,.2f}" for name, value in found.items()))


def latency(kafka: str, front: Front, scratch: Path, engines: int, seconds: float) -> dict[str, float]:
    """Ages of events, seconds, of `engines` in real time; how much of its core the worker took for it."""
    load = _load(engines, seconds)
    begin_at_the_end(kafka, "live")
    with _worker(kafka, front, scratch, "live") as child:
        child.wait_until_ready()
        with _published(kafka, load, lambda: False) as late_s:
            before_s = cpu_seconds(child.process.pid)
            time.sleep(seconds + BEHIND_S)
            busy = (cpu_seconds(child.process.pid) - before_s) / seconds
    client = connect(front.dsn("live"))
    first_s, ages = stored_ages_s(client)
    client.close()
    return {
        "engines": engines,
        "core_taken": busy,
        "first_s": first_s,
        "median_s": float(np.median(ages)),
        "p99_s": float(np.quantile(ages, 0.99)),
        "worst_s": float(max(ages)),
        "published_late_s": max(late_s),
    }


def outage(kafka: str, front: Front, scratch: Path, engines: int, outage_s: float) -> dict[str, float]:
    """How long a worker that starts `outage_s` after the fleet is behind it, the fleet going on all the while."""
    load = _load(engines, (1 + LONGEST) * outage_s)
    begin_at_the_end(kafka, "outage")
    done = threading.Event()
    with _published(kafka, load, done.is_set) as late_s:
        time.sleep(outage_s)
        with _worker(kafka, front, scratch, "outage") as child:
            began = time.monotonic()
            caught_up_s = float("inf")
            while time.monotonic() - began < LONGEST * outage_s:
                progress = child.progress()
                if progress and progress.batches and time.time() - progress.sealed_until_s <= BEHIND_S:
                    caught_up_s = time.monotonic() - began
                    break
                time.sleep(0.1)
        done.set()
    return {
        "engines": engines,
        "outage_s": outage_s,
        "caught_up_after_s": caught_up_s,
        "in_outages": caught_up_s / outage_s,
        "published_late_s": max(late_s),
    }


def _load(engines: int, seconds: float) -> Load:
    return Load(engines, round(2 * seconds) / 2, f"live-{time.time_ns() // 10**9}")


@contextmanager
def _worker(kafka: str, front: Front, scratch: Path, database: str) -> Iterator[Worker]:
    """A worker alone on core 0, with a database and a consumer group of its own."""
    client = connect(front.dsn(database))
    migrations.up(client)
    client.close()
    log = scratch / f"{database}.log"
    options = ["--group", database]
    with worker(kafka=kafka, clickhouse=front.dsn(database), log=log, options=options) as child:
        for pid in descendants(child.process.pid):
            os.sched_setaffinity(pid, {0})
        yield child


@contextmanager
def _published(kafka: str, load: Load, stopped: Callable[[], bool]) -> Iterator[list[float]]:
    """The load in real time, from a thread of its own; by how much each interval's frames were late."""
    late_s = [0.0]
    ended = threading.Event()
    producer = Producer(
        {
            "bootstrap.servers": kafka,
            "enable.idempotence": True,
            "partitioner": "murmur2_random",
            "linger.ms": 20,
            "log_level": 0,
        }
    )
    send(producer, side_inputs(load, time.time_ns() // SECOND_NS * SECOND_NS))
    slots = _made_ahead(load)
    origin_ns = slots[0][0] - FRAME_US * 1000

    def publish() -> None:
        for end_ns, messages in slots:
            if ended.is_set() or stopped():
                break
            early_s = end_ns / 1e9 - time.time()
            late_s.append(max(0.0, -early_s))
            time.sleep(max(0.0, early_s))
            send(producer, messages)
        producer.flush(60)

    time.sleep(max(0.0, origin_ns / 1e9 - time.time()))
    with ThreadPoolExecutor(1) as thread:
        publishing = thread.submit(publish)
        try:
            yield late_s
        finally:
            ended.set()
            publishing.result()


def _made_ahead(load: Load) -> list[tuple[int, list[Message]]]:
    """Every interval's messages, the first some time from now: making them must not slow what is measured."""
    now_ns = time.time_ns() // SECOND_NS * SECOND_NS
    next(frames(load, now_ns))  # draws the engines
    began = time.monotonic()
    next(frames(load, now_ns))
    ahead_s = 2.0 + 1.5 * (time.monotonic() - began) * load.seconds * 1e6 / FRAME_US
    origin_ns = (time.time_ns() // SECOND_NS + 1 + round(ahead_s)) * SECOND_NS
    slots = list(frames(load, origin_ns))
    assert time.time_ns() < origin_ns, f"making the messages took longer than {ahead_s:.0f} s"
    return slots


if __name__ == "__main__":
    main()
