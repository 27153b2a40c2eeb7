"""One migrated database for a module of stream tests; tests/rig/booked.py empties it."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from streams.ledger.client import connect
from streams.ledger.migrations import up
from wattledger.local.clickhouse_front import Front

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client


@pytest.fixture(scope="module")
def database(front: Front, request: pytest.FixtureRequest) -> "Iterator[Client]":
    """Made once: migrations take seconds."""
    client = connect(front.dsn(f"test_{request.module.__name__.rpartition('.')[2]}"))
    up(client)
    yield client
    client.close()
