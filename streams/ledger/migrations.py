"""Bring a database to the schema in schemas/clickhouse: numbered SQL files, applied once and in order.

The same files serve the embedded engine, one server and a replicated cluster; `Deployment.render` is the only
place where these differ.
"""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Final

from clickhouse_connect.driver.exceptions import ClickHouseError

from schemas.errors import MigrationError

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

__all__ = ["SINGLE", "Deployment", "Migration", "Status", "known", "plan", "require_current", "status", "up"]


@dataclass(frozen=True, slots=True)
class Deployment:
    """Where tables live: one engine (embedded or a server), or replicated on a named cluster."""

    cluster: str | None = None

    def render(self, statement: str) -> str:
        """`statement` with its placeholders `{engine}` and `{on_cluster}` filled."""
        if self.cluster is None:
            engine, on_cluster = "ReplacingMergeTree", ""
        else:
            # Without arguments the server's default_replica_path holds, which names the table by its UUID.
            engine, on_cluster = "ReplicatedReplacingMergeTree", f" ON CLUSTER `{self.cluster}`"
        return statement.replace("{engine}", engine).replace("{on_cluster}", on_cluster)


SINGLE: Final = Deployment()

HISTORY: Final = """
CREATE TABLE IF NOT EXISTS schema_migrations{on_cluster} (
    number              UInt32 COMMENT 'number of the migration file',
    name                String COMMENT 'name of the migration file',
    checksum            FixedString(64) COMMENT 'SHA-256 of its statements',
    columns             Array(String) COMMENT 'columns and types of every table after it, to tell a drift',
    stored_at           DateTime64(3, 'UTC') DEFAULT now64(3) COMMENT 'when it was applied',
    version             UInt64 MATERIALIZED 18446744073709551615 - toUInt64(toUnixTimestamp64Milli(stored_at))
                        COMMENT 'falls as stored_at grows: the earliest application stays'
) ENGINE = {engine}(version)
ORDER BY (number)
COMMENT 'Migrations applied to this database'
"""


RECORD: Final = """
INSERT INTO schema_migrations (number, name, checksum, columns)
SELECT {number:UInt32}, {name:String}, {checksum:String}, {columns:Array(String)}
"""


@dataclass(frozen=True, slots=True)
class Migration:
    """One file: its statements, with placeholders."""

    number: int
    name: str
    statements: tuple[str, ...]

    @property
    def checksum(self) -> str:
        """SHA-256 of the statements; comments and blank lines may change."""
        return hashlib.sha256("\n;\n".join(self.statements).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Status:
    """What a database has and lacks."""

    applied: tuple[Migration, ...]
    pending: tuple[Migration, ...]
    drift: tuple[str, ...]
    """Columns that differ from what the last migration left: `- table.column Type` missing, `+ ...` extra."""


@cache
def known() -> tuple[Migration, ...]:
    """The migrations this program carries, in order."""
    found = []
    for path in files("schemas").joinpath("clickhouse").iterdir():
        match = re.fullmatch(r"(\d{4})_\w+\.sql", path.name)
        if match:
            found.append(Migration(int(match[1]), path.name, split_statements(path.read_text())))
    migrations = tuple(sorted(found, key=lambda migration: migration.number))
    assert [migration.number for migration in migrations] == list(range(1, len(migrations) + 1))
    return migrations


def split_statements(sql: str) -> tuple[str, ...]:
    """Statements of a file: comment lines dropped, cut at a semicolon that ends a line."""
    lines = [line.rstrip() for line in sql.splitlines() if not line.lstrip().startswith("--")]
    parts = re.split(r";$", "\n".join(lines), flags=re.MULTILINE)
    return tuple(part.strip() for part in parts if part.strip())


def status(client: "Client") -> Status:
    """Compare the database with the migrations known.

    Raises MigrationError if a migration was applied in another form than this program knows it, or if the
    database has migrations that this program does not know.
    """
    applied = _applied(client)
    for number, (name, checksum, _) in applied.items():
        if number > len(known()):
            raise MigrationError(
                f"database {client.database!r} has migration {name}, newer than this program: "
                "install the version that applied it"
            )
        if checksum != known()[number - 1].checksum:
            raise MigrationError(
                f"migration {name} of database {client.database!r} has checksum {checksum[:8]}, "
                f"not {known()[number - 1].checksum[:8]}: use the version that applied it, or a new database"
            )
    drift: tuple[str, ...] = ()
    if applied:
        left = set(applied[max(applied)][2])
        found = set(_columns(client))
        missing, extra = sorted(left - found), sorted(found - left)
        drift = (*(f"- {column}" for column in missing), *(f"+ {column}" for column in extra))
    return Status(
        applied=tuple(migration for migration in known() if migration.number in applied),
        pending=tuple(migration for migration in known() if migration.number not in applied),
        drift=drift,
    )


def plan(client: "Client", deployment: Deployment = SINGLE) -> tuple[str, ...]:
    """The statements that `up` would run, rendered; changes nothing."""
    return tuple(deployment.render(s) for migration in status(client).pending for s in migration.statements)


def up(client: "Client", deployment: Deployment = SINGLE) -> tuple[Migration, ...]:
    """Apply what is pending and return it; running it again, or twice at once, changes nothing more.

    ClickHouse has no transactional DDL: statements are idempotent (IF NOT EXISTS, OR REPLACE), and a
    migration is recorded after its last one, so an interrupted `up` is finished by the next.
    Raises MigrationError as `status` does, or if a statement fails.
    """
    client.command(deployment.render(HISTORY))
    pending = status(client).pending
    for migration in pending:
        for statement in migration.statements:
            try:
                client.command(deployment.render(statement))
            except ClickHouseError as error:
                first = statement.splitlines()[0]
                said = str(error).splitlines()[0][:300]
                raise MigrationError(f"{migration.name}: {first!r} failed: {said}") from error
        client.command(
            RECORD,
            parameters={
                "number": migration.number,
                "name": migration.name,
                "checksum": migration.checksum,
                "columns": _columns(client),
            },
        )
    return pending


def require_current(client: "Client") -> None:
    """Raise MigrationError unless every known migration is applied."""
    pending = status(client).pending
    if pending:
        names = ", ".join(migration.name for migration in pending)
        raise MigrationError(f"database {client.database!r} lacks {names}: run `wattledger migrate up`")


def _applied(client: "Client") -> dict[int, tuple[str, str, Sequence[str]]]:
    """Number → (name, checksum, columns it left) of the migrations applied; {} in an empty database."""
    if not client.command("EXISTS TABLE schema_migrations"):
        return {}
    rows = client.query(
        "SELECT number, name, toString(checksum), columns FROM schema_migrations FINAL ORDER BY number"
    ).result_rows
    return {number: (name, checksum, columns) for number, name, checksum, columns in rows}


def _columns(client: "Client") -> list[str]:
    """`table.column Type` of every table; views are left out, for their types follow the server's version."""
    rows = client.query(
        "SELECT concat(table, '.', name, ' ', type) FROM system.columns WHERE database = currentDatabase() "
        "AND table IN (SELECT name FROM system.tables "
        "WHERE database = currentDatabase() AND engine LIKE '%MergeTree') "
        "AND table != 'schema_migrations' ORDER BY table, position"
    ).result_rows
    return [row[0] for row in rows]
