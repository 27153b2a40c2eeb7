"""`wattledger report`: what one tenant drew, for people and for programs; and statements, which never change."""

import hashlib
import io
import json
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from schemas.errors import DataError
from streams.answers.fleet_totals import fleet_totals
from streams.answers.focus import focus_rows
from streams.answers.periods import Period, covered
from streams.answers.report import Report, make_report
from streams.answers.report_files import as_csv, as_json, as_parquet, write_csv
from streams.answers.report_page import as_html, as_pdf
from streams.answers.statements import find_statement, issue_statement, statements
from streams.ledger.client import connect
from streams.ledger.migrations import require_current
from wattledger import settings
from wattledger.instants import INSTANT

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

__all__ = ["command"]

FORMATS: Final = ("html", "pdf", "csv", "parquet", "json", "focus")
BINARY: Final = ("pdf", "parquet")


@click.command("report")
@click.option("--tenant", help="Whose report; names are as requests carry them.")
@click.option(
    "--from", "start", type=INSTANT, help="Start (ISO 8601, UTC); left out, the ledger's first window."
)
@click.option("--to", "end", type=INSTANT, help="End, exclusive; left out, the ledger's last window.")
@click.option("--format", "output_format", type=click.Choice(FORMATS), default="html", show_default=True)
@click.option("--json", "as_json_flag", is_flag=True, help="The same as --format json.")
@click.option(
    "--out", type=click.Path(dir_okay=False, path_type=Path), help="File to write; left out, stdout."
)
@click.option("--as-of", "as_of", type=INSTANT, help="Count rows stored by then; left out, all.")
@click.option("--statement", is_flag=True, help="Issue a statement: numbered, stored, never changed.")
@click.option("--number", help="Give out statement NUMBER again (html or json), byte for byte.")
@click.option("--list", "list_", is_flag=True, help="List the tenant's statements.")
@click.option(
    "--no-sandbox", is_flag=True, help="PDF: start Chromium without its sandbox (as root in a container)."
)
def command(
    tenant: str | None,
    start: datetime | None,
    end: datetime | None,
    output_format: str,
    as_json_flag: bool,
    out: Path | None,
    as_of: datetime | None,
    statement: bool,
    number: str | None,
    list_: bool,
    no_sandbox: bool,
) -> None:
    """Report what TENANT drew in a period: per model, per hour, with intervals, cold starts and prices.

    HTML is one self-contained file; PDF is printed from it. A statement can be issued once its period has been
    settled for ten minutes; later corrections appear on the next one.

    \b
    Example:
      wattledger report --tenant acme --from 2026-03-01 --to 2026-04-01 --out acme.html
      wattledger report --tenant acme --from 2026-03-01 --to 2026-04-01 --format focus --out focus.csv
      wattledger report --tenant acme --from 2026-03-01 --to 2026-04-01 --statement --out acme-march.html
      wattledger report --number acme/000001 --out again.html
    """
    chosen = "json" if as_json_flag else output_format
    client = connect(settings.load().clickhouse)
    try:
        require_current(client)
        if number is not None:
            content = _again(client, number, chosen)
        elif tenant is None:
            raise DataError("--tenant is missing: name whose report it is")
        elif list_:
            content = _listed(client, tenant)
        else:
            period = _period(client, start, end)
            if statement:
                content = _issue(client, tenant, period, chosen)
            else:
                report = make_report(client, tenant, period, as_of or datetime.now(UTC))
                content = _rendered(client, report, period, chosen, sandbox=not no_sandbox)
    finally:
        client.close()
    _write(content, out, chosen)


def _period(client: "Client", start: datetime | None, end: datetime | None) -> Period:
    whole = covered(client) if start is None or end is None else None
    if whole is None and (start is None or end is None):
        raise DataError("the ledger is empty: let a worker run for a window or two, or name --from and --to")
    return Period(start or whole.start, end or whole.end)  # type: ignore[union-attr]


def _rendered(
    client: "Client", report: Report, period: Period, output_format: str, *, sandbox: bool
) -> bytes:
    if output_format == "json":
        return as_json(report) + b"\n"
    if output_format == "csv":
        return as_csv(report)
    if output_format == "parquet":
        return as_parquet(report)
    if output_format == "focus":
        return _focus(client, report, period)
    html = as_html(report)
    return as_pdf(html, sandbox=sandbox) if output_format == "pdf" else html


def _focus(client: "Client", report: Report, period: Period) -> bytes:
    as_of = datetime.fromisoformat(report.as_of).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]
    fleet_uj = {model: figures[0] for model, figures in fleet_totals(client, period, as_of).items()}
    text = io.StringIO()
    write_csv(text, focus_rows(report, fleet_uj))
    return text.getvalue().encode()


def _issue(client: "Client", tenant: str, period: Period, output_format: str) -> bytes:
    issued = issue_statement(client, tenant, period, datetime.now(UTC))
    click.echo(f"statement {issued.number}, SHA-256 {issued.html_sha256}", err=True)
    return _again(client, issued.number, output_format)


def _again(client: "Client", number: str, output_format: str) -> bytes:
    found = find_statement(client, number)
    if found is None:
        raise DataError(f"no statement {number!r}: `wattledger report --tenant T --list` shows a tenant's")
    if hashlib.sha256(found.html).hexdigest() != found.html_sha256:
        raise DataError(
            f"statement {number}: the stored page does not have its hash; the table was tampered with"
        )
    if output_format not in ("html", "json"):
        raise DataError(f"a statement was issued as html and json; {output_format} is for reports")
    return found.html if output_format == "html" else found.data + b"\n"


def _listed(client: "Client", tenant: str) -> bytes:
    lines = [
        json.dumps({"number": one.number, "from": one.period.start.isoformat(), "to": one.period.end.isoformat(),
                    "issued_at": one.issued_at.isoformat(), "sha256": one.html_sha256})
        for one in statements(client, tenant)
    ]  # fmt: skip
    return ("\n".join(lines) + "\n" if lines else "").encode()


def _write(content: bytes, out: Path | None, output_format: str) -> None:
    if out is not None:
        out.write_bytes(content)
        click.echo(f"wrote {out}, {len(content):,} bytes", err=True)
        return
    if output_format in BINARY and sys.stdout.isatty():
        raise DataError(f"{output_format} is no text for a terminal: name a file with --out")
    stream = click.get_binary_stream("stdout")
    stream.write(content)
    stream.flush()
