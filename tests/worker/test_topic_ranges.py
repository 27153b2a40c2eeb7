"""Stated offsets are read again from a real broker, or it is said that they are gone."""

import uuid
from collections.abc import Iterator

import pytest
from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from streams.worker.topic_ranges import TopicRanges, merged
from wattledger.local.broker import Broker

pytestmark = pytest.mark.kafka


@pytest.fixture
def topic(kafka: Broker) -> Iterator[str]:
    """Twenty messages, alternately of two groups."""
    name = f"ranges-{uuid.uuid4().hex[:8]}"
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap})
    admin.create_topics([NewTopic(name, 1, 1)])[name].result(20)
    producer = Producer({"bootstrap.servers": kafka.bootstrap})
    for number in range(20):
        producer.produce(name, str(number).encode(), b"ab"[number % 2 : number % 2 + 1], 0)
    assert producer.flush(20) == 0
    yield name
    admin.delete_topics([name])[name].result(20)


@pytest.fixture
def ranges(kafka: Broker) -> Iterator[TopicRanges]:
    found = TopicRanges(kafka.bootstrap)
    yield found
    found.close()


def test_a_groups_messages_in_ranges_come_in_order_and_no_other(topic: str, ranges: TopicRanges) -> None:
    found = ranges.read([(topic, 0, 12, 15), (topic, 0, 2, 5), (topic, 0, 4, 6)], b"a")
    assert found is not None
    values = [int(message.value) for message in found]
    assert values == sorted(values)
    assert {2, 4, 6, 12, 14} <= set(values)
    assert all(value % 2 == 0 for value in values)
    assert {(message.offset, message.key) for message in found} == {(value, b"a") for value in values}
    assert all(message.arrival_ns > 0 for message in found)


def test_offsets_that_are_deleted_or_not_there_yet_are_said_to_be_gone(
    kafka: Broker, topic: str, ranges: TopicRanges
) -> None:
    assert ranges.read([(topic, 0, 18, 25)], b"a") is None
    gone = TopicPartition(topic, 0, 5)
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap})
    admin.delete_records([gone])[gone].result(20)
    assert ranges.read([(topic, 0, 3, 8)], b"a") is None
    found = ranges.read([(topic, 0, 5, 8)], b"b")
    assert found is not None
    assert [message.offset for message in found] == [5, 7]


def test_ranges_near_each_other_are_read_as_one_and_far_ones_are_not() -> None:
    assert merged([("t", 0, 5, 9), ("t", 0, 100, 110), ("t", 0, 9000, 9001), ("t", 1, 0, 0)]) == [
        ("t", 0, 5, 110),
        ("t", 0, 9000, 9001),
        ("t", 1, 0, 0),
    ]
