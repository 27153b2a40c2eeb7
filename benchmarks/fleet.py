"""`make bench-fleet`: what a mixed fleet costs one worker core, from Kafka bytes to durable rows.

Frames lie ready in the broker; broker and database are other processes. In the same run, beside the worker: a plain
consumer that only decodes the same frames, Faust with a JSON record per iteration, and permutation sampling with
K = 200 in NumPy. CPU seconds per second of event time; the frames are described in `fleet_load`.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

from confluent_kafka import Consumer, Producer, TopicPartition

from benchmarks import fleet_live
from benchmarks.fleet_load import MEAN_BATCH, Load, frames, send, side_inputs
from benchmarks.processes import cpu_seconds, descendants, peak_memory_mb
from schemas.topics import ENERGY, ITERATIONS
from streams.ledger import migrations
from streams.ledger.client import connect
from wattledger.demo import begin_at_the_end, wait_until_sealed
from wattledger.local.broker import broker
from wattledger.local.clickhouse_front import Front, clickhouse_front
from wattledger.local.worker import worker
from wattledger.topics_admin import create_topics

PARTITIONS: Final = 6
WINDOW_S, WAIT_S = 5.0, 0.5
TAIL_S: Final = 1.0
"""Events beyond the last window, without which it would not close and its booking not be counted."""


def main() -> None:
    """Run and print."""
    arguments = _arguments()
    load = Load(arguments.engines, arguments.seconds + TAIL_S, f"fleet-{time.time_ns() // 10**9}")
    found: dict[str, Any] = {
        "engines": load.engines,
        "event_s": load.seconds,
        "request_iterations": load.request_iterations,
        "mean_batch": MEAN_BATCH,
    }
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        kafka = stack.enter_context(broker(address=os.environ.get("WATTLEDGER_KAFKA"))).bootstrap
        front = stack.enter_context(clickhouse_front(scratch / "clickhouse"))
        create_topics(kafka, partitions=PARTITIONS)
        origin_ns = int((time.time() - load.seconds) // WINDOW_S * WINDOW_S) * 10**9
        begin_at_the_end(kafka, "fleet")
        starts = _ends(kafka)
        found |= _publish(kafka, load, origin_ns)
        found["worker"] = _worker(kafka, front, scratch, load, origin_ns)
        found["ledger"] = _ledger_size(front)
        found["consumer"] = _plain_consumer(kafka, starts, found["frames"])
        if not arguments.skip_naive:
            found["json"] = _child("benchmarks.naive_faust", kafka)
        if arguments.latency_at:
            engines = round(arguments.latency_at * _engines_per_core(found))
            found["latency"] = fleet_live.latency(kafka, front, scratch, engines, arguments.seconds)
            if arguments.outage_s:
                found["outage"] = fleet_live.outage(kafka, front, scratch, engines, arguments.outage_s)
    if not arguments.skip_naive:
        found["permutations"] = _child("benchmarks.naive_permutations")
    _report(found)
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=2))


def _engines_per_core(found: dict[str, Any]) -> float:
    return float(found["engines"] * found["event_s"] / found["worker"]["cpu_s"])


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--engines", type=int, default=300, help="300")
    parser.add_argument("--seconds", type=float, default=60.0, help="of event time (60)")
    parser.add_argument("--skip-naive", action="store_true", help="without JSON records and permutations")
    parser.add_argument(
        "--latency-at",
        type=float,
        default=0.0,
        help="then events' ages at this part of that load, in real time",
    )
    parser.add_argument(
        "--outage-s", type=float, default=0.0, help="and the same load after so long an outage"
    )
    parser.add_argument("--json", type=Path, help="also write every figure here")
    return parser.parse_args()


def _publish(kafka: str, load: Load, origin_ns: int) -> dict[str, Any]:
    """Everything into the broker, side inputs first."""
    producer = Producer(
        {
            "bootstrap.servers": kafka,
            "enable.idempotence": True,
            "partitioner": "murmur2_random",
            "linger.ms": 20,
            "log_level": 0,
        }
    )
    send(producer, side_inputs(load, origin_ns))
    count = size = 0
    for _, messages in frames(load, origin_ns):
        send(producer, messages)
        count += len(messages)
        size += sum(len(value) for _, _, value in messages)
    assert producer.flush(60) == 0
    return {"frames": count, "wire_bytes": size}


def _worker(kafka: str, front: Front, scratch: Path, load: Load, origin_ns: int) -> dict[str, float]:
    """The worker alone on core 0; its start is not counted, its idle end is cut off by looking often."""
    database = "fleet"
    client = connect(front.dsn(database))
    migrations.up(client)
    client.close()
    log = scratch / "worker.log"
    end_s = (origin_ns / 1e9 + load.seconds - WAIT_S) // WINDOW_S * WINDOW_S
    options = ["--group", database]
    with worker(kafka=kafka, clickhouse=front.dsn(database), log=log, options=options) as child:
        while not ((found := child.progress()) and found.ready):
            time.sleep(0.02)
        for pid in descendants(child.process.pid):
            os.sched_setaffinity(pid, {0})
        before_s, began = cpu_seconds(child.process.pid), time.monotonic()
        wait_until_sealed(child, load.engines, end_s, lambda _: None)
        return {
            "cpu_s": cpu_seconds(child.process.pid) - before_s,
            "wall_s": time.monotonic() - began,
            "start_cpu_s": before_s,
            "peak_mb": peak_memory_mb(child.process.pid),
        }


def _ledger_size(front: Front) -> dict[str, float]:
    client = connect(front.dsn("fleet"))
    client.command("OPTIMIZE TABLE ledger FINAL")
    size = client.query(
        "SELECT table, sum(rows), sum(data_compressed_bytes) FROM system.parts "
        "WHERE active AND database = 'fleet' AND rows > 0 GROUP BY table"
    ).result_rows
    requests = client.query("SELECT uniqExact(engine_id, incarnation, ordinal) FROM ledger").result_rows
    client.close()
    return {f"{table}_{what}": n for table, rows, b in size for what, n in (("rows", rows), ("bytes", b))} | {
        "requests": float(requests[0][0])
    }


def _plain_consumer(kafka: str, starts: list[TopicPartition], count: int) -> dict[str, float]:
    positions = json.dumps([(start.topic, start.partition, start.offset) for start in starts])
    return _child("benchmarks.plain_consumer", kafka, str(count), positions)


def _child(module: str, *arguments: str) -> dict[str, float]:
    """What a benchmark in a process of its own, on the worker's core, says in JSON."""
    command = ["taskset", "-c", "0", sys.executable, "-m", module, *arguments]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    said: dict[str, float] = json.loads(done.stdout)
    return said


def _ends(kafka: str) -> list[TopicPartition]:
    consumer = Consumer({"bootstrap.servers": kafka, "group.id": "bench"})
    try:
        return [
            TopicPartition(
                topic, partition, consumer.get_watermark_offsets(TopicPartition(topic, partition))[1]
            )
            for topic in (ITERATIONS, ENERGY)
            for partition in range(PARTITIONS)
        ]
    finally:
        consumer.close()


def _report(found: dict[str, Any]) -> None:
    rows, event_s, engines = found["request_iterations"], found["event_s"], found["engines"]
    print(
        f"{engines} engines x 50 iterations/s, mean batch {found['mean_batch']:.0f}, {event_s:.0f} s of event "
        f"time: {found['frames']:,} frames, {rows / 1e6:.1f} M request-iterations, "
        f"{found['wire_bytes'] / rows:.2f} B each on the wire\n"
    )
    print(f"{'':<42}{'cores in real time':>20}{'engines per core':>18}{'ns per r-i':>12}{'M r-i/s/core':>14}")
    lines = [(name, found[key]["cpu_s"] / rows * 1e9) for name, key in _WHOLE]
    lines += [(name, found[key]["ns_per_request_iteration"]) for name, key in _RATES if key in found]
    for name, ns in lines:
        cores = ns * rows / 1e9 / event_s
        print(f"{name:<42}{cores:>20.3f}{engines / cores:>18,.0f}{ns:>12,.0f}{1e3 / ns:>14.3f}")
    ledger, memory = found["ledger"], found["worker"]["peak_mb"]
    print(
        f"\nworker: peak {memory:.0f} MB, {found['worker']['wall_s']:.1f} s for {event_s:.0f} s of events\n"
        f"ledger: {ledger['ledger_bytes'] / ledger['ledger_rows']:.1f} B a row (request and window), "
        f"{ledger['ledger_bytes'] / ledger['requests']:.0f} B a request, "
        f"{ledger['ledger_bytes'] / rows:.3f} B a request-iteration"
    )
    for name in ("latency", "outage"):
        if name in found:
            print(f"\n{name}, at {found[name]['engines'] / _engines_per_core(found):.0%} of that load:")
            fleet_live.report(found[name])


_WHOLE: Final = (
    ("worker: Kafka bytes to durable rows", "worker"),
    ("plain consumer: decodes, nothing else", "consumer"),
)
_RATES: Final = (
    ("Faust, a JSON record per iteration", "json"),
    ("200 permutations in NumPy, nothing else", "permutations"),
)

if __name__ == "__main__":
    main()
