"""`wattledger restate`: what corrected factors change, by tenant, before and after they are stored."""

import json
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import click

from producers.grid.tables import read_factors, read_intensities
from schemas.errors import ConfigurationError
from schemas.factors import Factor
from schemas.side_inputs import GridIntensity
from streams.carbon.in_force import Factors
from streams.carbon.ladder import Intensities
from streams.carbon.restatement import Change, Known, places, restated, timestamp
from streams.carbon.rows import read_factors as stored_factors
from streams.carbon.rows import read_intensities as stored_intensities
from streams.carbon.store import refuse_overlaps, store_factors
from streams.ledger import migrations
from streams.ledger.client import connect
from wattledger import settings
from wattledger.instants import INSTANT

__all__ = ["command"]

FUTURE = "2299-12-31 23:59:59.999"


@click.command("restate")
@click.option("--from", "start", type=INSTANT, required=True, help="Start, such as 2026-09-01T00:00Z.")
@click.option("--to", "end", type=INSTANT, required=True, help="End, exclusive.")
@click.option("--zone", default="", help="Only this zone; left out, all that ran.")
@click.option(
    "--intensity",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Corrected intensities (CSV as `factors load` takes it).",
)
@click.option(
    "--factors",
    "factor_file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Corrected PUE, manufacturing and the like (CSV as `factors load` takes it).",
)
@click.option("--since", type=INSTANT, help="Instead of files: against what was stored by then.")
@click.option("--dry-run", is_flag=True, help="Show the difference, store nothing.")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def command(
    start: datetime,
    end: datetime,
    zone: str,
    intensity: Path | None,
    factor_file: Path | None,
    since: datetime | None,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Show by tenant what corrected factors change in a period; without --dry-run, store them as new versions.

    No row of the ledger changes: grams are computed when they are asked for. A statement cut at an earlier time
    stays as it was, since the views read factors as they stood at its cut-off.

    \b
    Example:
      wattledger restate --from 2026-09-01T00:00Z --to 2026-10-01T00:00Z --zone DE \\
          --intensity corrected.csv --dry-run
      wattledger restate --from 2026-09-01T00:00Z --to 2026-10-01T00:00Z --since 2026-10-05T00:00Z --dry-run
    """
    given = intensity is not None or factor_file is not None
    if given == (since is not None):
        raise ConfigurationError(
            "give corrected figures (--intensity, --factors) or --since TIME, one of the two"
        )
    if start >= end:
        raise ConfigurationError(f"--from {start.isoformat()} is not before --to {end.isoformat()}")
    version = time.time_ns() // 1_000_000
    intensities = (
        [replace(one, factor_version=version) for one in read_intensities(intensity)] if intensity else []
    )
    factors = (
        [replace(one, factor_version=version) for one in read_factors(factor_file)] if factor_file else []
    )
    client = connect(settings.load().clickhouse)
    try:
        migrations.require_current(client)
        refuse_overlaps(client, intensities)
        start_ns, end_ns = _ns(start), _ns(end)
        found = places(client, timestamp(start_ns), timestamp(end_ns), zone)
        zones = {name for place in found for name in (place.zone, place.zone.partition("-")[0])}

        def known(as_of: str, more: Sequence[GridIntensity], others: Sequence[Factor]) -> Known:
            stored = stored_intensities(client, zones, end_ns // 1_000_000, as_of)
            return Known(Intensities([*stored, *more]), Factors([*stored_factors(client, as_of), *others]))

        before = known(FUTURE if since is None else timestamp(_ns(since)), (), ())
        changes = restated(client, start_ns, end_ns, found, before, known(FUTURE, intensities, factors))
        if given and not dry_run:
            store_factors(client, intensities, factors)
    finally:
        client.close()
    if as_json:
        click.echo(json.dumps([asdict(change) for change in changes], indent=2))
    else:
        _print(changes, stored=given and not dry_run)


def _print(changes: Sequence[Change], *, stored: bool) -> None:
    changed = [change for change in changes if change.changes]
    click.echo(
        f"{'tenant':<28} {'Wh':>12} {'location gCO2e':>30} {'market gCO2e':>30} {'embodied gCO2e':>26}"
    )
    for one in changed:
        location = f"{one.location_before_g:,.3f} → {one.location_after_g:,.3f}"
        market = f"{one.market_before_g:,.3f} → {one.market_after_g:,.3f}"
        embodied = f"{one.embodied_before_g:,.3f} → {one.embodied_after_g:,.3f}"
        name = one.tenant or "(no tenant)"
        click.echo(f"{name:<28} {one.energy_uj / 3.6e9:>12,.2f} {location:>30} {market:>30} {embodied:>26}")
    rest = len(changes) - len(changed)
    click.echo(f"{len(changed)} change, {rest} stay as they are; the ledger's joules are untouched")
    click.echo("stored as new factor versions" if stored else "nothing was stored")


def _ns(instant: datetime) -> int:
    return (instant - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1) * 1000
