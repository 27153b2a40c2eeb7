"""Publishes intensities to `wattledger.grid.v1`, each acknowledged, under its zone."""

from collections.abc import Callable, Sequence
from typing import Final

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from schemas.errors import BrokerUnavailable
from schemas.kafka_address import client_settings, servers_of
from schemas.side_input_codec import encode_grid
from schemas.side_inputs import GridIntensity
from schemas.topics import GRID

__all__ = ["publisher"]

TIMEOUT_S: Final = 30.0


def publisher(bootstrap: str) -> Callable[[Sequence[GridIntensity]], None]:
    """A function that publishes and returns when the broker has everything. Raises BrokerUnavailable.

    Publishing a version again is harmless: it is the same row.
    """
    servers = servers_of(bootstrap)
    producer = Producer(
        {
            **client_settings(bootstrap),
            "client.id": "wattledger-grid",
            "enable.idempotence": True,
            "acks": "all",
            "partitioner": "murmur2_random",
            "log_level": 0,
        }
    )

    def publish(known: Sequence[GridIntensity]) -> None:
        failures: list[KafkaError] = []

        def delivered(error: KafkaError | None, message: Message) -> None:
            del message
            if error is not None:
                failures.append(error)

        try:
            for one in known:
                producer.produce(GRID, key=one.zone, value=encode_grid(one), on_delivery=delivered)
            left = producer.flush(TIMEOUT_S)
        except (KafkaException, BufferError) as error:
            raise BrokerUnavailable(f"intensities were not taken by {servers}: {error}") from error
        if left or failures:
            why = failures[0].str() if failures else f"no answer within {TIMEOUT_S:.0f} s"
            raise BrokerUnavailable(
                f"{len(failures) or left} intensities were not taken by {servers}: {why}; "
                "check WATTLEDGER_KAFKA and that the topic exists (wattledger topics create)"
            )

    return publish
