"""Reads the compacted topics to their end: descriptors, energy models and policies, before the gate opens."""

import logging
import time
from collections.abc import Callable, Mapping
from typing import Final

from confluent_kafka import Consumer, KafkaException, Message, TopicPartition

from schemas.errors import BrokerUnavailable, InvalidMessage
from schemas.kafka_address import servers_of
from schemas.side_input_codec import decode_engine, decode_model, decode_policy
from schemas.side_inputs import EngineDescriptor
from schemas.topics import ENGINES, MODELS, POLICIES
from streams import messages
from streams.messages import DeadLetter
from streams.side_inputs import SideInputs
from streams.trust import Check, trust_all
from streams.worker.kafka import consumer_settings

__all__ = ["SideReader"]

log = logging.getLogger(__name__)

_TIMEOUT_S: Final = 10.0
"""One broker round trip; longer means the broker is away, and the caller says so."""


class SideReader:
    """Follows the compacted topics from their beginning; `refresh` reads to what is their end now."""

    def __init__(
        self,
        bootstrap: str,
        side: SideInputs,
        bury: Callable[[DeadLetter], None],
        check: Check = trust_all,
    ) -> None:
        self._bootstrap = servers_of(bootstrap)
        self._take: Mapping[str, Callable[[bytes], None]] = {
            ENGINES: lambda value: side.add_engine(decode_engine(value)),
            MODELS: lambda value: side.add_model(decode_model(value)),
            POLICIES: lambda value: side.add_policy(decode_policy(value)),
        }
        self._bury = bury
        self._check = check
        self._consumer = Consumer(
            consumer_settings(bootstrap, "wattledger-side-inputs", **{"auto.offset.reset": "earliest"})
        )
        self._next: dict[tuple[str, int], int] = {}

    def refresh(self) -> None:
        """Read every side topic to its present end. Raises BrokerUnavailable."""
        try:
            ends = self._ends()
            behind = {key: end for key, end in ends.items() if self._next.get(key, 0) < end}
            if behind:
                self._read(behind)
        except KafkaException as error:
            raise BrokerUnavailable(
                f"side inputs could not be read from {self._bootstrap}: {error.args[0].str()}; "
                "check WATTLEDGER_KAFKA and that the topics exist (wattledger doctor)"
            ) from error

    def close(self) -> None:
        """Leave the broker."""
        self._consumer.close()

    def _ends(self) -> dict[tuple[str, int], int]:
        ends = {}
        for topic in self._take:
            found = self._consumer.list_topics(topic, timeout=_TIMEOUT_S).topics[topic]
            if found.error is not None:
                raise BrokerUnavailable(
                    f"topic {topic} does not exist on {self._bootstrap}: create it with `wattledger topics create`"
                )
            for partition in found.partitions:
                low, high = self._consumer.get_watermark_offsets(
                    TopicPartition(topic, partition), timeout=_TIMEOUT_S
                )
                self._next.setdefault((topic, partition), low)
                ends[topic, partition] = high
        return ends

    def _read(self, ends: Mapping[tuple[str, int], int]) -> None:
        self._consumer.assign(
            [TopicPartition(topic, partition, self._next[topic, partition]) for topic, partition in ends]
        )
        try:
            self._read_to(ends)
        finally:
            # While it fetches, the broker holds its fetch back for more, and its other questions wait behind that.
            self._consumer.unassign()

    def _read_to(self, ends: Mapping[tuple[str, int], int]) -> None:
        waiting = {key for key, end in ends.items() if self._next[key] < end}
        deadline = time.monotonic() + _TIMEOUT_S
        while waiting:
            message = self._consumer.poll(0.5)
            if message is not None and message.error() is None:
                self._receive(message)
                deadline = time.monotonic() + _TIMEOUT_S
            # Compaction and transaction markers leave holes: the position says where reading stands.
            for position in self._consumer.position([TopicPartition(*key) for key in waiting]):
                key = (position.topic, position.partition)
                if position.offset >= ends[key]:
                    self._next[key] = max(self._next[key], position.offset)
                    waiting.discard(key)
            if time.monotonic() > deadline:
                raise BrokerUnavailable(
                    f"side inputs: no answer from {self._bootstrap} within {_TIMEOUT_S:.0f} s, "
                    f"{len(waiting)} partitions unread; check the broker"
                )

    def _receive(self, message: Message) -> None:
        topic, partition, offset = message.topic(), message.partition(), message.offset()
        assert topic is not None
        assert partition is not None
        assert offset is not None
        value, key = message.value(), message.key() or b""
        if value is not None:
            arrival_ns = message.timestamp()[1] * 1_000_000
            try:
                if topic == ENGINES:
                    self._check(topic, key, value, arrival_ns, message.headers())
                    _must_be_under_its_id(key, decode_engine(value))
                self._take[topic](value)
            except InvalidMessage as error:
                log.warning("side input refused: %s[%d]@%d: %s", topic, partition, offset, error)
                refused = messages.Message(topic, partition, offset, arrival_ns, key, value)
                self._bury(DeadLetter(refused, error.reason, str(error)))
        self._next[topic, partition] = (
            offset + 1
        )  # after it is buried: a database that is away is asked again


def _must_be_under_its_id(key: bytes, descriptor: EngineDescriptor) -> None:
    """Raise InvalidMessage for a descriptor under another key: who may write one key speaks for one engine."""
    if key != descriptor.engine_id.encode():
        found = key.decode("utf-8", "replace")
        raise InvalidMessage(f"key {found!r} is not the descriptor's engine_id {descriptor.engine_id!r}")
