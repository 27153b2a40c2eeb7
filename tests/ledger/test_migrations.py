"""Migrations: applied once, in order, finished when interrupted, and never silently different."""

from typing import TYPE_CHECKING

import pytest

from schemas.errors import MigrationError
from streams.ledger.client import connect
from streams.ledger.migrations import (
    SINGLE,
    Deployment,
    known,
    plan,
    require_current,
    split_statements,
    status,
    up,
)
from streams.ledger.tables import declared

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client


def test_an_empty_database_has_everything_pending_and_a_plan_changes_nothing(dsn: str) -> None:
    client = connect(dsn)
    statements = plan(client)
    assert [migration.name for migration in status(client).pending] == [
        migration.name for migration in known()
    ]
    assert len(statements) == sum(len(migration.statements) for migration in known())
    assert not client.command("SHOW TABLES")
    with pytest.raises(MigrationError, match="wattledger migrate up"):
        require_current(client)
    client.close()


def test_up_applies_everything_once(dsn: str) -> None:
    client = connect(dsn)
    assert up(client) == known()
    assert up(client) == ()
    assert status(client).pending == ()
    require_current(client)
    client.close()


def test_an_interrupted_up_is_finished_by_the_next(dsn: str) -> None:
    client = connect(dsn)
    client.command(SINGLE.render(known()[0].statements[0]))
    assert up(client) == known()
    assert status(client).drift == ()
    client.close()


def test_the_databases_columns_are_those_of_the_sql_files(database: "Client") -> None:
    for table, columns in declared().items():
        found = database.query(
            "SELECT name, type, comment FROM system.columns "
            "WHERE database = currentDatabase() AND table = {t:String} ORDER BY position",
            parameters={"t": table},
        ).result_rows
        assert found == [(column.name, column.type, column.comment) for column in columns]


def test_a_table_that_was_altered_by_hand_is_named(database: "Client") -> None:
    database.command("ALTER TABLE loads ADD COLUMN note String")
    database.command("ALTER TABLE ledger DROP COLUMN half_width_uj")
    assert status(database).drift == ("- ledger.half_width_uj Int64", "+ loads.note String")


def test_a_migration_applied_in_another_form_is_refused(database: "Client") -> None:
    database.command(
        "ALTER TABLE schema_migrations UPDATE checksum = repeat('0', 64) WHERE number = 1 "
        "SETTINGS mutations_sync = 1"
    )
    with pytest.raises(MigrationError, match=r"0001_ledger.sql .* has checksum 00000000"):
        up(database)


def test_a_database_newer_than_the_program_is_refused(database: "Client") -> None:
    database.command("INSERT INTO schema_migrations (number, name) VALUES (9999, '9999_future.sql')")
    with pytest.raises(MigrationError, match=r"9999_future.sql, newer than this program"):
        status(database)


def test_every_table_and_column_has_a_comment(database: "Client") -> None:
    uncommented = database.query(
        "SELECT name FROM system.tables WHERE database = currentDatabase() AND comment = '' "
        "UNION ALL SELECT concat(table, '.', name) FROM system.columns WHERE database = currentDatabase() "
        "AND comment = '' AND table IN "
        "(SELECT name FROM system.tables WHERE database = currentDatabase() AND engine LIKE '%MergeTree')"
    ).result_rows
    assert uncommented == []


def test_a_cluster_differs_in_the_engine_and_the_clause_only() -> None:
    for migration in known():
        for statement in migration.statements:
            replicated = Deployment("prod").render(statement)
            assert replicated.count("ON CLUSTER `prod`") == 1
            back = replicated.replace(" ON CLUSTER `prod`", "").replace("ReplicatedReplacing", "Replacing")
            assert back == SINGLE.render(statement)
            assert "{engine}" not in replicated
            assert "{on_cluster}" not in replicated


def test_a_file_is_cut_at_semicolons_that_end_a_line() -> None:
    assert split_statements("-- a; b\nSELECT 1;\n\nSELECT ';' AS x\n;\n") == ("SELECT 1", "SELECT ';' AS x")
