"""Ledgers side by side: what they hold of one cluster, row for row, and whether their books close."""

import time
from collections.abc import Collection
from typing import TYPE_CHECKING

import pyarrow as pa

from streams.ledger.books import Books, read_books

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

__all__ = ["accounts_j", "books_of", "current_rows", "differences", "sealed_until_ns", "wait_until_booked"]

TABLES = {
    "batches": "current_batches",
    "ledger": "current_ledger",
    "raw_meter": """(
        SELECT meter.*
        FROM (SELECT * FROM raw_meter FINAL) AS meter
        INNER JOIN current_batches AS sealed
            ON meter.event_time = sealed.event_time AND meter.batch_id = sealed.batch_id
            AND meter.revision = sealed.revision AND meter.inputs = sealed.inputs
    )""",
    "transfers": "current_transfers",
    "loads": "current_loads",
    "late_frames": "(SELECT * FROM late_frames FINAL)",
    "dead_letters": "(SELECT * FROM dead_letters FINAL)",
}
"""What a reader sees of each table: replays and revisions resolved."""
OWNED_BY = {
    "raw_meter": "batch_id IN (SELECT batch_id FROM batches WHERE startsWith(group_id, '{cluster}/'))",
    "transfers": "startsWith(engine_id, '{cluster}/')",
    "dead_letters": "startsWith(key, '{cluster}/')",
}
NOT_COMPARED = frozenset({"stored_at"})
"""When a row was stored is no part of what it says."""
POLL_S = 0.3


def current_rows(
    client: "Client", cluster: str, *, but: Collection[str] = (), tables: Collection[str] = tuple(TABLES)
) -> dict[str, pa.Table]:
    """By table: the rows of `cluster` that a reader sees, in a fixed order, without `but` and `stored_at`."""
    found = {}
    for name in tables:
        owned = OWNED_BY.get(name, "startsWith(group_id, '{cluster}/')").format(cluster=cluster)
        columns = {row[0] for row in client.query(f"DESCRIBE TABLE {name}").result_rows}
        left_out = ", ".join(sorted((NOT_COMPARED | set(but)) & columns))
        found[name] = client.query_arrow(
            f"SELECT * EXCEPT ({left_out}) FROM {TABLES[name]} WHERE {owned} ORDER BY ALL", use_strings=True
        )
    return found


def differences(expected: dict[str, pa.Table], actual: dict[str, pa.Table], most: int = 3) -> list[str]:
    """What differs, in words; empty if every table is equal row for row."""
    said = []
    for name, rows in expected.items():
        other = actual[name]
        if rows.equals(other):
            continue
        left, right = ([_plain(row) for row in table.to_pylist()] for table in (rows, other))
        only_left, only_right = (
            [row for row in one if row not in two] for one, two in ((left, right), (right, left))
        )
        said.append(
            f"{name}: {rows.num_rows} rows expected, {other.num_rows} found; "
            f"{len(only_left)} only expected, such as {_apart(only_left[:most], only_right)}; "
            f"{len(only_right)} only found, such as {only_right[:most]}"
        )
    return said


def _plain(row: dict[str, object]) -> dict[str, object]:
    """A row whose maps compare whatever their order."""
    return {key: sorted(value) if key == "features" else value for key, value in row.items()}


def _apart(expected: list[dict[str, object]], found: list[dict[str, object]]) -> list[object]:
    """Where a row has a counterpart of the same batch: only the columns that differ."""
    said: list[object] = []
    for row in expected:
        twins = [other for other in found if other.get("batch_id") == row.get("batch_id") is not None]
        if len(twins) == 1:
            said.append({key: (row[key], twins[0][key]) for key in row if row[key] != twins[0][key]})
        else:
            said.append(row)
    return said


def sealed_until_ns(client: "Client", cluster: str) -> dict[str, int]:
    """By group of the cluster: the end of its last sealed window."""
    rows = client.query(
        "SELECT group_id, max(end_ns) FROM batches WHERE startsWith(group_id, {prefix:String}) GROUP BY group_id",
        parameters={"prefix": f"{cluster}/"},
    ).result_rows
    return {group: int(end_ns) for group, end_ns in rows}


def wait_until_booked(
    client: "Client", cluster: str, groups: int, until_ns: int, *, timeout_s: float = 180.0
) -> None:
    """Return once `groups` groups of the cluster are sealed up to `until_ns`."""
    deadline = time.monotonic() + timeout_s
    while True:
        sealed = sealed_until_ns(client, cluster)
        if sum(end_ns >= until_ns for end_ns in sealed.values()) >= groups:
            return
        assert time.monotonic() < deadline, (
            f"after {timeout_s:.0f} s only {sealed} of {groups} up to {until_ns}"
        )
        time.sleep(POLL_S)


def books_of(client: "Client") -> Books:
    """The books of everything in the database."""
    return read_books(client)


def accounts_j(client: "Client", group_id: str) -> dict[str, float]:
    """Joules by account of one group."""
    row = client.query(
        "SELECT sum(request_uj), sum(idle_uj), sum(cold_start_uj), sum(overhead_uj), sum(unobserved_uj) "
        "FROM current_batches WHERE group_id = {group:String}",
        parameters={"group": group_id},
    ).result_rows[0]
    names = ("request", "idle", "cold_start", "overhead", "unobserved")
    return {name: int(value) / 1e6 for name, value in zip(names, row, strict=True)}
