"""Where booked rows go: data first, then the manifest that seals it; only then may anything be acked."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

import pyarrow as pa
from clickhouse_connect.driver.exceptions import ClickHouseError

from schemas.errors import DatabaseUnavailable, MigrationError
from streams.ledger.tables import arrow_schema, arrow_schemas

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

__all__ = ["MANIFEST", "ClickHouseSink", "Sink"]

MANIFEST: Final = "batches"
"""The table whose rows say that a window is sealed."""

SCHEMA_CODES: Final = frozenset({16, 47, 60, 81})
"""ClickHouse's NO_SUCH_COLUMN_IN_TABLE, UNKNOWN_IDENTIFIER, UNKNOWN_TABLE, UNKNOWN_DATABASE."""


class Sink(Protocol):
    """Takes complete batches. One thread at a time."""

    def write(self, tables: Mapping[str, pa.Table], manifest: pa.Table) -> None:
        """Store every row of `tables`, then the manifest rows; return when all of it is durable.

        tables: by name of a ledger table (`ledger`, `raw_meter`, `loads`, `late_frames`, ...), each with the
            columns of `streams.ledger.tables.arrow_schema`, in any order. Empty ones are skipped.
        manifest: rows of `batches`; all other rows of these batches are in `tables`. May be empty.

        Order: a manifest row is never visible before the rows it seals.
        Idempotence: rows are identified by content (batch, account, request, revision); writing the same rows
            again, alone or in other company, changes no sum that a reader sees.
        Raises DatabaseUnavailable if the database does not take the rows: some tables may have been written,
            no manifest row of this call is, and calling again with the same rows is safe and needed. Raises
            MigrationError if the database lacks a table or column, and TypeError if a table has not its
            declared schema (nothing is written); for both a retry is useless.
        """


@dataclass(frozen=True, slots=True)
class ClickHouseSink:
    """The sink on ClickHouse, a server or embedded; see `Sink` for the contract."""

    client: "Client"

    def write(self, tables: Mapping[str, pa.Table], manifest: pa.Table) -> None:
        """Insert the data tables, then the manifest, one statement each."""
        if MANIFEST in tables:
            raise TypeError(f"{MANIFEST!r} is the manifest, not one of the tables")
        ordered = {name: checked(name, rows) for name, rows in tables.items()}
        ordered[MANIFEST] = checked(MANIFEST, manifest)
        for name, rows in ordered.items():
            if rows.num_rows:
                self._insert(name, rows)

    def _insert(self, name: str, rows: pa.Table) -> None:
        try:
            self.client.insert_arrow(name, rows)
        except (ClickHouseError, OSError) as error:
            said = str(error).splitlines()[0][:300] if str(error) else type(error).__name__
            if getattr(error, "code", None) in SCHEMA_CODES:
                raise MigrationError(
                    f"database {self.client.database!r} does not take rows of {name} ({said}): "
                    "run `wattledger migrate status`"
                ) from error
            raise DatabaseUnavailable(f"could not insert {rows.num_rows} rows into {name}: {said}") from error


def checked(name: str, rows: pa.Table) -> pa.Table:
    """`rows` with its columns in declared order; TypeError if it is not exactly what table `name` takes.

    The server is lenient where a ledger must not be: it fills a missing column with a default and reads plain
    integers as times. Columns of bytes are taken where text is declared (ClickHouse has one type for both).
    """
    if name not in arrow_schemas():
        raise TypeError(f"no ledger table is called {name!r}; there are {', '.join(arrow_schemas())}")
    schema = arrow_schema(name)
    if set(rows.column_names) != set(schema.names) or len(rows.column_names) != len(schema.names):
        missing = sorted(set(schema.names) - set(rows.column_names))
        extra = sorted(set(rows.column_names) - set(schema.names))
        raise TypeError(f"rows for {name} lack {missing} and have {extra} beyond its columns")
    for field in schema:
        column = rows.column(field.name)
        bytes_for_text = pa.types.is_string(field.type) and pa.types.is_binary(column.type)
        if column.type != field.type and not bytes_for_text:
            raise TypeError(f"{name}.{field.name} is {column.type}, declared {field.type}")
        if column.null_count:
            raise TypeError(f"{name}.{field.name} has {column.null_count} nulls; the ledger has none")
    return rows.select(schema.names)
