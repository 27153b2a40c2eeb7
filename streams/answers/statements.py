"""Statements: reports that were issued. A number always gives the same bytes; what changes later is said later.

Issuing stores the canonical data, the page and its hash. Rows stored after a statement's cut-off that change its
period appear as a correction on the tenant's next statement, once.
"""

import hashlib
import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from schemas.errors import DataError
from streams.answers.periods import Period
from streams.answers.report import SETTLED_AFTER, make_report
from streams.answers.report_files import canonical
from streams.answers.report_page import as_html

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

__all__ = ["Statement", "find_statement", "issue_statement", "statements"]

COLUMNS: Final = (
    "number", "tenant", "running", "from_time", "to_time", "as_of", "issued_at", "data", "html", "html_sha256"
)  # fmt: skip
# Of two rows with one number, written at the same time by two issuers, the first stored is the statement.
READ: Final = """
SELECT number, tenant, running, from_time, to_time, as_of, issued_at, data, html, html_sha256
FROM statements FINAL
"""


@dataclass(frozen=True, slots=True)
class Statement:
    """A statement as issued."""

    number: str
    tenant: str
    running: int
    period: Period
    as_of: datetime
    issued_at: datetime
    data: bytes
    """Canonical JSON: the report's figures and the corrections."""
    html: bytes
    html_sha256: str


def issue_statement(client: "Client", tenant: str, period: Period, now: datetime) -> Statement:
    """Issue the next statement of `tenant`, over rows stored until ten minutes before `now`.

    Raises DataError if the period is not settled by then, overlaps one that was issued, or the tenant is unknown.
    """
    as_of = (now - SETTLED_AFTER).replace(microsecond=now.microsecond // 1000 * 1000) - timedelta(
        milliseconds=1
    )
    earlier = statements(client, tenant)
    for one in earlier:
        if one.period.start < period.end and period.start < one.period.end:
            raise DataError(
                f"statement {one.number} covers {one.period.start.isoformat()} to {one.period.end.isoformat()}: "
                "a period is stated once; choose one that does not overlap it"
            )
    report = make_report(client, tenant, period, as_of)
    if report.preliminary:
        raise DataError(
            f"no statement yet: {report.preliminary}; `wattledger report` shows preliminary figures"
        )
    running = len(earlier) + 1
    number = f"{tenant}/{running:06d}"
    corrections = _corrections(client, earlier, as_of)
    data = canonical({"number": number, "report": report.data(), "corrections": corrections})
    html = as_html(report, number=number, corrections=corrections)
    row = [
        number, tenant, running, period.start, period.end, as_of, now, data.decode(), html.decode(),
        hashlib.sha256(html).hexdigest(),
    ]  # fmt: skip
    client.insert("statements", [row], column_names=list(COLUMNS))
    stored = find_statement(client, number)
    if stored is None or stored.html_sha256 != row[-1]:
        raise DataError(f"statement {number} was issued by someone else at the same moment: issue again")
    return stored


def find_statement(client: "Client", number: str) -> Statement | None:
    """The statement `number`, byte for byte as issued; None where there is none."""
    rows = client.query(f"{READ} WHERE number = {{number:String}}", parameters={"number": number}).result_rows
    return _statement(*rows[0]) if rows else None


def statements(client: "Client", tenant: str) -> list[Statement]:
    """A tenant's statements in order."""
    query = f"{READ} WHERE tenant = {{tenant:String}} ORDER BY running"
    return [_statement(*row) for row in client.query(query, parameters={"tenant": tenant}).result_rows]


def _corrections(client: "Client", earlier: list[Statement], as_of: datetime) -> list[dict[str, Any]]:
    """Earlier statements whose period draws another total by now, against what was last said of it."""
    said: dict[str, int] = {}
    for one in earlier:
        document = json.loads(one.data)
        said[one.number] = _total_uj(document["report"])
        said |= {line["statement"]: line["is_uj"] for line in document["corrections"]}
    found = []
    for one in earlier:
        is_uj = make_report(client, one.tenant, one.period, as_of).total_uj
        if is_uj != said[one.number]:
            found.append({"statement": one.number, "was_uj": said[one.number], "is_uj": is_uj})
    return found


def _total_uj(report: dict[str, Any]) -> int:
    booked_uj = sum(line["energy_uj"] for line in report["models"])
    return int(booked_uj + report["cold_start_uj"] + report["residency_uj"])


def _statement(
    number: str,
    tenant: str,
    running: int,
    start: datetime,
    end: datetime,
    as_of: datetime,
    issued_at: datetime,
    data: str,
    html: str,
    html_sha256: str,
) -> Statement:
    period = Period(start.replace(tzinfo=UTC), end.replace(tzinfo=UTC))
    moments = as_of.replace(tzinfo=UTC), issued_at.replace(tzinfo=UTC)
    return Statement(number, tenant, running, period, *moments, data.encode(), html.encode(), html_sha256)
