"""Publishes dead letters again, byte for byte, to the topic and under the key they came with."""

import time
from collections.abc import Callable, Sequence
from typing import Final

import pyarrow as pa
from confluent_kafka import KafkaError, Message, Producer

from schemas.errors import BrokerUnavailable
from schemas.kafka_address import servers_of
from schemas.signatures import Sign, unsigned
from streams.ledger.dead_letters import Letter
from streams.ledger.sink import Sink
from streams.ledger.tables import arrow_schema
from streams.worker.kafka import producer_settings

__all__ = ["replay_letters"]

_FLUSH_S: Final = 30.0


def replay_letters(bootstrap: str, sink: Sink, letters: Sequence[Letter], sign: Sign = unsigned) -> int:
    """Publish `letters`, wait until the broker has them all, and remember that; returns how many.

    sign: who publishes again vouches for the bytes, where workers ask for signatures.
    A crash between the two publishes some again: frames are known by their identity, so a copy of one that was
    booked changes nothing. Raises BrokerUnavailable or DatabaseUnavailable.
    """
    taken: list[dict[str, object]] = []
    producer = Producer(producer_settings(bootstrap))
    signed = sign([(letter.topic, letter.key, letter.payload) for letter in letters])
    for letter, headers in zip(letters, signed, strict=True):
        producer.produce(
            letter.topic,
            letter.payload,
            letter.key,
            headers=[
                ("wattledger-replay-of", letter.position.encode()),
                *headers,
            ],
            on_delivery=_remember(letter, taken),
        )
        producer.poll(0)
    left = producer.flush(_FLUSH_S)
    if taken:
        table = pa.Table.from_pylist(taken, arrow_schema("dead_letter_replays"))
        sink.write({"dead_letter_replays": table}, arrow_schema("batches").empty_table())
    if left or len(taken) < len(letters):
        raise BrokerUnavailable(
            f"{len(letters) - len(taken)} of {len(letters)} dead letters could not be published on "
            f"{servers_of(bootstrap)}: check WATTLEDGER_KAFKA and that the topics exist; run it again for the rest"
        )
    return len(taken)


def _remember(letter: Letter, taken: list[dict[str, object]]) -> Callable[[KafkaError | None, Message], None]:
    def delivered(error: KafkaError | None, message: Message) -> None:
        if error is None:
            taken.append(
                {
                    "topic": letter.topic,
                    "topic_partition": letter.partition,
                    "topic_offset": letter.offset,
                    "replay_partition": message.partition(),
                    "replay_offset": message.offset(),
                    "replayed_at": time.time_ns() // 1_000_000,
                }
            )

    return delivered
