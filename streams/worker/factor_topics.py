"""Brings intensities and policies from their topics into the database; what is wrong goes to the dead letters.

The topics are compacted, the database is not: what a poller published stays on record as a version, and of two
versions of an interval the higher counts, in whatever order they were read.
"""

import logging
import time
from collections.abc import Iterator, MutableMapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from confluent_kafka import Consumer, KafkaException, Message, TopicPartition

from schemas.errors import BrokerUnavailable, DataError, InvalidMessage
from schemas.factors import Factor
from schemas.kafka_address import servers_of
from schemas.side_input_codec import decode_grid, decode_policy
from schemas.side_inputs import GridIntensity
from schemas.topics import GRID, POLICIES
from streams.carbon.rows import policy_factors
from streams.carbon.store import overlapping, store_factors
from streams.ledger.sink import ClickHouseSink
from streams.messages import DeadLetter
from streams.messages import Message as Record
from streams.worker.dead_letters import DeadLetterTopic, bury_in
from streams.worker.jobs import Job, Scope
from streams.worker.kafka import consumer_settings

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

__all__ = ["Synced", "factors_job", "sync_factors"]

log = logging.getLogger(__name__)

TIMEOUT_S: Final = 10.0
"""Without a message for so long the broker is away."""
EVERY_S: Final = 60.0
"""How long a published figure waits to be in the database; grams before it take the ladder."""

Positions = MutableMapping[tuple[str, int], int]
"""By topic and partition: the offset to read next."""


@dataclass(frozen=True, slots=True)
class Synced:
    """What came of the topics as they stood."""

    intensities: int
    factors: int
    refused: int


def sync_factors(client: "Client", bootstrap: str, positions: Positions | None = None) -> Synced:
    """Store what the topics hold from `positions` on, all of it where none are given; they move when it is durable.

    An interval that overlaps one on record, without being a new version of it, is refused like one that cannot
    be read: the first figure for a moment stands until it is corrected. Idempotent. Raises BrokerUnavailable or
    DatabaseUnavailable.
    """
    positions = {} if positions is None else positions
    read: dict[tuple[str, int], int] = dict(positions)
    intensities: list[tuple[Message, GridIntensity]] = []
    factors: list[Factor] = []
    refused: list[DeadLetter] = []
    for message in _messages(bootstrap, read):
        if message.value() is None:
            continue
        try:
            if message.topic() == GRID:
                intensities.append((message, decode_grid(message.value() or b"")))
            else:
                policy = decode_policy(message.value() or b"")
                factors += policy_factors(policy, max(message.timestamp()[1], 1))
        except (InvalidMessage, DataError) as error:
            refused.append(_letter(message, getattr(error, "reason", InvalidMessage.reason), str(error)))
    why = overlapping(client, [one for _, one in intensities])
    refused += [_letter(intensities[number][0], InvalidMessage.reason, said) for number, said in why.items()]
    good = [one for number, (_, one) in enumerate(intensities) if number not in why]
    store_factors(client, good, factors)
    if refused:
        bury = bury_in(ClickHouseSink(client), DeadLetterTopic(bootstrap))
        for letter in refused:
            bury(letter)
    positions.update(read)
    return Synced(len(good), len(factors), len(refused))


def factors_job(client: "Client", bootstrap: str) -> Job:
    """The worker's job that does it once a minute; of several workers the one that has partition 0."""
    positions: dict[tuple[str, int], int] = {}

    def take(scope: Scope) -> Iterator[None]:
        if 0 in scope.partitions:
            synced = sync_factors(client, bootstrap, positions)
            if synced.intensities or synced.factors or synced.refused:
                log.info(
                    "stored %d intensities and %d other factors, refused %d",
                    synced.intensities,
                    synced.factors,
                    synced.refused,
                )
        yield

    return Job("factors", EVERY_S, take)


def _letter(message: Message, reason: str, said: str) -> DeadLetter:
    topic, partition, offset = message.topic(), message.partition(), message.offset()
    assert topic is not None
    assert partition is not None
    assert offset is not None
    arrival_ns = max(message.timestamp()[1], 0) * 1_000_000
    refused = Record(topic, partition, offset, arrival_ns, message.key() or b"", message.value() or b"")
    return DeadLetter(refused, reason, said)


def _messages(bootstrap: str, read: dict[tuple[str, int], int]) -> Iterator[Message]:
    """Every message of both topics from `read`, which moves along, up to their present end."""
    consumer = Consumer(consumer_settings(bootstrap, "wattledger-factors"))
    try:
        ends = _ends(consumer, bootstrap)
        behind = {key: end for key, end in ends.items() if read.get(key, 0) < end}
        if not behind:
            return
        consumer.assign([TopicPartition(*key, read.get(key, 0)) for key in behind])
        deadline = time.monotonic() + TIMEOUT_S
        while behind:
            message = consumer.poll(0.5)
            if message is not None and message.error() is None:
                deadline = time.monotonic() + TIMEOUT_S
                yield message
            # Compaction leaves holes: the position says where reading stands.
            for position in consumer.position([TopicPartition(*key) for key in behind]):
                key = (position.topic, position.partition)
                if position.offset >= behind[key]:
                    read[key] = position.offset
                    del behind[key]
            if time.monotonic() > deadline:
                raise BrokerUnavailable(
                    f"no answer from {servers_of(bootstrap)} within {TIMEOUT_S:.0f} s: check the broker"
                )
    except KafkaException as error:
        raise BrokerUnavailable(f"factors could not be read from {servers_of(bootstrap)}: {error}") from error
    finally:
        consumer.close()


def _ends(consumer: Consumer, bootstrap: str) -> dict[tuple[str, int], int]:
    """Where each partition of the topics ends now, if it holds anything."""
    ends: dict[tuple[str, int], int] = {}
    for topic in (GRID, POLICIES):
        found = consumer.list_topics(topic, timeout=TIMEOUT_S).topics[topic]
        if found.error is not None:
            raise BrokerUnavailable(
                f"topic {topic} does not exist on {servers_of(bootstrap)}: `wattledger topics create`"
            )
        for partition in found.partitions:
            low, high = consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=TIMEOUT_S)
            if low < high:
                ends[topic, partition] = high
    return ends
