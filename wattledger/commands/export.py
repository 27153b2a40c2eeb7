"""`wattledger export`: the ledger's figures in the forms that other systems take."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from schemas.errors import ConfigurationError, DataError
from streams.answers import bulk
from streams.answers.footprint import ghg_rows, sci_per_token, sci_per_workflow
from streams.answers.gauges import exposition
from streams.answers.periods import Period, covered
from streams.answers.receipts import make_receipt
from streams.answers.report import make_report
from streams.answers.report_files import write_csv
from streams.ledger.client import connect
from streams.ledger.migrations import require_current
from wattledger import settings as settings_module
from wattledger.instants import INSTANT

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

__all__ = ["command"]

EVER = "2299-12-31 23:59:59.999"

start_option = click.option(
    "--from", "start", type=INSTANT, help="Start (ISO 8601, UTC); left out, the ledger's."
)
end_option = click.option("--to", "end", type=INSTANT, help="End, exclusive; left out, the ledger's.")
out_option = click.option(
    "--out", type=click.Path(dir_okay=False, path_type=Path), help="File to write; left out, stdout."
)


@click.group("export")
def command() -> None:
    """Give figures to other systems: OpenTelemetry, Prometheus, sustainability inventories, tables of millions.

    \b
    Example:
      wattledger export requests --from 2026-03-01 --to 2026-04-01 --format parquet --out march.parquet
      wattledger export otlp --endpoint http://collector:4318
      wattledger export prometheus > /var/lib/node_exporter/wattledger.prom
      wattledger export sci --tenant acme --from 2026-03-01 --to 2026-04-01
      wattledger export ghg --tenant acme --from 2026-03-01 --to 2026-04-01 --out acme-ghg.csv

    FOCUS rows are a format of `wattledger report`.
    """


@command.command("requests")
@click.option("--tenant", default="", help="One tenant's; left out, all.")
@start_option
@end_option
@click.option("--format", "output_format", type=click.Choice(bulk.FORMATS), default="csv", show_default=True)
@out_option
def requests(
    tenant: str, start: datetime | None, end: datetime | None, output_format: str, out: Path | None
) -> None:
    """Write one row per request of the period: who, what, when, energy, tokens.

    Rows are written as they come, so that memory stays the same for a thousand or ten million. CSV puts an
    apostrophe before a text that a spreadsheet would run; JSON is one object per line.

    \b
    Example:
      wattledger export requests --tenant acme --from 2026-03-01 --to 2026-03-02 --out acme.csv
    """
    if out is None and output_format == "parquet" and sys.stdout.isatty():
        raise DataError("parquet is no text for a terminal: name a file with --out")
    with _ledger() as client:
        found = bulk.blocks(client, _period(client, start, end), EVER, tenant)
        if out is None:
            bulk.write_rows(click.get_binary_stream("stdout"), found, output_format)
            return
        with out.open("wb") as file:
            rows = bulk.write_rows(file, found, output_format)
    click.echo(f"wrote {out}: {rows:,} requests, {out.stat().st_size:,} bytes", err=True)


@command.command("otlp")
@click.option(
    "--endpoint", help="Receiver, such as http://collector:4318; left out, OTEL_EXPORTER_OTLP_ENDPOINT."
)
@start_option
@end_option
@click.option("--timeout", "timeout_s", type=click.FloatRange(0.1), default=10.0, show_default=True)
def otlp(endpoint: str | None, start: datetime | None, end: datetime | None, timeout_s: float) -> None:
    """Send cumulative metrics of a period over OTLP/HTTP: hw.energy by device, energy by account and tenant.

    Left out, the period is the current UTC day as far as the ledger is sealed: run it every minute, and every
    day's counters begin anew, which their start time says. OTEL_EXPORTER_OTLP_HEADERS and the other variables
    of the OpenTelemetry SDK hold.

    \b
    Example:
      wattledger export otlp --endpoint http://collector:4318
    """
    try:
        from streams.answers.otlp import metrics_of, send
    except ImportError:
        raise ConfigurationError("OTLP needs the OpenTelemetry SDK: pip install 'wattledger[otel]'") from None
    with _ledger() as client:
        whole = _covered(client)
        day = whole.end.replace(hour=0, minute=0, second=0, microsecond=0)
        period = Period(start or max(day, whole.start), end or whole.end)
        data = metrics_of(client, period, version("wattledger"))
    send(data, endpoint=endpoint, timeout_s=timeout_s)
    points = sum(
        len(metric.data.data_points)
        for one in data.resource_metrics[0].scope_metrics
        for metric in one.metrics
    )
    click.echo(
        f"sent {points:,} points from {period.start.isoformat()} to {period.end.isoformat()}", err=True
    )


@command.command("prometheus")
@click.option(
    "--window", "window_s", type=click.IntRange(10), default=300, show_default=True, help="Seconds."
)
@out_option
def prometheus(window_s: int, out: Path | None) -> None:
    """Write gauges beside OpenCost's llm_*: watts and joules per million tokens, by model and tenant.

    Over the last WINDOW seconds that the ledger covers, in Prometheus' text format, for the node exporter's
    textfile collector or a file server.

    \b
    Example:
      wattledger export prometheus --out /var/lib/node_exporter/wattledger.prom
    """
    with _ledger() as client:
        whole = _covered(client)
        period = Period(max(whole.start, whole.end - timedelta(seconds=window_s)), whole.end)
        content = exposition(client, period)
    if out is None:
        click.echo(content.decode(), nl=False)
        return
    # The collector must never read half a file.
    temporary = out.with_name(out.name + ".new")
    temporary.write_bytes(content)
    temporary.replace(out)


@command.command("sci")
@click.option("--tenant", required=True, help="Whose score.")
@start_option
@end_option
@click.option(
    "--workflows",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="JSON lines of {workflow, execution, request_id}: a score per workflow execution instead of per token.",
)
def sci(tenant: str, start: datetime | None, end: datetime | None, workflows: Path | None) -> None:
    """Print SCI scores (ISO/IEC 21031) as JSON lines: per token, or per execution of workflows.

    Per token: operational grams of accelerators, hosts and PUE, location-based, plus manufacturing, divided by
    prompt tokens and tokens delivered. Per workflow: the receipts of every call that its executions made.

    \b
    Example:
      wattledger export sci --tenant acme --from 2026-03-01 --to 2026-04-01
      wattledger export sci --tenant acme --workflows calls.jsonl
    """
    with _ledger() as client:
        if workflows is not None:
            for row in _workflow_scores(client, tenant, workflows):
                click.echo(json.dumps(row))
            return
        period = _period(client, start, end)
        report = make_report(client, tenant, period, datetime.now(UTC))
    subject = {"tenant": tenant, "from": report.start, "to": report.end}
    click.echo(json.dumps(sci_per_token(report).row(subject)))


@command.command("ghg")
@click.option("--tenant", required=True, help="Whose inventory.")
@start_option
@end_option
@out_option
@click.option("--json", "as_json", is_flag=True, help="For programs: one object per row.")
def ghg(tenant: str, start: datetime | None, end: datetime | None, out: Path | None, as_json: bool) -> None:
    """Write a tenant's rows for its GHG inventory and ESRS E1: scope 3, both methods, with coverage and quality.

    \b
    Example:
      wattledger export ghg --tenant acme --from 2026-01-01 --to 2027-01-01 --out acme-2026.csv
    """
    with _ledger() as client:
        report = make_report(client, tenant, _period(client, start, end), datetime.now(UTC))
    rows = ghg_rows(report)
    with out.open("w", encoding="utf-8", newline="") if out else click.get_text_stream("stdout") as file:
        if as_json:
            file.writelines(json.dumps(row) + "\n" for row in rows)
        else:
            write_csv(file, rows)


@contextmanager
def _ledger() -> "Iterator[Client]":
    client = connect(settings_module.load().clickhouse)
    try:
        require_current(client)
        yield client
    finally:
        client.close()


def _covered(client: "Client") -> Period:
    whole = covered(client)
    if whole is None:
        raise DataError("the ledger is empty: let a worker run for a window or two, then ask again")
    return whole


def _period(client: "Client", start: datetime | None, end: datetime | None) -> Period:
    if start is not None and end is not None:
        return Period(start, end)
    whole = _covered(client)
    return Period(start or whole.start, end or whole.end)


def _workflow_scores(client: "Client", tenant: str, file: Path) -> Iterator[dict[str, Any]]:
    calls: dict[str, list[tuple[str, str]]] = {}
    for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
        try:
            one = json.loads(line)
            calls.setdefault(str(one["workflow"]), []).append((str(one["execution"]), str(one["request_id"])))
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(
                f"{file}, line {number}: {error!r}; write objects with workflow, execution and request_id"
            ) from None
    for workflow, made in sorted(calls.items()):
        receipts = [
            make_receipt(
                client, request_id, tenant=tenant, issuer="", base_url="", issued_at=datetime.now(UTC)
            )[0]
            for _, request_id in made
        ]
        executions = len({execution for execution, _ in made})
        subject = {"tenant": tenant, "workflow": workflow, "calls": len(made)}
        yield sci_per_workflow(workflow, receipts, executions).row(subject)
