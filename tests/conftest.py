"""What every room's tests share: one running Kafka, one database server's stand-in, a fresh database each."""

import uuid
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

from streams.ledger.client import connect
from streams.ledger.migrations import up
from wattledger.local.broker import Broker, broker
from wattledger.local.clickhouse_front import Front, clickhouse_front
from wattledger.settings import load

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

# A slow machine is no failing property: timings never gate.
settings.register_profile("wattledger", deadline=None)
settings.load_profile("wattledger")


@pytest.fixture(scope="session")
def kafka() -> Iterator[Broker]:
    """A real broker: WATTLEDGER_KAFKA, a container, or a child process; tests use topics of their own."""
    with broker(address=load().kafka) as running:
        yield running


@pytest.fixture(scope="session")
def front(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    """The embedded ClickHouse behind HTTP, in a child process: chdb opens one path per process only."""
    with clickhouse_front(tmp_path_factory.mktemp("clickhouse")) as running:
        yield running


@pytest.fixture
def dsn(front: Front) -> Iterator[str]:
    """The address of a database that does not exist yet; it is dropped after the test."""
    name = f"test_{uuid.uuid4().hex[:12]}"
    yield front.dsn(name)
    client = connect(front.dsn("default"))
    client.command(f"DROP DATABASE IF EXISTS {name} SYNC")
    client.close()


@pytest.fixture
def database(dsn: str) -> "Iterator[Client]":
    """A fresh, migrated, empty database."""
    client = connect(dsn)
    up(client)
    yield client
    client.close()
