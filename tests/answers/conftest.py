"""A ledger that answers are asked of: two minutes of the simulated fleet, booked once and only read."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from streams.answers.periods import Period
from streams.ledger.client import connect
from streams.ledger.migrations import up
from tests.ledger_fixture import Filled, fill_ledger
from wattledger.local.clickhouse_front import Front

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client


@dataclass(frozen=True, slots=True)
class Ledger:
    """A filled database and what went into it."""

    client: "Client"
    dsn: str
    filled: Filled

    @property
    def period(self) -> Period:
        """All of it."""
        start, end = (
            datetime.fromtimestamp(ns / 1e9, UTC) for ns in (self.filled.start_ns, self.filled.end_ns)
        )
        return Period(start, end)


@pytest.fixture(scope="session")
def ledger(front: Front) -> Iterator[Ledger]:
    """Read it, never write to it: every test of this room shares it."""
    dsn = front.dsn("answers")
    client = connect(dsn)
    up(client)
    yield Ledger(client, dsn, fill_ledger(client, duration_s=120.0))
    client.close()
