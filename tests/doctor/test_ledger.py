"""The doctor on a real database: pending, drifted, silent, open, full of dead letters, and well."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from schemas.topics import ITERATIONS
from streams.ledger.client import connect
from streams.ledger.incident_rows import dead_letter_table
from streams.ledger.migrations import up
from streams.ledger.sink import ClickHouseSink
from streams.ledger.tables import arrow_schema
from streams.pipeline import DeadLetter, Message
from tests.ledger_rows import ORIGIN_NS, WINDOW_NS, Request, Window, write
from wattledger.__main__ import cli
from wattledger.doctor.contract import Finding, Status
from wattledger.doctor.ledger import database_findings, ledger_findings
from wattledger.local.clickhouse_front import Front

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

NOW_NS = ORIGIN_NS + WINDOW_NS + 1_000_000_000


@pytest.fixture(scope="module")
def kept(front: Front) -> "Iterator[Client]":
    """One migrated database for the tests that only fill it."""
    client = connect(front.dsn("doctor_ledger"))
    up(client)
    yield client
    client.command("DROP DATABASE doctor_ledger SYNC")
    client.close()


@pytest.fixture
def ledger(kept: "Client") -> "Client":
    """It, empty."""
    for table in ("batches", "ledger", "raw_meter", "dead_letters"):
        kept.command(f"TRUNCATE TABLE {table}")
    return kept


def by_name(findings) -> dict[str, Finding]:
    return {finding.name: finding for finding in findings}


def test_a_database_that_is_not_there_says_what_to_set(tmp_path: Path) -> None:
    found = by_name(database_findings("http://127.0.0.1:1/wattledger"))["database"]
    assert found.status is Status.FAILED
    assert "WATTLEDGER_CLICKHOUSE" in found.fix
    absent = by_name(database_findings(f"chdb://{tmp_path}/none"))["database"]
    assert (absent.status, absent.fix) == (Status.FAILED, "run `wattledger migrate up`")
    assert not (tmp_path / "none").exists()


def test_a_database_without_its_tables_is_to_be_migrated_and_is_not_made_by_the_doctor(dsn: str) -> None:
    for _ in range(2):
        absent = by_name(database_findings(dsn))["database"]
        assert (absent.status, absent.fix) == (Status.FAILED, "run `wattledger migrate up`")
    connect(dsn).close()
    found = by_name(database_findings(dsn))
    assert found["database"].status is Status.OK
    assert found["migrations"].status is Status.FAILED
    assert "0001_ledger.sql" in found["migrations"].detail
    assert "books" not in found


def test_a_column_that_somebody_added_is_drift(database: "Client", dsn: str) -> None:
    database.command("ALTER TABLE late_frames ADD COLUMN surprise UInt8")
    found = by_name(database_findings(dsn))["migrations"]
    assert found.status is Status.FAILED
    assert "+ late_frames.surprise UInt8" in found.detail


def test_windows_that_close_and_are_fresh_are_well(ledger: "Client") -> None:
    write(ClickHouseSink(ledger), Window(requests=(Request(1, 700),), idle_uj=1))
    found = by_name(ledger_findings(ledger, NOW_NS))
    assert {finding.status for finding in found.values()} == {Status.OK}
    assert "sealed up to 1.0 s ago" in found["windows"].detail


def test_a_ledger_that_is_empty_or_stopped_needs_its_worker(ledger: "Client") -> None:
    empty = by_name(ledger_findings(ledger, NOW_NS))
    assert empty["windows"].status is Status.FAILED
    assert empty["books"].status is Status.SKIPPED
    write(ClickHouseSink(ledger), Window(idle_uj=1))
    late = by_name(ledger_findings(ledger, NOW_NS + 600 * 10**9))["windows"]
    assert late.status is Status.FAILED
    assert "601 s ago" in late.detail
    assert "wattledger worker" in late.fix


def test_books_that_do_not_close_fail(ledger: "Client") -> None:
    write(ClickHouseSink(ledger), Window(requests=(Request(1, 700),), idle_uj=1))
    ledger.command("ALTER TABLE batches UPDATE idle_uj = 2 WHERE idle_uj = 1 SETTINGS mutations_sync = 1")
    found = by_name(ledger_findings(ledger, NOW_NS))["books"]
    assert found.status is Status.FAILED
    assert "1 windows" in found.detail
    assert "wattledger books" in found.fix


def test_dead_letters_of_the_last_hour_are_a_warning(ledger: "Client") -> None:
    letters = [
        DeadLetter(Message(ITERATIONS, 0, n, NOW_NS - 10**9, b"k", b"v"), reason, "d")
        for n, reason in enumerate(["malformed", "malformed", "unsigned"])
    ]
    rows = {"dead_letters": dead_letter_table(letters)}
    ClickHouseSink(ledger).write(rows, arrow_schema("batches").empty_table())
    found = by_name(ledger_findings(ledger, NOW_NS))["dead letters"]
    assert found.status is Status.WARNING
    assert "3 in the last hour: 2 malformed, 1 unsigned" in found.detail
    later = by_name(ledger_findings(ledger, NOW_NS + 7200 * 10**9))["dead letters"]
    assert later.status is Status.OK


def test_an_embedded_database_that_a_worker_has_open_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "embedded"
    code = (
        f"from streams.ledger.client import connect; c = connect('chdb://{path}'); print('open', flush=True); "
        "input()"
    )
    owner = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert owner.stdout is not None
        assert owner.stdout.readline() == "open\n"
        found = by_name(database_findings(f"chdb://{path}"))["database"]
    finally:
        owner.communicate("\n", timeout=30)
    assert found.status is Status.SKIPPED
    assert str(owner.pid) in found.detail


def test_the_command_tells_programs_and_shows_no_secret(dsn: str, tmp_path: Path) -> None:
    environment = {
        **os.environ,
        "WATTLEDGER_CLICKHOUSE": dsn.replace("://", "://reader:hunter2@"),
        "WATTLEDGER_SIGNING_KEYS": str(tmp_path),
    }
    done = CliRunner().invoke(cli, ["doctor", "--api", "--json"], env=environment)
    assert done.exit_code == 1
    assert "hunter2" not in done.output
    document = json.loads(done.output)
    names = {finding["name"]: finding["status"] for finding in document["findings"]}
    assert names == {"database": "failed", "receipt keys": "warning"}
    assert document["settings"]["log_format"] == "text"
