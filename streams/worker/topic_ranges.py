"""Reads stated offsets of the topics again, beside the consumer group: what a repair is made of."""

import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Final

from confluent_kafka import Consumer, KafkaException, TopicPartition

from schemas.errors import BrokerUnavailable, UntrustedMessage
from schemas.kafka_address import servers_of
from streams.ledger.repairs import Position
from streams.messages import Message
from streams.trust import Check, trust_all
from streams.worker.kafka import consumer_settings

__all__ = ["TopicRanges", "merged"]

_TIMEOUT_S: Final = 10.0
_AT_ONCE: Final = 500
"""Messages per call of the client."""
_HOLES_S: Final = 0.2
"""A range with holes in it has fewer messages than offsets."""
NEAR: Final = 200
"""Ranges closer than this are read as one: a new fetch costs more than the messages between."""


class TopicRanges:
    """A consumer without a group's memory."""

    def __init__(self, bootstrap: str, check: Check = trust_all) -> None:
        self._check = check
        self._bootstrap = servers_of(bootstrap)
        self._consumer = Consumer(
            consumer_settings(bootstrap, "wattledger-repair", **{"auto.offset.reset": "error"})
        )

    def read(self, positions: Iterable[Position], key: bytes) -> list[Message] | None:
        """Messages with `key` in these ranges; None if the topic no longer retains all of them.

        Raises BrokerUnavailable.
        """
        found: list[Message] = []
        try:
            for topic, partition, first, last in merged(positions):
                low, high = self._consumer.get_watermark_offsets(
                    TopicPartition(topic, partition), timeout=_TIMEOUT_S
                )
                if first < low or last >= high:
                    return None
                found += self._range(topic, partition, first, last, key)
                # While it fetches on, the broker's answers to other questions wait behind that.
                self._consumer.unassign()
        except KafkaException as error:
            raise BrokerUnavailable(
                f"topics could not be read again on {self._bootstrap}: {error.args[0].str()}; "
                "check WATTLEDGER_KAFKA"
            ) from error
        return found

    def close(self) -> None:
        """Leave the broker."""
        self._consumer.close()

    def _range(self, topic: str, partition: int, first: int, last: int, key: bytes) -> Iterator[Message]:
        self._consumer.assign([TopicPartition(topic, partition, first)])
        deadline = time.monotonic() + _TIMEOUT_S
        at = first
        while at <= last:
            # It waits until it has as many as it is asked for, or for so long.
            for record in self._consumer.consume(min(_AT_ONCE, last - at + 1), timeout=_HOLES_S):
                if record.error() is not None:
                    raise KafkaException(record.error())
                deadline = time.monotonic() + _TIMEOUT_S
                offset = record.offset()
                if offset is None or offset > last or record.key() != key:
                    continue
                arrival_ns, value = record.timestamp()[1] * 1_000_000, record.value() or b""
                try:
                    self._check(topic, key, value, arrival_ns, record.headers())
                except UntrustedMessage:
                    continue  # in the dead letters, with the reason
                yield Message(topic, partition, offset, arrival_ns, key, value)
            # Transaction markers leave holes: the position says where reading stands.
            (position,) = self._consumer.position([TopicPartition(topic, partition)])
            at = max(at, position.offset)
            if time.monotonic() > deadline:
                raise BrokerUnavailable(
                    f"{topic}[{partition}] could not be read again from offset {at} on {self._bootstrap} within "
                    f"{_TIMEOUT_S:.0f} s: check the broker"
                )


def merged(positions: Iterable[Position]) -> list[Position]:
    """The same offsets, in order, as few ranges; what lies between near ones is read too."""
    ranges: dict[tuple[str, int], list[tuple[int, int]]] = defaultdict(list)
    for topic, partition, first, last in sorted(positions):
        known = ranges[topic, partition]
        if known and first <= known[-1][1] + NEAR:
            known[-1] = (known[-1][0], max(known[-1][1], last))
        else:
            known.append((first, last))
    return [(*place, *one) for place, found in ranges.items() for one in found]
