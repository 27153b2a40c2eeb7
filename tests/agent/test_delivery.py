"""From the spool to a real broker: an agent killed in the middle leaves no hole, and nothing takes effect twice."""

import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path

import pytest
from confluent_kafka import Consumer, TopicPartition

from producers.agent.spool import Outgoing, Spool
from schemas.topics import ENERGY, ENGINES, ITERATIONS, LOADS
from tests.agent.test_overflow import ORIGIN_NS, Sent, booked, lines, stream, worth
from tests.meters import nvml_stub
from tests.rig.streams import demo_fleet
from tests.rig.streams import records as records_of
from wattledger.local.broker import Broker
from wattledger.topics_admin import create_topics

TOPICS = (ITERATIONS, ENERGY, LOADS, ENGINES)


def ends(bootstrap: str) -> dict[tuple[str, int], int]:
    """Where each partition of the agent's topics ends now."""
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "ends"})
    found = {}
    for topic in TOPICS:
        for partition in consumer.list_topics(topic, timeout=20).topics[topic].partitions:
            position = TopicPartition(topic, partition)
            found[topic, partition] = consumer.get_watermark_offsets(position, timeout=20)[1]
    consumer.close()
    return found


def taken(bootstrap: str, begins: dict[tuple[str, int], int], cluster: str) -> list[Sent]:
    """What Kafka holds of a cluster's messages since `begins`, partition by partition."""
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "taken", "enable.partition.eof": True})
    found = []
    for (topic, partition), begin in begins.items():
        consumer.assign([TopicPartition(topic, partition, begin)])
        while True:
            message = consumer.poll(20)
            assert message is not None
            if message.error():
                break
            key = message.key().decode()
            if key.startswith(cluster):
                found.append((topic, key, message.value(), 0))
    consumer.close()
    return found


@pytest.fixture
def agent_command(tmp_path: Path, kafka: Broker) -> tuple[list[str], dict[str, str]]:
    stub = nvml_stub.build(tmp_path / "nvml")
    stub.write("uuid=GPU-0 power_w=300")
    command = [
        sys.executable, "-m", "wattledger", "agent", "--cluster", "other", "--node", "n1", "--metrics-port", "0",
        "--socket", str(tmp_path / "agent.sock"), "--spool", str(tmp_path / "spool.db"), "--host", "off",
    ]  # fmt: skip
    return command, {**stub.environment(), "WATTLEDGER_KAFKA": kafka.bootstrap}


@pytest.mark.kafka
@pytest.mark.slow
def test_an_agent_killed_while_it_publishes_leaves_no_hole_and_books_nothing_twice(
    tmp_path: Path, kafka: Broker, agent_command: tuple[list[str], dict[str, str]]
) -> None:
    create_topics(kafka.bootstrap, partitions=4)
    cluster = f"kill{uuid.uuid4().hex[:8]}"
    sent: list[Sent] = [
        (record.topic, record.key.decode(), record.value, record.at_ns)
        for record in records_of(demo_fleet(cluster, duration_s=60.0), ORIGIN_NS)
        if record.topic in TOPICS
    ]
    spool = Spool(tmp_path / "spool.db", 1 << 40)
    spool.put([Outgoing(t, key, value, worth(t), stream(t, key, value), at) for t, key, value, at in sent])
    spool.close()
    begins = ends(kafka.bootstrap)
    command, environment = agent_command
    for kill in (True, False):
        process = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
        try:
            before = waiting(tmp_path)
            limit = time.monotonic() + 60
            while waiting(tmp_path) > (before * 2 // 3 if kill else 20):
                assert process.poll() is None
                assert time.monotonic() < limit
                time.sleep(0.01)
        finally:
            process.send_signal(signal.SIGKILL if kill else signal.SIGTERM)
            process.wait(30)
        assert not kill or waiting(tmp_path) > 0, "it was to be killed in the middle"
    found = taken(kafka.bootstrap, begins, cluster)
    # No hole: every message is there, byte for byte; some may be there twice.
    assert {one[:3] for one in found} == {one[:3] for one in sent}
    # Every stream in its order, whatever is repeated.
    for topic, key in {(topic, key) for topic, key, _, _ in sent}:
        once = list(dict.fromkeys(value for t, k, value, _ in found if (t, k) == (topic, key)))
        assert once == list(dict.fromkeys(value for t, k, value, _ in sent if (t, k) == (topic, key)))
    # No double effect.
    at_ns = {one[:3]: one[3] for one in sent}
    in_order = sorted(found, key=lambda one: at_ns[one[:3]])
    assert sorted(lines(booked(in_order)), key=repr) == sorted(lines(booked(sent)), key=repr)


def waiting(folder: Path) -> int:
    """Messages in the spool."""
    spool = Spool(folder / "spool.db", 1 << 40)
    count = spool.messages
    spool.close()
    return count
