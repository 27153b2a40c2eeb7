"""`wattledger rollup`: add closed hours up once, so that long periods are read quickly."""

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from streams.answers.report import SETTLED_AFTER
from streams.answers.report_rollups import roll_up_reports
from streams.answers.rollups import roll_up
from streams.carbon.rollups import roll_up_carbon
from streams.ledger.client import connect
from streams.ledger.migrations import require_current
from wattledger import settings

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

__all__ = ["command"]


@click.command("rollup")
@click.option("--json", "as_json", is_flag=True, help="Print the numbers of hours as JSON.")
def command(as_json: bool) -> None:
    """Add up every closed hour that is new or was revised since the last run.

    Reports, tenant_hourly and the carbon views read such hours from their sums, and the rest from the ledger's
    rows: figures do not depend on when this runs. Once an hour is plenty; twice at once does no harm.

    \b
    Example:
      wattledger rollup
    """
    client = connect(settings.load().clickhouse)
    try:
        require_current(client)
        done = _rolled_up(client)
    finally:
        client.close()
    said = ", ".join(f"{hours} hours of {name}" for name, hours in done.items())
    click.echo(json.dumps(done) if as_json else f"added up: {said}")


def _rolled_up(client: "Client") -> dict[str, int]:
    """How many hours of each kind, of rows stored so long ago that no insert is on its way."""
    as_of = datetime.now(UTC) - SETTLED_AFTER
    jobs = {"totals": roll_up, "reports": roll_up_reports, "carbon": roll_up_carbon}
    return {name: len(job(client, as_of)) for name, job in jobs.items()}
