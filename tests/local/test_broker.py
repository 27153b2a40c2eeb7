"""A local Kafka: it answers, keeps time by its own clock, survives a lost broker, and leaves nothing behind."""

import time
import uuid
from pathlib import Path

import pytest
from confluent_kafka import TIMESTAMP_LOG_APPEND_TIME, Consumer, KafkaError, Message, Producer
from confluent_kafka.admin import AdminClient, NewTopic

from wattledger.local.broker import Broker, broker

pytestmark = pytest.mark.kafka


def created(bootstrap: str, *, partitions: int = 1, replication: int = 1) -> str:
    name = f"test-{uuid.uuid4().hex[:8]}"
    admin = AdminClient({"bootstrap.servers": bootstrap})
    for future in admin.create_topics([NewTopic(name, partitions, replication)]).values():
        future.result(timeout=30)
    return name


def produce(bootstrap: str, topic: str, values: list[bytes]) -> None:
    failures: list[KafkaError] = []
    producer = Producer({"bootstrap.servers": bootstrap, "acks": "all", "enable.idempotence": True})
    for value in values:
        producer.produce(topic, value, on_delivery=lambda error, _: failures.append(error) if error else None)
    assert producer.flush(60) == 0
    assert failures == []


def consume(bootstrap: str, topic: str, count: int) -> list[Message]:
    consumer = Consumer(
        {"bootstrap.servers": bootstrap, "group.id": uuid.uuid4().hex, "auto.offset.reset": "earliest"}
    )
    consumer.subscribe([topic])
    found: list[Message] = []
    deadline = time.monotonic() + 60
    while len(found) < count and time.monotonic() < deadline:
        message = consumer.poll(0.5)
        if message is not None:
            assert message.error() is None
            found.append(message)
    consumer.close()
    return found


def test_messages_come_back_with_the_brokers_own_time(kafka: Broker) -> None:
    topic = created(kafka.bootstrap)
    before_ms = time.time_ns() // 1_000_000
    produce(kafka.bootstrap, topic, [b"a", b"b"])
    found = consume(kafka.bootstrap, topic, 2)
    assert [message.value() for message in found] == [b"a", b"b"]
    kind, stamp_ms = found[0].timestamp()
    if kafka.kind == "kraft":
        assert kind == TIMESTAMP_LOG_APPEND_TIME
        assert before_ms - 1000 <= stamp_ms <= time.time_ns() // 1_000_000 + 1000


def test_a_misspelt_topic_does_not_appear(kafka: Broker) -> None:
    if kafka.kind == "given":
        pytest.skip("the user's own broker has its own rules")
    producer = Producer({"bootstrap.servers": kafka.bootstrap, "message.timeout.ms": 2000})
    errors: list[KafkaError] = []
    name = f"misspelt-{uuid.uuid4().hex[:8]}"
    producer.produce(name, b"x", on_delivery=lambda error, _: errors.append(error))
    producer.flush(10)
    assert [error is not None for error in errors] == [True]
    assert name not in AdminClient({"bootstrap.servers": kafka.bootstrap}).list_topics(timeout=10).topics


@pytest.mark.slow
def test_three_brokers_keep_every_message_while_one_is_killed_and_comes_back() -> None:
    with broker(3, docker=False) as three:
        topic = created(three.bootstrap, partitions=3, replication=3)
        produce(three.bootstrap, topic, [b"%d" % n for n in range(100)])
        three.kill(1)
        produce(three.bootstrap, topic, [b"%d" % n for n in range(100, 200)])
        three.restart(1)
        three.stop(0)
        produce(three.bootstrap, topic, [b"%d" % n for n in range(200, 300)])
        values = sorted(int(message.value()) for message in consume(three.bootstrap, topic, 300))
        assert values == list(range(300))


@pytest.mark.slow
def test_a_single_broker_killed_and_restarted_has_its_messages_and_ends_without_a_trace() -> None:
    with broker(docker=False) as one:
        topic = created(one.bootstrap)
        produce(one.bootstrap, topic, [b"kept"])
        one.kill(0)
        one.restart(0)
        assert [message.value() for message in consume(one.bootstrap, topic, 1)] == [b"kept"]
        assert one.children is not None
        groups, directory = one.children.pids, one.children.nodes[0].directory
    assert not directory.exists()
    assert [pid for pid in groups if Path(f"/proc/{pid}").exists()] == []
