"""Hourly totals equal the base rows, whatever was written twice, revised or rolled up before."""

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from streams.answers.rollups import roll_up
from streams.ledger.sink import ClickHouseSink
from tests.ledger_rows import ORIGIN_NS, WINDOW_NS, Request, Window, write

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

HOUR_NS = 3_600_000_000_000
FIRST = (-ORIGIN_NS % HOUR_NS) // WINDOW_NS
"""Number of the first window of a whole hour."""
PER_HOUR = HOUR_NS // WINDOW_NS


def now() -> datetime:
    """A moment after everything written so far, and before everything written later."""
    time.sleep(0.005)
    moment = datetime.now(UTC)
    time.sleep(0.005)
    return moment


def windows(hour: int, *, energy_uj: int = 100, revision: int = 0) -> list[Window]:
    """Two windows of an hour and the one that seals it, with a request that goes on through all three."""
    first = FIRST + hour * PER_HOUR
    return [
        Window(first, requests=(Request(1, energy_uj), Request(2, 7, tenant="other")), revision=revision),
        Window(first + 1, requests=(Request(1, energy_uj),), revision=revision),
        Window(first + PER_HOUR - 1, requests=(Request(1, energy_uj),), revision=revision),
    ]


def totals(client: "Client") -> tuple[list[tuple[object, ...]], list[tuple[object, ...]]]:
    """(rolled up, base rows) by hour and tenant."""
    rolled = client.query(
        "SELECT hour, tenant, sum(energy_uj) FROM tenant_hourly GROUP BY hour, tenant ORDER BY hour, tenant"
    ).result_rows
    base = client.query(
        "SELECT toStartOfHour(event_time) AS hour, tenant, sum(toInt128(energy_uj)) FROM current_ledger "
        "WHERE account = 'request' GROUP BY hour, tenant ORDER BY hour, tenant"
    ).result_rows
    return [tuple(row) for row in rolled], [tuple(row) for row in base]


def test_hours_equal_their_rows_after_duplicates_revisions_and_reruns(database: "Client") -> None:
    sink = ClickHouseSink(database)
    write(sink, *windows(0), *windows(1))
    write(sink, *windows(0), *windows(1))
    assert len(roll_up(database, now())) == 2
    rolled, base = totals(database)
    assert [row[1:] for row in rolled] == [row[1:] for row in base]
    assert sum(row[2] for row in rolled) == 2 * (300 + 7)  # type: ignore[misc]

    write(sink, *windows(0, energy_uj=40, revision=1))
    assert len(roll_up(database, now())) == 1
    rolled, base = totals(database)
    assert [row[1:] for row in rolled] == [row[1:] for row in base]
    assert sum(row[2] for row in rolled) == (120 + 7) + (300 + 7)  # type: ignore[misc]


def test_an_hour_is_rolled_up_once_until_it_changes(database: "Client") -> None:
    write(ClickHouseSink(database), *windows(0))
    assert len(roll_up(database, now())) == 1
    assert roll_up(database, now()) == ()


def test_an_hour_that_is_not_sealed_to_its_end_waits(database: "Client") -> None:
    late_in_the_hour = Window(FIRST + PER_HOUR - 60, requests=(Request(1, 5),))
    write(ClickHouseSink(database), Window(FIRST, requests=(Request(1, 5),)), late_in_the_hour)
    assert roll_up(database, now()) == ()
    write(ClickHouseSink(database), Window(FIRST + PER_HOUR, requests=(Request(2, 5),)))
    assert [one.hour.hour for one in roll_up(database, now())][:1] != []


def test_a_request_counts_in_the_hour_that_first_served_it(database: "Client") -> None:
    write(ClickHouseSink(database), *windows(0), *windows(1))
    roll_up(database, now())
    counted = database.query(
        "SELECT hour, sum(requests) FROM tenant_hourly GROUP BY hour ORDER BY hour"
    ).result_rows
    assert [row[1] for row in counted] == [2, 0]
