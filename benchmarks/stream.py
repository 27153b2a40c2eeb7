"""`make bench-stream`: one worker on one core, from Kafka bytes to durable rows, against a plain consumer.

Throughput: frames of N engines (50 iterations/s, batch 64) lie ready in the broker; a worker pinned to one
core books them, and so, in the same run, does a plain confluent-kafka consumer that only decodes them.
Latency: the same fleet in real time; from an event to the moment its batch was stored. The database is a
process of its own. Medians and ranges over the repeats.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from clickhouse_connect.driver.client import Client
from confluent_kafka import Consumer, TopicPartition

from benchmarks.processes import cpu_seconds, descendants, peak_memory_mb
from producers.simulation.fleet import Fleet
from producers.simulation.publish import Published, publish
from producers.simulation.steady import steady_fleet
from schemas.topics import ENERGY, ITERATIONS
from streams.ledger import migrations
from streams.ledger.client import connect
from wattledger.demo import begin_at_the_end, wait_until_sealed
from wattledger.local.broker import Broker, broker
from wattledger.local.clickhouse_front import Front, clickhouse_front
from wattledger.local.worker import Worker, worker
from wattledger.topics_admin import create_topics

WINDOW_S, WAIT_S = 5.0, 0.5
PARTITIONS = 6
WARM_UP_NS = 10_000_000_000


@dataclass(frozen=True, slots=True)
class Throughput:
    """One pass over the stored frames."""

    what: str
    frames: int
    request_iterations: int
    wall_s: float
    cpu_s: float
    peak_mb: float

    @property
    def frames_per_s(self) -> float:
        """Frames per second of the core's time."""
        return self.frames / self.cpu_s

    @property
    def request_iterations_per_s(self) -> float:
        """Request-iterations per second of the core's time."""
        return self.request_iterations / self.cpu_s


def main() -> None:
    """Run the benchmark and print it."""
    arguments = _arguments()
    runs: list[Throughput] = []
    latencies: list[dict[str, float]] = []
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        kafka = stack.enter_context(broker(address=os.environ.get("WATTLEDGER_KAFKA")))
        front = stack.enter_context(clickhouse_front(scratch / "clickhouse"))
        create_topics(kafka.bootstrap, partitions=PARTITIONS)
        for repeat in range(arguments.repeats):
            fleet = _fleet(arguments.engines, arguments.seconds, f"t{repeat}")
            runs += _throughput(kafka, front, scratch, fleet, repeat)
        for repeat in range(arguments.repeats):
            fleet = _fleet(arguments.live_engines, arguments.live_seconds, f"l{repeat}")
            latencies.append(_latency(kafka, front, scratch, fleet, repeat))
    _report(arguments, runs, latencies)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--engines", type=int, default=200, help="engines in the throughput run (200)")
    parser.add_argument("--seconds", type=float, default=60.0, help="event time of the throughput run (60)")
    parser.add_argument("--live-engines", type=int, default=100, help="engines in the latency run (100)")
    parser.add_argument("--live-seconds", type=float, default=45.0, help="length of the latency run (45)")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", type=Path, help="also write every figure here")
    return parser.parse_args()


def _fleet(engines: int, seconds: float, name: str) -> Fleet:
    return steady_fleet(engines, seconds, cluster=f"bench-{name}-{time.time_ns() // 10**9}")


@contextmanager
def _pinned_worker(kafka: Broker, front: Front, scratch: Path, database: str) -> Iterator[Worker]:
    """A worker alone on core 0, with a database and a consumer group of its own."""
    dsn = front.dsn(database)
    client = connect(dsn)
    migrations.up(client)
    client.close()
    begin_at_the_end(kafka.bootstrap, database)
    with worker(
        kafka=kafka.bootstrap, clickhouse=dsn, log=scratch / f"{database}.log", options=["--group", database]
    ) as child:
        for pid in descendants(child.process.pid):
            os.sched_setaffinity(pid, {0})
        yield child


def _throughput(kafka: Broker, front: Front, scratch: Path, fleet: Fleet, repeat: int) -> list[Throughput]:
    starts = _ends(kafka.bootstrap)
    group = f"throughput_{repeat}"
    with ExitStack() as stack:
        # Committed before publishing, started after: the worker finds all frames waiting.
        client = connect(front.dsn(group))
        migrations.up(client)
        client.close()
        begin_at_the_end(kafka.bootstrap, group)
        published = publish(fleet, kafka.bootstrap, speed=0.0)
        frames = published.messages - len(fleet.engines)
        began = time.monotonic()
        child = stack.enter_context(
            worker(
                kafka=kafka.bootstrap,
                clickhouse=front.dsn(group),
                log=scratch / f"{group}.log",
                options=["--group", group],
            )
        )
        while child.progress() is None:
            time.sleep(0.1)
        for pid in descendants(child.process.pid):
            os.sched_setaffinity(pid, {0})
        before_s = cpu_seconds(child.process.pid)
        wait_until_sealed(child, len(fleet.groups), _last_window_s(published), lambda _: None)
        worker_run = Throughput(
            "worker",
            frames,
            fleet.request_iterations,
            time.monotonic() - began,
            cpu_seconds(child.process.pid) - before_s,
            peak_memory_mb(child.process.pid),
        )
    return [worker_run, _plain_consumer(kafka.bootstrap, starts, frames, fleet.request_iterations)]


def _plain_consumer(bootstrap: str, starts: list[TopicPartition], frames: int, rows: int) -> Throughput:
    """What one would write instead: confluent-kafka, decode, nothing else; same core, a process of its own."""
    positions = json.dumps([(start.topic, start.partition, start.offset) for start in starts])
    command = [sys.executable, "-m", "benchmarks.plain_consumer", bootstrap, str(frames), positions]
    began = time.monotonic()
    done = subprocess.run(["taskset", "-c", "0", *command], check=True, capture_output=True, text=True)
    said = json.loads(done.stdout)
    return Throughput(
        "plain consumer, decode only", frames, rows, time.monotonic() - began, said["cpu_s"], said["peak_mb"]
    )


def _latency(kafka: Broker, front: Front, scratch: Path, fleet: Fleet, repeat: int) -> dict[str, float]:
    database = f"latency_{repeat}"
    with _pinned_worker(kafka, front, scratch, database) as child:
        child.wait_until_ready()
        published = publish(fleet, kafka.bootstrap, speed=1.0)
        wait_until_sealed(child, len(fleet.groups), _last_window_s(published), lambda _: None)
    client = connect(front.dsn(database))
    first_s, ages = stored_ages_s(client)
    client.close()
    return {
        "first_s": first_s,
        "median_s": float(np.median(ages)),
        "p99_s": float(np.quantile(ages, 0.99)),
        "worst_s": float(max(ages)),
    }


def stored_ages_s(client: Client) -> tuple[float, list[float]]:
    """How far behind its end the first window was stored, and how old events were when they were, in seconds.

    Events are uniform over their window: a hundred of each. A worker that has just started is behind by what its
    start took, once: the first windows are not among the ages.
    """
    rows = client.query(
        "SELECT start_ns, end_ns, toUnixTimestamp64Milli(stored_at) FROM batches ORDER BY start_ns"
    ).result_rows
    warm_ns = rows[0][0] + WARM_UP_NS
    ages = [
        stored_ms / 1e3 - (start_ns + (end_ns - start_ns) * (k + 0.5) / 100) / 1e9
        for start_ns, end_ns, stored_ms in rows
        for k in range(100)
        if start_ns >= warm_ns
    ]
    return rows[0][2] / 1e3 - rows[0][1] / 1e9, ages


def _last_window_s(published: Published) -> float:
    return (published.end_ns / 1e9 - WAIT_S) // WINDOW_S * WINDOW_S


def _ends(bootstrap: str) -> list[TopicPartition]:
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "bench"})
    try:
        ends = []
        for topic in (ITERATIONS, ENERGY):
            for partition in range(PARTITIONS):
                _, high = consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=10)
                ends.append(TopicPartition(topic, partition, high))
        return ends
    finally:
        consumer.close()


def _report(arguments: argparse.Namespace, runs: list[Throughput], latencies: list[dict[str, float]]) -> None:
    print(
        f"{arguments.engines} engines × 50 iterations/s × batch 64, {arguments.seconds:.0f} s of event time, "
        f"{arguments.repeats} repeats; per second of one core, median [lowest, highest]\n"
    )
    for what in dict.fromkeys(run.what for run in runs):
        own = [run for run in runs if run.what == what]
        cores = [run.cpu_s / arguments.seconds for run in own]
        print(
            f"{what:<28} {_spread([run.frames_per_s for run in own], ',.0f')} frames/s  "
            f"{_spread([run.request_iterations_per_s / 1e6 for run in own], '.2f')} M request-iterations/s  "
            f"{_spread(cores, '.3f')} cores in real time  {_spread([run.peak_mb for run in own], '.0f')} MB"
        )
    print(
        f"\nlatency, event to queryable, {arguments.live_engines} engines in real time (target ≤ window + 3 s):"
    )
    for name in ("median_s", "p99_s", "worst_s"):
        print(f"  {name:<9} {_spread([one[name] for one in latencies], '.2f')}")
    first = _spread([one["first_s"] for one in latencies], ".2f")
    print(f"  a worker's first window after its start, behind its end: {first} s")
    if arguments.json:
        figures = {"throughput": [asdict(run) for run in runs], "latency": latencies}
        arguments.json.write_text(json.dumps(figures, indent=2))


def _spread(values: list[float], form: str) -> str:
    return f"{statistics.median(values):{form}} [{min(values):{form}}, {max(values):{form}}]"


if __name__ == "__main__":
    main()
