"""Opening the database: what a DSN may be, who may have it, and what the errors say."""

import subprocess
import sys
from pathlib import Path

import pytest

from schemas.errors import ConfigurationError, DatabaseBusy, DatabaseUnavailable
from streams.ledger.client import connect
from wattledger.local.clickhouse_front import Front
from wattledger.local.processes import free_ports

OPEN_AND_SAY = """
import sys
from streams.ledger.client import connect
client = connect(sys.argv[1])
client.command("CREATE TABLE IF NOT EXISTS t (x Int64) ENGINE = MergeTree ORDER BY x")
client.command("INSERT INTO t VALUES (1)")
print(client.command("SELECT currentDatabase()"), client.command("SELECT sum(x) FROM t"), flush=True)
sys.stdin.read()
client.close()
"""


def opened_by_another_process(dsn: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", OPEN_AND_SAY, dsn], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def test_a_database_that_is_absent_is_created(dsn: str) -> None:
    client = connect(dsn)
    assert client.command("SELECT currentDatabase()") == dsn.rsplit("/", 1)[1]
    client.close()


def test_an_embedded_database_is_created_and_keeps_its_rows_for_the_next_process(tmp_path: Path) -> None:
    for expected in ("wattledger 1", "wattledger 2"):
        with opened_by_another_process(f"chdb://{tmp_path}/ledger") as process:
            assert process.communicate("", timeout=60)[0].strip() == expected


def test_an_embedded_database_names_the_process_that_has_it(tmp_path: Path) -> None:
    with opened_by_another_process(f"chdb://{tmp_path}/ledger") as process:
        assert process.stdout is not None
        assert process.stdout.readline().strip() == "wattledger 1"
        with pytest.raises(DatabaseBusy, match=f"open in process {process.pid}"):
            connect(f"chdb://{tmp_path}/ledger")
        process.communicate("", timeout=60)


@pytest.mark.parametrize(
    "dsn",
    [
        "clickhouse",
        "chdb://memory",
        "chdb:///",
        "postgres://h/d",
        "http:///x",
        "chdb:///p?databse=x",
        "http://h/a-b",
    ],
)
def test_another_form_of_address_is_refused_before_anything_is_opened(dsn: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        connect(dsn)
    assert "\n" not in str(refused.value)


def test_a_server_that_is_not_there_is_one_line_without_the_password() -> None:
    (port,) = free_ports(1)
    with pytest.raises(DatabaseUnavailable) as unavailable:
        connect(f"http://user:secret@127.0.0.1:{port}/ledger")
    said = str(unavailable.value)
    assert "\n" not in said
    assert f"127.0.0.1:{port}" in said
    assert "Connection refused" in said
    assert "WATTLEDGER_CLICKHOUSE" in said
    assert "secret" not in said


def test_a_path_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DatabaseUnavailable, match="cannot open the embedded database") as unavailable:
        connect(f"chdb://{tmp_path}/file/ledger")
    assert "\n" not in str(unavailable.value)


def test_inserts_are_never_buffered_by_the_server(front: Front) -> None:
    client = connect(front.dsn("default"))
    assert client.command("SELECT toString(getSetting('async_insert'))") in ("0", "false", 0)
    client.close()
