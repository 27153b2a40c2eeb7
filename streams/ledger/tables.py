"""The ledger's tables as the migrations declare them: columns, and the Arrow schema an insert must have.

Read from the SQL itself, so that rows in memory and tables in the database have one definition.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from types import MappingProxyType
from typing import Final

import pyarrow as pa

from streams.ledger.migrations import known

__all__ = ["Column", "arrow_schema", "arrow_schemas", "declared"]


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a CREATE TABLE statement."""

    name: str
    type: str
    filled: bool
    """Whether the database fills it (DEFAULT or MATERIALIZED): an insert leaves it out."""
    comment: str


COLUMN: Final = re.compile(
    r"(?P<name>\w+)\s+(?P<type>\w+(?:\(.*?\))?)"
    r"(?:\s+(?:DEFAULT|MATERIALIZED)\s+(?P<filled>.+?))?"
    r"(?:\s+COMMENT '(?P<comment>(?:[^']|'')*)')?(?:\s+CODEC\(.*\))?,?"
)

SCALARS: Final[Mapping[str, pa.DataType]] = MappingProxyType(
    {
        "String": pa.string(),
        "Float32": pa.float32(),
        "Float64": pa.float64(),
        "UInt8": pa.uint8(),
        "UInt32": pa.uint32(),
        "UInt64": pa.uint64(),
        "Int64": pa.int64(),
        "Int128": pa.decimal128(38),
    }
)


@cache
def declared() -> Mapping[str, tuple[Column, ...]]:
    """Every table's columns in the order of their declaration, later migrations' behind."""
    tables: dict[str, tuple[Column, ...]] = {}
    for migration in known():
        for statement in migration.statements:
            if match := re.match(r"CREATE TABLE IF NOT EXISTS (\w+)", statement):
                tables[match[1]] = _columns(statement)
            elif match := re.match(r"ALTER TABLE (\w+)\S* ADD COLUMN IF NOT EXISTS (.+)", statement):
                tables[match[1]] += (_column(match[2]),)
            elif match := re.match(
                r"ALTER TABLE (\w+)\S* COMMENT COLUMN IF EXISTS (\w+) '((?:[^']|'')*)'", statement
            ):
                tables[match[1]] = tuple(
                    replace(column, comment=match[3].replace("''", "'"))
                    if column.name == match[2]
                    else column
                    for column in tables[match[1]]
                )
    return MappingProxyType(tables)


@cache
def arrow_schemas() -> Mapping[str, pa.Schema]:
    """Every table's Arrow schema: the columns that an insert must carry, in order, none nullable."""
    return MappingProxyType(
        {
            table: pa.schema(
                [pa.field(c.name, arrow_type(c.type), nullable=False) for c in columns if not c.filled]
            )
            for table, columns in declared().items()
        }
    )


def arrow_schema(table: str) -> pa.Schema:
    """The Arrow schema of one table; KeyError if no migration declares it."""
    return arrow_schemas()[table]


def arrow_type(clickhouse_type: str) -> pa.DataType:
    """The Arrow type that ClickHouse reads into a column of `clickhouse_type` without loss."""
    if clickhouse_type in SCALARS:
        return SCALARS[clickhouse_type]
    match = re.fullmatch(r"(\w+)\((.*)\)", clickhouse_type)
    assert match is not None, clickhouse_type
    outer, inner = match[1], match[2]
    if outer == "LowCardinality":
        return arrow_type(inner)
    if outer in ("FixedString", "Enum8"):
        return pa.string()
    if outer == "DateTime64":
        return pa.timestamp({"3": "ms", "6": "us", "9": "ns"}[inner.split(",")[0]], tz="UTC")
    if outer == "Array":
        return pa.list_(arrow_type(inner))
    parts = [arrow_type(part) for part in re.split(r", (?![^(]*\))", inner)]
    if outer == "Map":
        return pa.map_(*parts)
    assert outer == "Tuple", clickhouse_type
    return pa.struct([(str(position), part) for position, part in enumerate(parts, 1)])


def _columns(statement: str) -> tuple[Column, ...]:
    body = statement[statement.index("(\n") + 2 : statement.index("\n) ENGINE")]
    lines = body.split(",\n    INDEX ")[0].splitlines()
    return tuple(_column(line.strip()) for line in lines)


def _column(line: str) -> Column:
    match = COLUMN.fullmatch(line)
    assert match is not None, line
    comment = (match["comment"] or "").replace("''", "'")
    return Column(match["name"], match["type"], match["filled"] is not None, comment)
