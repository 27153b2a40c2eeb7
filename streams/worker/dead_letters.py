"""Sends what could not be booked to the dead-letter topic, with the reason in the headers, and to the table."""

from collections.abc import Callable, Sequence
from typing import Final

from confluent_kafka import Producer

from schemas.errors import BrokerUnavailable
from schemas.kafka_address import servers_of
from schemas.topics import DEAD_LETTERS
from streams.ledger.incident_rows import dead_letter_table
from streams.ledger.sink import Sink
from streams.ledger.tables import arrow_schema
from streams.pipeline import DeadLetter
from streams.worker.kafka import producer_settings

__all__ = ["DeadLetterTopic", "bury_in"]

_FLUSH_S: Final = 30.0
"""A dead letter is published before its message is acked; a broker away for longer stops the worker."""


class DeadLetterTopic:
    """An idempotent producer to `wattledger.dead-letters.v1`."""

    def __init__(self, bootstrap: str) -> None:
        self._bootstrap = servers_of(bootstrap)
        self._producer = Producer(producer_settings(bootstrap))

    def publish(self, letters: Sequence[DeadLetter]) -> None:
        """Publish and wait until the broker has them all. Raises BrokerUnavailable."""
        for letter in letters:
            message = letter.message
            self._produce(
                message.topic, message.partition, message.offset, message.key, message.value, letter.detail
            )
        self._wait(len(letters))

    def publish_side_input(self, topic: str, partition: int, offset: int, value: bytes, detail: str) -> None:
        """Publish a refused descriptor, model or policy."""
        self._produce(topic, partition, offset, b"", value, detail)
        self._wait(1)

    def _produce(
        self, topic: str, partition: int, offset: int, key: bytes, value: bytes, detail: str
    ) -> None:
        self._producer.produce(
            DEAD_LETTERS,
            key=key,
            value=value,
            headers={
                "wattledger-topic": topic,
                "wattledger-partition": str(partition),
                "wattledger-offset": str(offset),
                "wattledger-reason": detail[:1000],
            },
        )

    def _wait(self, count: int) -> None:
        if count and self._producer.flush(_FLUSH_S):
            raise BrokerUnavailable(
                f"{count} dead letters could not be published to {DEAD_LETTERS} on {self._bootstrap} "
                f"within {_FLUSH_S:.0f} s: check the broker and that the topic exists"
            )


def bury_in(sink: Sink, topic: DeadLetterTopic | None = None) -> Callable[[DeadLetter], None]:
    """What to do with a refused side input: a row of `dead_letters`, and where a topic is given a message.

    Every reader meets it again, from the topic's beginning: its position makes it one row.
    """

    def bury(letter: DeadLetter) -> None:
        if topic is not None:
            topic.publish([letter])
        sink.write({"dead_letters": dead_letter_table([letter])}, arrow_schema("batches").empty_table())

    return bury
