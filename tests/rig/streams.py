"""A fleet's events on a real broker, and consumer groups placed at their beginning."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from confluent_kafka import Consumer, Producer, TopicPartition

from producers.simulation.fleet import Fleet, events, simulate_fleet
from producers.simulation.presets import demo_scenario
from producers.simulation.publish import encode_event
from schemas.topics import ENERGY, ITERATIONS, LOADS
from streams.windows import WindowRules

__all__ = ["Record", "Stream", "demo_fleet", "ends", "place_group", "records", "send", "sent_stream"]

CO_PARTITIONED = (ITERATIONS, ENERGY, LOADS)
Position = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Record:
    """A message to publish; keyed by its group unless told otherwise."""

    topic: str
    key: bytes
    value: bytes
    at_ns: int
    """Event time: when it would be sent in real time."""


@dataclass(frozen=True, slots=True)
class Stream:
    """A fleet's events as they lie on the broker."""

    fleet: Fleet
    origin_ns: int
    begins: Mapping[Position, int]
    """Offsets at which its events begin."""

    @property
    def cluster(self) -> str:
        """Prefix of its groups: several streams share the topics."""
        return self.fleet.scenario.cluster

    @property
    def end_ns(self) -> int:
        """End of the last event."""
        return self.origin_ns + self.fleet.end_us * 1000

    def sealed_ns(self, rules: WindowRules | None = None) -> int:
        """End of the last window that its events let close."""
        rules = rules or WindowRules()
        return (self.end_ns - rules.wait_ns) // rules.window_ns * rules.window_ns


def demo_fleet(cluster: str, *, duration_s: float = 60.0, seed: int = 1) -> Fleet:
    """The demo's fleet under a name of its own."""
    return simulate_fleet(replace(demo_scenario(duration_s=duration_s, seed=seed), cluster=cluster))


def records(fleet: Fleet, origin_ns: int) -> list[Record]:
    """Every event of the fleet as it goes to the broker, in event order."""
    return [Record(*encode_event(event), at_ns=event.at_ns) for event in events(fleet, origin_ns)]


def send(bootstrap: str, messages: Iterable[Record]) -> set[tuple[str, int, int]]:
    """Publish in order and wait until the broker has everything; returns (topic, partition, offset) of each."""
    producer = Producer(
        {
            "bootstrap.servers": bootstrap,
            "enable.idempotence": True,
            "partitioner": "murmur2_random",
            "log_level": 0,
        }
    )
    failures: list[str] = []
    positions: set[tuple[str, int, int]] = set()

    def delivered(error: object, message: Any) -> None:
        if error is not None:
            failures.append(str(error))
        positions.add((message.topic(), message.partition(), message.offset()))

    for message in messages:
        while True:
            try:
                producer.produce(message.topic, message.value, message.key, on_delivery=delivered)
                break
            except BufferError:
                producer.poll(0.1)
        producer.poll(0)
    assert producer.flush(60) == 0
    assert not failures, failures[:3]
    return positions


def sent_stream(
    bootstrap: str, fleet: Fleet, origin_ns: int, changed: Sequence[Record] | None = None
) -> Stream:
    """Publish a fleet's events, or what a test made of them, and remember where they begin."""
    begins = ends(bootstrap)
    send(bootstrap, records(fleet, origin_ns) if changed is None else changed)
    return Stream(fleet, origin_ns, begins)


def ends(bootstrap: str, topics: Iterable[str] = CO_PARTITIONED) -> dict[Position, int]:
    """The present ends of topics."""
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "tests-ends"})
    try:
        metadata = consumer.list_topics(timeout=20)
        return {
            (topic, partition): consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=20)[
                1
            ]
            for topic in topics
            for partition in metadata.topics[topic].partitions
        }
    finally:
        consumer.close()


def place_group(bootstrap: str, group: str, positions: Mapping[Position, int]) -> None:
    """Commit `positions` for a consumer group that has no member yet."""
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": group, "enable.auto.commit": False})
    try:
        consumer.commit(
            offsets=[TopicPartition(*key, offset) for key, offset in positions.items()], asynchronous=False
        )
    finally:
        consumer.close()
