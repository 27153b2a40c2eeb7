"""A question in SQL, asked so that it cannot change anything: one statement that reads, in a read-only session."""

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from clickhouse_connect.driver.exceptions import ClickHouseError

from schemas.errors import DataError

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

__all__ = ["READ_ONLY", "ask", "single_reading_statement", "views"]

READ_ONLY: Final = "SETTINGS readonly = 2"
"""ClickHouse refuses a statement that writes; 2, because drivers send settings of their own. Part of the
statement, so that nothing of it stays with the connection."""

READING: Final = ("SELECT", "WITH", "SHOW", "DESCRIBE", "DESC", "EXPLAIN", "EXISTS")
TEXT_OR_COMMENT: Final = re.compile(
    r"'(?:[^'\\]|\\.|'')*'|\"(?:[^\"\\]|\\.)*\"|`(?:[^`\\]|\\.)*`|--[^\n]*|/\*.*?\*/", re.DOTALL
)

VIEWS: Final = """
SELECT name, comment FROM system.tables
WHERE database = currentDatabase() AND comment != '' AND name != 'schema_migrations'
ORDER BY engine != 'View', name
"""


def single_reading_statement(sql: str) -> str:
    """`sql` without its closing semicolon; DataError unless it is one statement that only reads."""
    statement = sql.strip().rstrip(";").strip()
    bare = TEXT_OR_COMMENT.sub(" ", statement).strip()
    if not bare:
        raise DataError("the query is empty: write a SELECT, or look at docs/sql.md for examples")
    if ";" in bare:
        raise DataError("the query has more than one statement: ask them one by one")
    word = bare.split(None, 1)[0].upper().strip("(")
    if word not in READING and not bare.startswith("("):
        raise DataError(f"{word} is not a question: this is for reading, with {', '.join(READING)}")
    return statement


def ask(client: "Client", sql: str, output_format: str) -> Iterator[bytes]:
    """The answer in one of ClickHouse's own formats, piece by piece, as it comes.

    Raises DataError if the statement is not one that reads, or if the database refuses it.
    """
    statement = single_reading_statement(sql)
    try:
        with client.raw_stream(f"{statement}\n{READ_ONLY}", fmt=output_format) as answer:
            while piece := answer.read(1 << 16):
                yield piece
    except ClickHouseError as error:
        raise DataError(_said(error)) from error


def views(client: "Client") -> list[tuple[str, str]]:
    """Every view and table with what it is, views first."""
    return [(name, comment) for name, comment in client.query(VIEWS).result_rows]


def _said(error: ClickHouseError) -> str:
    """ClickHouse's reason, without the driver's wrapping."""
    line = str(error).splitlines()[0] if str(error) else type(error).__name__
    found = re.search(r"DB::Exception: (.*?)(?:\. \([A-Z_]+\)|\(for url|$)", line)
    return (found[1] if found else line).removeprefix("Code: ").strip()[:500]
