"""Reads intensities and policies from their topics into the database; what is wrong goes to the dead letters."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from confluent_kafka import Consumer, KafkaException, Message, TopicPartition

from schemas.errors import BrokerUnavailable, DataError, InvalidMessage
from schemas.factors import Factor
from schemas.kafka_address import client_settings, servers_of
from schemas.side_input_codec import decode_grid, decode_policy
from schemas.side_inputs import GridIntensity
from schemas.topics import GRID, POLICIES
from streams.carbon.rows import policy_factors
from streams.carbon.store import refuse_overlaps, store_factors
from streams.worker.dead_letters import DeadLetterTopic

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

__all__ = ["Synced", "sync_factors"]

TIMEOUT_S: Final = 10.0
"""Without a message for so long the broker is away."""


@dataclass(frozen=True, slots=True)
class Synced:
    """What came of the topics as they stood."""

    intensities: int
    factors: int
    refused: int


def sync_factors(client: "Client", bootstrap: str) -> Synced:
    """Store what the topics hold now; idempotent. Raises BrokerUnavailable or DatabaseUnavailable.

    An interval that overlaps one on record, without being a new version of it, is refused like one that cannot
    be read: the first figure for a moment stands until it is corrected.
    """
    letters = DeadLetterTopic(bootstrap)
    intensities: list[GridIntensity] = []
    factors: list[Factor] = []
    refused = 0
    for message in _messages(bootstrap):
        topic, partition, offset, value = (
            message.topic(),
            message.partition(),
            message.offset(),
            message.value(),
        )
        assert topic is not None
        assert partition is not None
        assert offset is not None
        if value is None:
            continue
        try:
            if topic == GRID:
                one = decode_grid(value)
                _refuse_overlap_among(intensities, one)
                refuse_overlaps(client, [one])
                intensities.append(one)
            else:
                factors += policy_factors(decode_policy(value), max(message.timestamp()[1], 1))
        except (InvalidMessage, DataError) as error:
            letters.publish_side_input(topic, partition, offset, value, str(error))
            refused += 1
    store_factors(client, intensities, factors)
    return Synced(len(intensities), len(factors), refused)


def _refuse_overlap_among(known: list[GridIntensity], new: GridIntensity) -> None:
    mine = (new.valid_from_ns, new.valid_to_ns)
    for one in known:
        theirs = (one.valid_from_ns, one.valid_to_ns)
        alike = (one.zone, one.basis, one.resolution) == (new.zone, new.basis, "interval")
        if alike and theirs != mine and theirs[0] < mine[1] and mine[0] < theirs[1]:
            raise DataError(f"zone {new.zone!r}, {new.basis}: {mine} ns overlaps {theirs} of {one.source!r}")


def _messages(bootstrap: str) -> Iterator[Message]:
    """Every message of both topics up to their present end."""
    consumer = Consumer(
        {**client_settings(bootstrap), "group.id": "wattledger-factors", "enable.auto.commit": False}
    )
    try:
        ends: dict[tuple[str, int], int] = {}
        for topic in (GRID, POLICIES):
            found = consumer.list_topics(topic, timeout=TIMEOUT_S).topics[topic]
            if found.error is not None:
                raise BrokerUnavailable(
                    f"topic {topic} does not exist on {servers_of(bootstrap)}: `wattledger topics create`"
                )
            for partition in found.partitions:
                low, high = consumer.get_watermark_offsets(
                    TopicPartition(topic, partition), timeout=TIMEOUT_S
                )
                if low < high:
                    ends[topic, partition] = high
        consumer.assign([TopicPartition(topic, partition, 0) for topic, partition in ends])
        deadline = time.monotonic() + TIMEOUT_S
        while ends:
            message = consumer.poll(0.5)
            if message is not None and message.error() is None:
                deadline = time.monotonic() + TIMEOUT_S
                yield message
            for position in consumer.position([TopicPartition(*key) for key in ends]):
                if position.offset >= ends[position.topic, position.partition]:
                    del ends[position.topic, position.partition]
            if time.monotonic() > deadline:
                raise BrokerUnavailable(
                    f"no answer from {servers_of(bootstrap)} within {TIMEOUT_S:.0f} s: check the broker"
                )
    except KafkaException as error:
        raise BrokerUnavailable(f"factors could not be read from {servers_of(bootstrap)}: {error}") from error
    finally:
        consumer.close()
