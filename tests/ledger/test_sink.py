"""The sink's contract: data before the manifest, safe to repeat, exact about what it takes."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import pyarrow as pa
import pytest

from schemas.errors import DatabaseUnavailable, MigrationError
from streams.ledger.client import connect
from streams.ledger.sink import ClickHouseSink
from tests.ledger_rows import Request, Window, load, table, write
from wattledger.local.clickhouse_front import Fault, Front

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

WINDOW = Window(requests=(Request(1, 700), Request(2, 299)), idle_uj=1)


def counts(database: "Client") -> Mapping[str, int]:
    names = ("ledger", "raw_meter", "batches")
    return {name: database.command(f"SELECT count() FROM {name}") for name in names}


def ledger_sum(database: "Client") -> int:
    return int(database.query("SELECT sum(energy_uj) FROM current_ledger").result_rows[0][0])


def test_every_column_comes_back_as_it_was_written(database: "Client") -> None:
    manifest = table(
        "batches",
        [
            WINDOW.manifest_row()
            | {
                "engine_ids": ["a/b/c", "a/b/d"],
                "features": [("bytes", 1.5e12), ("flops", 2.0)],
                "iteration_offsets": {"1": 3, "2": 9},
                "seed": 2**64 - 1,
                "metered_uj": 2**63 - 1,
                "gap_causes": ["sequence_gap"],
            }
        ],
    )
    letters = table("dead_letters", [{"topic": "t", "reason": "malformed"}])
    payload = letters.schema.get_field_index("payload")
    letters = letters.set_column(payload, "payload", pa.array([b"\xff\x00bytes"], pa.binary()))
    ClickHouseSink(database).write({"dead_letters": letters}, manifest)
    row = database.query("SELECT * FROM batches").first_item
    assert row["engine_ids"] == ["a/b/c", "a/b/d"]
    assert row["features"] == {"bytes": 1.5e12, "flops": 2.0}
    assert row["iteration_offsets"] == (3, 9)
    assert row["seed"] == 2**64 - 1
    assert row["metered_uj"] == 2**63 - 1
    assert row["gap_causes"] == ["sequence_gap"]
    assert row["batch_id"].decode() == WINDOW.batch_id
    assert database.command("SELECT hex(payload) FROM dead_letters") == "FF006279746573"


def test_writing_again_changes_no_sum(database: "Client") -> None:
    sink = ClickHouseSink(database)
    write(sink, WINDOW)
    write(sink, WINDOW, Window(number=1, idle_uj=5))
    assert ledger_sum(database) == 1005
    for name in ("ledger", "batches", "raw_meter"):
        database.command(f"OPTIMIZE TABLE {name} FINAL")
    assert ledger_sum(database) == 1005
    assert counts(database)["batches"] == 2


@pytest.mark.parametrize("kind", ["error", "cut_before", "cut_after"])
@pytest.mark.parametrize("failing", ["ledger", "raw_meter", "batches"])
def test_a_flush_that_fails_anywhere_leaves_no_unsealed_energy_in_sight_and_can_be_repeated(
    database: "Client", front: Front, failing: str, kind: str
) -> None:
    sink = ClickHouseSink(database)
    write(sink, Window(number=9, idle_uj=3))
    front.inject(Fault(kind, statement=f"INSERT INTO {failing} "))  # type: ignore[arg-type]
    with pytest.raises(DatabaseUnavailable, match=f"rows into {failing}"):
        write(sink, WINDOW)
    # Only an answer lost after the manifest itself leaves the window sealed.
    assert ledger_sum(database) == (1003 if (failing, kind) == ("batches", "cut_after") else 3)
    write(sink, WINDOW)
    assert ledger_sum(database) == 1003


def test_a_server_that_does_not_answer_in_time_is_unavailable_not_a_hang(
    dsn: str, front: Front, database: "Client"
) -> None:
    impatient = connect(dsn, send_receive_timeout_s=1)
    front.inject(Fault("delay", statement="INSERT INTO ledger ", seconds=2.5))
    with pytest.raises(DatabaseUnavailable):
        write(ClickHouseSink(impatient), WINDOW)
    write(ClickHouseSink(database), WINDOW)
    assert ledger_sum(database) == 1000
    impatient.close()


def test_a_database_without_the_table_is_a_matter_of_migration(dsn: str) -> None:
    client = connect(dsn)
    with pytest.raises(MigrationError, match="wattledger migrate status"):
        write(ClickHouseSink(client), WINDOW)
    client.close()


def test_rows_that_are_not_exactly_the_tables_are_refused_and_nothing_is_written(database: "Client") -> None:
    sink = ClickHouseSink(database)
    good = table("ledger", WINDOW.ledger_rows())
    empty = table("batches", [])
    wrong = {
        "without a column": good.drop_columns(["energy_uj"]),
        "with another column": good.append_column("joules", pa.array([1.0] * good.num_rows)),
        "integers for times": good.set_column(1, "event_time", good["event_time"].cast(pa.int64())),
        "with nulls": good.set_column(0, "tenant", pa.nulls(good.num_rows, pa.string())),
    }
    for case, rows in wrong.items():
        with pytest.raises(TypeError):
            sink.write({"raw_meter": table("raw_meter", [WINDOW.meter_row()]), "ledger": rows}, empty)
        assert counts(database) == {"ledger": 0, "raw_meter": 0, "batches": 0}, case
    with pytest.raises(TypeError, match="no ledger table"):
        sink.write({"legder": good}, empty)
    with pytest.raises(TypeError, match="manifest"):
        sink.write({"batches": empty}, empty)


def test_columns_may_come_in_any_order(database: "Client") -> None:
    rows = table("loads", [load("l", amortised_over=3)])
    ClickHouseSink(database).write({"loads": rows.select(rows.column_names[::-1])}, table("batches", []))
    assert database.command("SELECT amortised_over FROM current_loads") == 3
