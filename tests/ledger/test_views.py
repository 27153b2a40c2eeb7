"""How the ledger is read: each batch's highest revision, every row once, and as it stood at any time."""

from typing import TYPE_CHECKING

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from streams.ledger.sink import ClickHouseSink
from tests.ledger_rows import Request, Window, write

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client


def booked(database: "Client", view: str = "current_ledger") -> dict[str, int]:
    query = f"SELECT account, toInt64(sum(energy_uj)) FROM {view} GROUP BY account"
    return dict(database.query(query).result_rows)


def test_revisions_with_different_accounts_are_not_added_up_before_or_after_merges(
    database: "Client",
) -> None:
    sink = ClickHouseSink(database)
    write(sink, Window(requests=(Request(1, 600),), idle_uj=400))
    write(sink, Window(requests=(Request(1, 300), Request(2, 300)), cold_starts_uj={"l": 400}, revision=1))
    expected = {"request": 600, "cold_start": 400}
    assert booked(database) == expected
    for table in ("ledger", "batches", "raw_meter"):
        database.command(f"OPTIMIZE TABLE {table} FINAL")
    assert booked(database) == expected
    assert database.query("SELECT revision, metered_uj, idle_uj FROM current_batches").result_rows == [
        (1, 1000, 0)
    ]
    assert database.command("SELECT count() FROM ledger") == 5, "history stays"


def test_what_was_stored_by_a_time_can_be_read_for_ever(database: "Client") -> None:
    sink = ClickHouseSink(database)
    write(sink, Window(idle_uj=400))
    cut = database.command("SELECT toString(max(stored_at)) FROM batches")
    database.command("SELECT sleep(0.05)")
    write(sink, Window(requests=(Request(1, 400),), revision=1), Window(number=1, idle_uj=7))
    write(sink, Window(idle_uj=400))  # a replay, stored later, is the same row
    database.command("OPTIMIZE TABLE ledger FINAL")
    assert booked(database, f"ledger_as_of(as_of = '{cut}')") == {"idle": 400}
    assert booked(database, "ledger_as_of(as_of = '2020-01-01')") == {}
    assert booked(database) == {"request": 400, "idle": 7}


def test_rows_of_a_batch_that_is_not_sealed_are_not_read(database: "Client") -> None:
    sink = ClickHouseSink(database)
    write(sink, Window(idle_uj=400))
    database.command("TRUNCATE TABLE batches")
    assert booked(database) == {}


def test_sums_do_not_wrap_where_a_month_of_a_large_fleet_passes_int64(database: "Client") -> None:
    huge_uj = 2**62
    windows = [Window(number=n, requests=(Request(n, huge_uj, load_id="l"),)) for n in range(4)]
    write(ClickHouseSink(database), *windows)
    assert database.query("SELECT sum(energy_uj) FROM tenant_usage").result_rows == [(4 * huge_uj,)]
    assert database.query("SELECT sum(metered_uj), sum(booked_uj) FROM books").result_rows == [
        (4 * huge_uj, 4 * huge_uj)
    ]


def test_tenant_usage_counts_a_request_once_however_many_windows_it_spans(database: "Client") -> None:
    windows = [Window(number=n, requests=(Request(1, 10), Request(2, 5, tenant="other"))) for n in range(3)]
    write(ClickHouseSink(database), *windows)
    rows = database.query(
        "SELECT tenant, requests, toInt64(energy_uj) FROM tenant_usage ORDER BY tenant"
    ).result_rows
    assert rows == [("acme", 1, 30), ("other", 1, 15)]


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    flushes=st.lists(
        st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=4),
        min_size=1,
        max_size=6,
    )
)
def test_any_order_of_revisions_and_replays_reads_the_highest_of_each_batch(
    database: "Client", flushes: list[list[tuple[int, int]]]
) -> None:
    """A flush is windows (number, revision); what a revision books is a function of both."""
    for table in ("ledger", "batches", "raw_meter"):
        database.command(f"TRUNCATE TABLE {table}")
    sink = ClickHouseSink(database)
    highest: dict[int, int] = {}
    for flush in flushes:
        write(sink, *(_window(number, revision) for number, revision in set(flush)))
        for number, revision in flush:
            highest[number] = max(revision, highest.get(number, 0))
    expected = sum(_window(number, revision).metered_uj for number, revision in highest.items())
    assert sum(booked(database).values()) == expected
    assert database.query("SELECT toInt64(sum(metered_uj)), min(closes) FROM books").result_rows == [
        (expected, 1)
    ]


def _window(number: int, revision: int) -> Window:
    requests = tuple(Request(ordinal, 100 + number) for ordinal in range(1, 1 + (revision + number) % 3))
    return Window(number=number, revision=revision, requests=requests, idle_uj=1 + 10 * revision)
