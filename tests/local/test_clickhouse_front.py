"""The HTTP front: clickhouse-connect's own client works with it, and it fails when told to."""

from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pytest
from clickhouse_connect.driver.exceptions import DatabaseError, OperationalError

from schemas.errors import DatabaseBusy, DatabaseUnavailable
from streams.ledger.client import connect
from wattledger.local.clickhouse_front import Fault, Front, clickhouse_front

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client


@pytest.fixture
def client(dsn: str) -> "Client":
    opened = connect(dsn)
    opened.command("CREATE TABLE t (x Int64, name String) ENGINE = MergeTree ORDER BY x")
    return opened


def test_queries_parameters_inserts_and_streams_work_as_on_a_server(client: "Client") -> None:
    client.insert("t", [[1, "a"], [2, "ü'\\"]], column_names=["x", "name"])
    client.insert_arrow("t", pa.table({"x": [3], "name": ["c"]}))
    client.command("INSERT INTO t VALUES (4, 'd')")
    query = "SELECT name FROM t WHERE x >= {least:Int64} ORDER BY x"
    assert client.query(query, parameters={"least": 2}).result_rows == [("ü'\\",), ("c",), ("d",)]
    assert client.query("SELECT * FROM t WHERE x > 100").result_rows == []
    assert client.query("SELECT * FROM t LIMIT 0").column_names == ("x", "name")
    assert client.query_arrow("SELECT sum(x) AS total FROM t").to_pylist() == [{"total": 10}]
    with client.query_row_block_stream("SELECT number FROM numbers(100000)") as stream:
        assert sum(len(block) for block in stream) == 100_000
    client.close()


def test_settings_of_one_request_do_not_reach_the_next(client: "Client") -> None:
    setting = "SELECT toString(getSetting('max_threads'))"
    usual = client.command(setting)
    assert str(client.command(setting, settings={"max_threads": 3})) == "3"
    assert client.command(setting) == usual
    client.close()


def test_databases_are_apart(client: "Client", front: Front) -> None:
    other = connect(front.dsn("default"))
    client.command("INSERT INTO t VALUES (1, '')")
    assert other.command("EXISTS TABLE t") == 0
    assert client.command("SELECT count() FROM t") == 1
    other.close()
    client.close()


def test_the_engines_errors_arrive_with_their_code(client: "Client") -> None:
    with pytest.raises(DatabaseError) as unknown:
        client.command("SELECT * FROM nothing_of_that_name")
    assert unknown.value.code == 60
    with pytest.raises(DatabaseError):
        client.query("SELEC 1")
    assert client.command("SELECT 1") == 1
    client.close()


def test_faults_strike_the_statement_named_as_often_as_told(client: "Client", front: Front) -> None:
    front.inject(
        Fault("error", statement="insert into t", times=2), Fault("cut_after", statement="insert into t")
    )
    for kind in (DatabaseError, DatabaseError, OperationalError):
        assert client.command("SELECT 1") == 1
        with pytest.raises(kind):
            client.command("INSERT INTO t VALUES (1, '')")
    client.command("INSERT INTO t VALUES (1, '')")
    assert client.command("SELECT count() FROM t") == 2, "a cut after running has run"
    front.inject(Fault("error"))
    front.inject()
    assert client.command("SELECT 1") == 1
    client.close()


def test_a_killed_front_is_unavailable_and_comes_back_on_its_address_with_its_rows(tmp_path: Path) -> None:
    with clickhouse_front(tmp_path / "db") as front:
        client = connect(front.dsn())
        client.command("CREATE TABLE t (x Int64) ENGINE = MergeTree ORDER BY x")
        client.command("INSERT INTO t VALUES (1)")
        front.kill()
        with pytest.raises(OperationalError):
            client.command("SELECT 1")
        with pytest.raises(DatabaseUnavailable):
            connect(front.dsn())
        front.restart()
        assert client.command("SELECT count() FROM t") == 1
        with pytest.raises(DatabaseBusy):
            connect(f"chdb://{tmp_path}/db")
        with pytest.raises(DatabaseUnavailable, match="did not start"), clickhouse_front(tmp_path / "db"):
            pass
        client.close()
