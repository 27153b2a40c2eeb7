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
from streams.messages import DeadLetter
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
            self._producer.produce(
                DEAD_LETTERS,
                key=message.key,
                value=message.value,
                headers={
                    "wattledger-topic": message.topic,
                    "wattledger-partition": str(message.partition),
                    "wattledger-offset": str(message.offset),
                    "wattledger-reason": letter.detail[:1000],
                },
            )
        if letters and self._producer.flush(_FLUSH_S):
            raise BrokerUnavailable(
                f"{len(letters)} dead letters could not be published to {DEAD_LETTERS} on {self._bootstrap} "
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
