"""Where a worker resumes: what the manifest says is sealed, and the offsets from which the logs are read."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from confluent_kafka import Consumer, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec

from schemas.errors import BrokerUnavailable
from schemas.kafka_address import client_settings, servers_of
from schemas.topics import ENERGY, ITERATIONS, LOADS
from streams.ledger.frontier import read_frontier
from streams.sealed import Frontier
from streams.worker.kafka import consumer_settings

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

__all__ = ["FrontierReader"]

_TIMEOUT_S: Final = 10.0

Position = tuple[str, int]


class FrontierReader:
    """Reads the consumer group's committed offsets, the logs' ends, and the manifest behind them."""

    def __init__(self, client: "Client", bootstrap: str, group: str) -> None:
        self._client = client
        self._address = bootstrap
        self._bootstrap = servers_of(bootstrap)
        self._group = group

    def read(self, partitions: Sequence[int]) -> Frontier:
        """The frontier of `partitions`. Raises BrokerUnavailable or DatabaseUnavailable."""
        positions = self._positions(
            [(topic, partition) for topic in (ITERATIONS, ENERGY, LOADS) for partition in partitions]
        )
        resumed = {p: (positions[ITERATIONS, p], positions[ENERGY, p]) for p in partitions}
        return replace(read_frontier(self._client, partitions, resumed), positions=positions)

    def ends(self, asked: Sequence[Position]) -> dict[Position, int]:
        """The offsets after the last message of each log. Raises BrokerUnavailable."""
        return self._offsets(asked, OffsetSpec.latest())

    def holds(self, position: Position, offset: int) -> bool:
        """Whether the log has a message at `offset`: transactions and retention leave holes, we must not.

        Raises BrokerUnavailable.
        """
        consumer = Consumer(
            consumer_settings(self._address, self._group, **{"auto.offset.reset": "earliest"})
        )
        try:
            consumer.assign([TopicPartition(*position, offset)])
            message = consumer.poll(_TIMEOUT_S)
        finally:
            consumer.close()
        error = None if message is None else message.error()
        if message is None or error is not None:
            said = "no answer" if error is None else error.str()
            raise BrokerUnavailable(f"{position[0]}[{position[1]}]@{offset} on {self._bootstrap}: {said}")
        return message.offset() == offset

    def _positions(self, asked: Sequence[Position]) -> dict[Position, int]:
        """Where reading resumes: at the committed offset, or at the log's beginning where it has none like it."""
        if not asked:
            return {}
        committed = self._committed(asked)
        first, end = self._offsets(asked, OffsetSpec.earliest()), self.ends(asked)
        return {
            position: committed[position]
            if first[position] <= committed[position] <= end[position]
            else first[position]
            for position in asked
        }

    def _committed(self, asked: Sequence[Position]) -> dict[Position, int]:
        consumer = Consumer(consumer_settings(self._address, self._group))
        try:
            found = consumer.committed([TopicPartition(*position) for position in asked], timeout=_TIMEOUT_S)
        except KafkaException as error:
            raise self._unavailable("committed offsets", error) from error
        finally:
            consumer.close()
        return {(at.topic, at.partition): at.offset for at in found}

    def _offsets(self, asked: Sequence[Position], spec: OffsetSpec) -> dict[Position, int]:
        request: Mapping[TopicPartition, OffsetSpec] = {TopicPartition(*one): spec for one in asked}
        try:
            # A client of its own each time: after leaders have moved, librdkafka goes on asking under the epoch
            # that it knows, is refused for ever, and the worker would wait as long.
            admin = AdminClient({**client_settings(self._address), "log_level": 0})
            futures = admin.list_offsets(dict(request), request_timeout=_TIMEOUT_S)
            return {
                (at.topic, at.partition): future.result(_TIMEOUT_S).offset for at, future in futures.items()
            }
        except (KafkaException, TimeoutError) as error:
            raise self._unavailable("ends of the logs", error) from error

    def _unavailable(self, what: str, error: Exception) -> BrokerUnavailable:
        said = error.args[0].str() if isinstance(error, KafkaException) else "no answer"
        return BrokerUnavailable(
            f"{what} of group {self._group!r} could not be read from {self._bootstrap}: {said}; "
            "check WATTLEDGER_KAFKA"
        )
