"""The obvious design, for comparison: Faust, one JSON record per iteration, energy added up per request."""

import json
import logging
import os
import sys
import tempfile
import time
from collections import defaultdict
from typing import Any

import faust
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic

BATCH = 64
RECORDS = 10_000
TOPIC = "bench.json-iterations"


def main(kafka: str) -> None:
    """Publish RECORDS iterations, read them with Faust, print ns per request-iteration as JSON."""
    admin = AdminClient({"bootstrap.servers": kafka})
    admin.create_topics([NewTopic(TOPIC, 6, 1)])[TOPIC].result(20)
    producer = Producer({"bootstrap.servers": kafka, "linger.ms": 20, "log_level": 0})
    for number in range(RECORDS):
        producer.produce(TOPIC, json.dumps(_record(number)).encode(), b"engine-0")
        producer.poll(0)
    assert producer.flush(60) == 0
    with tempfile.TemporaryDirectory() as directory:
        _read(kafka, directory)


def _record(number: int) -> dict[str, Any]:
    return {
        "engine": "cluster/node-0/engine-0",
        "start_ns": 1_760_000_000_000_000_000 + number * 20_000_000,
        "energy_j": 4.1,
        "requests": [
            {"id": f"req-{number // 200 * BATCH + seat:032x}", "tenant": f"tenant-{seat % 32}", "new_tokens": 1,
             "context": 512 + number % 200}
            for seat in range(BATCH)
        ],
    }  # fmt: skip


def _read(kafka: str, directory: str) -> None:
    app = faust.App(
        f"bench-json-{time.time_ns()}",
        broker=f"kafka://{kafka}",
        datadir=directory,
        store="memory://",
        web_enabled=False,
        topic_allow_declare=False,
        topic_disable_leader=True,
        consumer_auto_offset_reset="earliest",
    )
    topic = app.topic(TOPIC, value_serializer="json")
    totals: dict[str, float] = defaultdict(float)
    state = {"seen": 0, "cpu_s": 0.0}

    async def book(stream: Any) -> None:
        async for iteration in stream:
            if state["seen"] == 0:
                state["cpu_s"] = time.process_time()
            requests = iteration["requests"]
            for request in requests:
                totals[request["id"]] += iteration["energy_j"] / len(requests)
            state["seen"] += 1
            if state["seen"] == RECORDS:
                spent = time.process_time() - state["cpu_s"]
                json.dump({"ns_per_request_iteration": spent / (RECORDS * BATCH) * 1e9}, sys.stdout)
                sys.stdout.flush()
                os._exit(0)  # an agent that stops its own application waits for itself

    app.agent(topic)(book)
    worker = faust.Worker(app, loglevel="ERROR", quiet=True, redirect_stdouts=False)
    worker.spinner = None  # its escape sequences would stand before the figure
    logging.getLogger("faust").setLevel(logging.ERROR)
    worker.execute_from_commandline()


if __name__ == "__main__":
    main(sys.argv[1])
