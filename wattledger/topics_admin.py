"""Creates the topics that schemas/topics declares, and checks the ones that exist against the declaration."""

import time
from collections.abc import Mapping
from dataclasses import dataclass

from confluent_kafka import KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, ConfigResource, NewTopic, OffsetSpec, ResourceType

from schemas.errors import BrokerUnavailable
from schemas.kafka_address import client_settings, servers_of
from schemas.topics import TOPICS, Topic

__all__ = ["TopicState", "check_topics", "create_topics", "differences", "in_sync"]

TIMEOUT_S = 20.0


@dataclass(frozen=True, slots=True)
class TopicState:
    """A topic as found on the broker."""

    topic: Topic
    partitions: int
    """0 where it does not exist."""
    replication: int
    differences: tuple[str, ...]
    """What is not as declared, each with the fix."""


def create_topics(
    bootstrap: str, *, partitions: int | None = None, replication: int | None = None
) -> list[str]:
    """Create what is missing and return its names; never changes a topic that exists.

    partitions: instead of the declared number, for installations too small for it.
    replication: None takes 3, or as many brokers as there are.
    """
    admin = AdminClient({**client_settings(bootstrap)})
    try:
        metadata = admin.list_topics(timeout=TIMEOUT_S)
        factor = replication or min(3, len(metadata.brokers))
        wanted = [
            NewTopic(
                topic.name,
                num_partitions=partitions if partitions and topic.partitions > 1 else topic.partitions,
                replication_factor=factor,
                config=dict(topic.config) | in_sync(factor),
            )
            for topic in TOPICS
            if topic.name not in metadata.topics
        ]
        if wanted:
            for future in admin.create_topics(wanted, operation_timeout=TIMEOUT_S).values():
                future.result(TIMEOUT_S)
            _wait_until_led(admin, wanted)
    except KafkaException as error:
        raise BrokerUnavailable(
            f"topics could not be created on {servers_of(bootstrap)}: {error.args[0].str()}; "
            "check WATTLEDGER_KAFKA and the broker's ACLs (CREATE on wattledger.*)"
        ) from error
    return [new.topic for new in wanted]


def _wait_until_led(admin: AdminClient, created: list[NewTopic]) -> None:
    """Return once every new partition answers: creation is confirmed before its leaders serve."""
    asked = {
        TopicPartition(topic.topic, partition): OffsetSpec.latest()
        for topic in created
        for partition in range(topic.num_partitions)
    }
    deadline = time.monotonic() + TIMEOUT_S
    while True:
        try:
            for future in admin.list_offsets(asked, request_timeout=TIMEOUT_S).values():
                future.result(TIMEOUT_S)
        except KafkaException:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
        else:
            return


def check_topics(bootstrap: str) -> list[TopicState]:
    """Every declared topic as the broker has it."""
    admin = AdminClient({**client_settings(bootstrap)})
    try:
        metadata = admin.list_topics(timeout=TIMEOUT_S)
        present = [topic for topic in TOPICS if topic.name in metadata.topics]
        resources = [ConfigResource(ResourceType.TOPIC, topic.name) for topic in present]
        configs = {
            resource.name: future.result(TIMEOUT_S)
            for resource, future in (admin.describe_configs(resources) if resources else {}).items()
        }
    except KafkaException as error:
        raise BrokerUnavailable(
            f"topics could not be read from {servers_of(bootstrap)}: {error.args[0].str()}; check WATTLEDGER_KAFKA"
        ) from error
    states = []
    for topic in TOPICS:
        found = metadata.topics.get(topic.name)
        if found is None:
            states.append(TopicState(topic, 0, 0, ("missing: run `wattledger topics create`",)))
            continue
        actual = {name: entry.value for name, entry in configs[topic.name].items()}
        replicas = len(found.partitions[0].replicas)
        states.append(
            TopicState(topic, len(found.partitions), replicas, differences(topic, actual, replicas))
        )
    return states


def in_sync(replicas: int) -> dict[str, str]:
    """With three replicas, `acks=all` must mean two of them; with fewer, it would stop at the first broker lost."""
    return {"min.insync.replicas": "2"} if replicas >= 3 else {}


def differences(topic: Topic, actual: Mapping[str, str | None], replicas: int) -> tuple[str, ...]:
    """What of a topic's configuration is not as declared, each with the fix."""
    change = "kafka-configs.sh --alter --add-config"
    found = [
        f"{name} is {actual.get(name)}, declared {value}: {change} {name}={value}"
        for name, value in topic.config.items()
        if actual.get(name) != value
    ]
    found += [
        f"{name} is {actual.get(name)}, and acks=all is then one broker's word: {change} {name}={value}"
        for name, value in in_sync(replicas).items()
        if int(actual.get(name) or 1) < int(value)
    ]
    return tuple(found)
