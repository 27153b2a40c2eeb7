"""Where a worker resumes: what the manifest says is sealed, for the partitions it was given."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from confluent_kafka import Consumer, KafkaException, TopicPartition

from schemas.errors import BrokerUnavailable
from schemas.topics import ENERGY, ITERATIONS
from streams.ledger.frontier import read_frontier
from streams.pipeline import Frontier

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

__all__ = ["FrontierReader"]

_TIMEOUT_S: Final = 10.0


class FrontierReader:
    """Reads the consumer group's committed offsets and the manifest behind them."""

    def __init__(self, client: "Client", bootstrap: str, group: str) -> None:
        self._client = client
        self._bootstrap = bootstrap
        self._group = group

    def read(self, partitions: Sequence[int]) -> Frontier:
        """The frontier of `partitions`. Raises BrokerUnavailable or DatabaseUnavailable."""
        return read_frontier(self._client, partitions, self._committed(partitions))

    def _committed(self, partitions: Sequence[int]) -> dict[int, tuple[int, int]]:
        """By partition: the offsets at which iterations and energy are read again; 0 where none is committed."""
        consumer = Consumer({"bootstrap.servers": self._bootstrap, "group.id": self._group})
        try:
            asked = [
                TopicPartition(topic, partition) for topic in (ITERATIONS, ENERGY) for partition in partitions
            ]
            found = {
                (position.topic, position.partition): max(position.offset, 0)
                for position in consumer.committed(asked, timeout=_TIMEOUT_S)
            }
        except KafkaException as error:
            raise BrokerUnavailable(
                f"committed offsets of group {self._group!r} could not be read from {self._bootstrap}: "
                f"{error.args[0].str()}; check WATTLEDGER_KAFKA"
            ) from error
        finally:
            consumer.close()
        return {p: (found[ITERATIONS, p], found[ENERGY, p]) for p in partitions}
