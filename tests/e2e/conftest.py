"""One broker, one database server and one published stream for every end-to-end test of the worker."""

import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from streams.ledger.client import connect
from streams.ledger.migrations import up
from streams.ledger.transfers import write_transfers
from tests.rig.ledgers import wait_until_booked
from tests.rig.streams import Stream, demo_fleet, place_group, sent_stream
from wattledger.local.broker import Broker
from wattledger.local.clickhouse_front import Front
from wattledger.local.worker import Worker, worker
from wattledger.topics_admin import create_topics

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

PARTITIONS = 4


@dataclass(frozen=True, slots=True)
class Bench:
    """Where workers run: a broker with topics, a database server, a place for logs."""

    bootstrap: str
    front: Front
    logs: Path

    @contextmanager
    def database(self) -> "Iterator[tuple[str, Client]]":
        """A fresh migrated database: its address and a client."""
        dsn = self.front.dsn(f"e2e_{uuid.uuid4().hex[:12]}")
        client = connect(dsn)
        up(client)
        yield dsn, client
        client.close()

    @contextmanager
    def worker(self, dsn: str, group: str, *options: str) -> Iterator[Worker]:
        """A worker of consumer group `group`."""
        log = self.logs / f"{group}-{uuid.uuid4().hex[:6]}.log"
        with worker(
            kafka=self.bootstrap, clickhouse=dsn, log=log, options=["--group", group, *options]
        ) as running:
            yield running

    def group(self, stream: Stream) -> str:
        """A new consumer group at the stream's beginning."""
        group = f"e2e-{uuid.uuid4().hex[:12]}"
        place_group(self.bootstrap, group, stream.begins)
        return group


@pytest.fixture(scope="session")
def bench(kafka: Broker, front: Front, tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """The shared bench."""
    create_topics(kafka.bootstrap, partitions=PARTITIONS)
    return Bench(kafka.bootstrap, front, tmp_path_factory.mktemp("workers"))


@pytest.fixture(scope="session")
def stream(bench: Bench) -> Stream:
    """A minute of the demo's fleet, published in the past: events end before now."""
    fleet = demo_fleet(f"e2e-{uuid.uuid4().hex[:6]}")
    origin_ns = (time.time_ns() - fleet.end_us * 1000) // 5_000_000_000 * 5_000_000_000
    return sent_stream(bench.bootstrap, fleet, origin_ns)


@dataclass(frozen=True, slots=True)
class Booked:
    """A database that one undisturbed worker has filled with the shared stream."""

    dsn: str
    client: "Client"


@pytest.fixture(scope="session")
def reference(bench: Bench, stream: Stream) -> Iterator[Booked]:
    """What the ledger should be: the stream booked by a worker that nothing happened to."""
    with bench.database() as (dsn, client):
        with bench.worker(dsn, bench.group(stream)):
            wait_until_booked(client, stream.cluster, len(stream.fleet.groups), stream.sealed_ns())
        write_transfers(client)
        yield Booked(dsn, client)
