"""`wattledger books`: the meter recomputed from raw readings, and every way in which it can fail to close."""

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from streams.ledger.books import joules, read_books
from streams.ledger.sink import ClickHouseSink
from tests.ledger_rows import Request, Window, load, table, write
from wattledger.local.processes import free_ports

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

WINDOWS = (
    Window(requests=(Request(1, 700), Request(2, 299)), idle_uj=1),
    Window(number=1, idle_uj=11),
    Window(number=1, group_id="cluster/node/other", cold_starts_uj={"l": 5}, requests=(Request(3, 6),)),
)


def wattledger(dsn: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "wattledger", *arguments],
        env=os.environ | {"WATTLEDGER_CLICKHOUSE": dsn},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_books_that_close_say_so_per_group_and_in_total(database: "Client") -> None:
    write(ClickHouseSink(database), *WINDOWS)
    books = read_books(database)
    assert books.closes
    assert [(group.group_id, group.windows, group.metered_uj) for group in books.groups] == [
        ("cluster/node/engine", 2, 1011),
        ("cluster/node/other", 1, 11),
    ]
    total = books.total
    assert (total.metered_uj, total.booked_uj) == (1022, 1022)
    assert (total.request_uj, total.idle_uj, total.cold_start_uj, total.unobserved_uj) == (1005, 12, 5, 0)


def test_an_empty_ledger_closes(database: "Client") -> None:
    books = read_books(database)
    assert books.closes
    assert books.total.metered_uj == 0


@pytest.mark.parametrize(
    ("tampering", "why"),
    [
        ("ALTER TABLE raw_meter UPDATE to_after_uj = 1001, to_before_uj = 1001 WHERE to_after_uj = 1000",
         ("meter_differs_from_batch", "accounts_differ_from_meter")),
        ("ALTER TABLE raw_meter DELETE WHERE to_after_uj = 1000",
         ("meter_differs_from_batch", "accounts_differ_from_meter")),
        ("ALTER TABLE raw_meter UPDATE from_after_ns = from_ns - 1, from_before_ns = from_ns - 1 "
         "WHERE to_after_uj = 1000", ("readings_out_of_order",)),
        ("ALTER TABLE batches UPDATE idle_uj = 2 WHERE idle_uj = 1",
         ("accounts_differ_from_meter", "ledger_differs_from_accounts")),
        ("ALTER TABLE batches UPDATE idle_uj = 2, request_uj = 998 WHERE idle_uj = 1",
         ("ledger_differs_from_accounts",)),
        ("ALTER TABLE ledger UPDATE energy_uj = 699 WHERE energy_uj = 700", ("ledger_differs_from_accounts",)),
        ("ALTER TABLE ledger DELETE WHERE energy_uj = 1", ("ledger_differs_from_accounts",)),
        ("ALTER TABLE ledger UPDATE host_uj = 1 WHERE energy_uj = 1", ("host_differs",)),
    ],
)  # fmt: skip
def test_a_single_microjoule_that_differs_anywhere_opens_its_window_and_no_other(
    database: "Client", tampering: str, why: tuple[str, ...]
) -> None:
    write(ClickHouseSink(database), *WINDOWS)
    database.command(f"{tampering} SETTINGS mutations_sync = 1")
    books = read_books(database)
    assert not books.closes
    assert [(window.batch_id, window.why) for window in books.open_windows] == [(WINDOWS[0].batch_id, why)]
    assert books.total.open_windows == 1


def test_host_meters_are_recomputed_beside_the_accelerators(database: "Client") -> None:
    window = Window(idle_uj=100)
    host = window.meter_row() | {"meter_id": "host", "kind": "host", "to_before_uj": 40, "to_after_uj": 40}
    rows = [row | {"host_uj": 40} for row in window.ledger_rows()]
    tables = {"ledger": table("ledger", rows), "raw_meter": table("raw_meter", [window.meter_row(), host])}
    ClickHouseSink(database).write(tables, table("batches", [window.manifest_row() | {"host_uj": 40}]))
    books = read_books(database)
    assert books.closes
    assert (books.total.metered_uj, books.total.host_uj) == (100, 40)


def test_an_interval_selects_windows_by_their_start(database: "Client") -> None:
    write(ClickHouseSink(database), *WINDOWS)
    later = read_books(database, from_ns=Window(number=1).start_ns)
    earlier = read_books(database, to_ns=Window(number=1).start_ns)
    assert (later.total.windows, earlier.total.windows) == (2, 1)
    assert later.total.metered_uj + earlier.total.metered_uj == 1022


def test_the_command_exits_0_1_or_2(database: "Client", dsn: str) -> None:
    write(ClickHouseSink(database), *WINDOWS, loads=[load("l", amortised_over=9)])
    closed = wattledger(dsn, "books")
    assert (closed.returncode, closed.stderr) == (0, "")
    assert "total" in closed.stdout
    assert "fewer_requests_than_N" in closed.stdout
    database.command(
        "ALTER TABLE ledger UPDATE energy_uj = 699 WHERE energy_uj = 700 SETTINGS mutations_sync = 1"
    )
    opened = wattledger(dsn, "books", "--json")
    assert opened.returncode == 1
    document = json.loads(opened.stdout)
    assert document["closes"] is False
    assert document["open_windows"][0]["why"] == ["ledger_differs_from_accounts"]
    (port,) = free_ports(1)
    nowhere = wattledger(f"http://127.0.0.1:{port}", "books")
    assert nowhere.returncode == 2
    assert nowhere.stderr.startswith("wattledger: no ClickHouse at")
    assert nowhere.stderr.count("\n") == 1
    assert wattledger(dsn, "books", "--from", "yesterday").returncode == 2


def test_migrate_is_needed_before_books_and_says_so(dsn: str) -> None:
    refused = wattledger(dsn, "books")
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)
    assert "wattledger migrate up" in refused.stderr
    assert wattledger(dsn, "migrate", "status").returncode == 1
    planned = wattledger(dsn, "migrate", "--dry-run")
    assert "CREATE TABLE IF NOT EXISTS ledger (" in planned.stdout
    assert wattledger(dsn, "migrate", "status").returncode == 1, "a dry run changes nothing"
    assert wattledger(dsn, "migrate").returncode == 0
    done = wattledger(dsn, "migrate", "status")
    assert (done.returncode, "pending" in done.stdout) == (0, False)
    assert wattledger(dsn, "books").stdout == "no windows in this interval\n"


def test_joules_show_every_microjoule() -> None:
    assert joules(1_234_000_001) == "1,234.000001"
    assert joules(-1) == "-0.000001"
    assert joules(0) == "0.000000"
