"""Whether the database is there and current, windows are being sealed, and the books close."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qs, unquote, urlsplit, urlunsplit

from schemas.errors import ConfigurationError, DatabaseBusy, DatabaseUnavailable, MigrationError
from streams.ledger.books import read_books
from streams.ledger.client import DEFAULT_DATABASE, connect, is_embedded
from streams.ledger.migrations import status
from streams.ledger.query import moment, rows_of
from wattledger.doctor.contract import Finding, failed, fine, skipped, warned

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

__all__ = ["database_findings", "ledger_findings"]

SECOND_NS: Final = 1_000_000_000
LOOKED_AT_S: Final = 3600
STALE_S: Final = 120
"""A window is sealed within seconds of its end; a minute more is a restart."""


def database_findings(dsn: str) -> Iterator[Finding]:
    """Database, migrations, and what the last hour left in the ledger."""
    try:
        absent = _absent(dsn)
        if absent:
            yield failed("database", f"{absent} does not exist", "run `wattledger migrate up`")
            return
        client = connect(dsn)
    except DatabaseBusy as error:
        yield skipped("database", str(error))
        return
    except (DatabaseUnavailable, ConfigurationError) as error:
        detail, _, fix = str(error).rpartition("; ")
        yield failed("database", detail or fix, fix if detail else "set WATTLEDGER_CLICKHOUSE")
        return
    try:
        yield fine("database", f"ClickHouse {client.server_version}, database {client.database}")
        current = True
        for finding in _migrations(client):
            current = current and finding.status == "ok"
            yield finding
        if current:
            yield from ledger_findings(client, time.time_ns())
    finally:
        client.close()


def _absent(dsn: str) -> str:
    """What `connect` would create: looked for first, because the doctor changes nothing. Empty if all is there."""
    parts = urlsplit(dsn)
    path = unquote(parts.path)
    if is_embedded(dsn):
        return "" if Path(path).exists() else path
    named = path.strip("/") or parse_qs(parts.query).get("database", [DEFAULT_DATABASE])[0]
    server = connect(urlunsplit(parts._replace(path="/default")))
    try:
        there = server.command(f"EXISTS DATABASE `{named}`")
    finally:
        server.close()
    return "" if there else f"database {named}"


def _migrations(client: "Client") -> Iterator[Finding]:
    try:
        found = status(client)
    except MigrationError as error:
        yield failed("migrations", str(error), "install the version that applied it, or use another database")
        return
    if found.pending:
        names = ", ".join(migration.name for migration in found.pending)
        yield failed("migrations", f"pending: {names}", "run `wattledger migrate up`")
    if found.drift:
        yield failed(
            "migrations",
            f"tables differ from what the last migration left: {'; '.join(found.drift)}",
            "undo the change by hand; `wattledger migrate status` shows every difference",
        )
    if not found.pending and not found.drift:
        yield fine("migrations", f"all {len(found.applied)} applied, no drift")


def ledger_findings(client: "Client", now_ns: int) -> Iterator[Finding]:
    """Windows, books and dead letters of the hour before `now_ns`."""
    from_ns = now_ns - LOOKED_AT_S * SECOND_NS
    try:
        newest_ns = int(rows_of(client, "SELECT max(end_ns) FROM batches", {})[0][0])
        yield _sealing(newest_ns, now_ns)
        books = read_books(client, from_ns=from_ns)
        opened = sum(group.open_windows for group in books.groups)
        if not books.groups:
            yield skipped("books", "no window of the last hour")
        elif books.closes:
            windows = sum(group.windows for group in books.groups)
            yield fine("books", f"all {windows} windows of the last hour close to the microjoule")
        else:
            yield failed(
                "books",
                f"{opened} windows and {books.open_transfers} transfer pairs of the last hour do not close",
                "`wattledger books` lists them with the reason; docs/operations/restatement.md",
            )
        yield from _dead_letters(client, from_ns)
    except DatabaseUnavailable as error:
        yield failed("ledger", str(error), "grant SELECT on the ledger's tables (docs/security.md)")


def _sealing(newest_ns: int, now_ns: int) -> Finding:
    fix = "start `wattledger worker`; if it runs: docs/operations/stuck-partition.md"
    if not newest_ns:
        return failed("windows", "none was ever sealed", fix)
    age_s = (now_ns - newest_ns) / SECOND_NS
    if age_s > STALE_S:
        return failed("windows", f"the newest sealed window ended {age_s:,.0f} s ago", fix)
    return fine("windows", f"sealed up to {age_s:.1f} s ago")


def _dead_letters(client: "Client", from_ns: int) -> Iterator[Finding]:
    query = (
        "SELECT reason, count() FROM dead_letters FINAL WHERE arrived_at >= {since:String} GROUP BY reason "
        "ORDER BY count() DESC"
    )
    found = rows_of(client, query, {"since": moment(from_ns)})
    if found:
        said = ", ".join(f"{count} {reason}" for reason, count in found)
        yield warned(
            "dead letters",
            f"{sum(count for _, count in found)} in the last hour: {said}",
            "`wattledger dead-letters list` says why; docs/operations/dead-letters.md",
        )
    else:
        yield fine("dead letters", "none in the last hour")
