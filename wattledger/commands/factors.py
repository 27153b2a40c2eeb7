"""`wattledger factors`: carbon intensity, PUE, water and manufacturing, from files, APIs and what ships."""

import json
import logging
import os
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import click
from prometheus_client import start_http_server

from producers.grid import electricity_maps, entsoe, watttime
from producers.grid.contract import Source
from producers.grid.domains import EIC
from producers.grid.electricity_maps import ElectricityMaps
from producers.grid.entsoe import Entsoe
from producers.grid.http import http_get
from producers.grid.metrics import PollerMetrics
from producers.grid.poller import poll
from producers.grid.publish import publisher
from producers.grid.tables import CsvFile, read_factors, read_intensities
from producers.grid.watttime import WattTime
from schemas.errors import ConfigurationError
from schemas.metrics.instruments import new_registry
from streams.carbon.rows import read_factors as stored_factors
from streams.carbon.rows import read_intensities as stored_intensities
from streams.carbon.store import refuse_overlaps, store_factors
from streams.ledger import migrations
from streams.ledger.client import connect
from streams.worker.factor_topics import sync_factors
from wattledger import settings
from wattledger.factors import store_shipped
from wattledger.logs import begin_logging

__all__ = ["command"]

log = logging.getLogger(__name__)

FUTURE = "2299-12-31 23:59:59.999"
HOUR_NS = 3_600_000_000_000


@click.group("factors")
def command() -> None:
    """Carbon intensity of the grid, PUE, water and manufacturing: what joules are multiplied with.

    \b
    Example:
      wattledger factors load                         # the annual tables that ship
      wattledger factors load --intensity hours.csv   # your own, corrections as higher factor_version
      wattledger factors poll --source entso-e --zone DE --every 900
      wattledger factors sync                         # topics → database
      wattledger factors show --zone DE
    """


@command.command("load")
@click.option(
    "--intensity",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="CSV: zone, valid_from, valid_to, g_per_kwh[, basis, source, estimated, spread, factor_version].",
)
@click.option(
    "--factors",
    "factor_file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="CSV: kind, scope, effective_from, value, source[, spread, licence, vintage, factor_version].",
)
def load(intensity: Path | None, factor_file: Path | None) -> None:
    """Store factors from files; without a file, the annual tables that ship with wattledger.

    \b
    Example:
      wattledger factors load
      wattledger factors load --intensity hours.csv --factors sites.csv
    """
    intensities = read_intensities(intensity) if intensity else ()
    factors = read_factors(factor_file) if factor_file else ()
    client = connect(settings.load().clickhouse)
    try:
        migrations.require_current(client)
        if intensity is None and factor_file is None:
            click.echo(f"stored {store_shipped(client):,} factors that ship with wattledger")
            return
        refuse_overlaps(client, intensities)
        store_factors(client, intensities, factors)
    finally:
        client.close()
    click.echo(f"stored {len(intensities):,} intensities and {len(factors):,} other factors")


@command.command("show")
@click.option("--zone", help="Intensities of this zone too, the newest 24.")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def show(zone: str | None, as_json: bool) -> None:
    """What is in force now.

    \b
    Example:
      wattledger factors show --zone NO-NO2
    """
    client = connect(settings.load().clickhouse)
    try:
        now_ms = time.time_ns() // 1_000_000
        factors = stored_factors(client, FUTURE)
        grid = stored_intensities(client, [zone], now_ms, FUTURE)[-24:] if zone else []
    finally:
        client.close()
    rows = [
        {"kind": one.kind, "scope": one.scope, "value": one.value, "unit": one.unit, "source": one.source}
        for one in factors
    ]
    rows += [
        {"kind": f"{one.basis} intensity", "scope": f"{one.zone} {_day(one.valid_from_ns)}",
         "value": one.g_per_kwh, "unit": "g/kWh", "source": one.source}
        for one in grid
    ]  # fmt: skip
    if as_json:
        click.echo(json.dumps(rows, indent=2))
        return
    for row in rows:
        click.echo(
            f"{row['kind']:<18} {row['scope']:<24} {row['value']:>10.4g} {row['unit']:<15} {row['source']}"
        )


@command.command("poll")
@click.option(
    "--source", "name", type=click.Choice(["electricity-maps", "watttime", "entso-e", "csv"]), required=True
)
@click.option("--zone", "zones", multiple=True, required=True, help="As descriptors name it; repeatable.")
@click.option("--file", "path", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="For csv.")
@click.option(
    "--hours", type=click.FloatRange(0.25, 744), default=26.0, show_default=True, help="Back from now."
)
@click.option(
    "--every", "every_s", type=click.FloatRange(60), help="Seconds between rounds; left out: one round."
)
@click.option(
    "--metrics-port",
    type=click.IntRange(0, 65535),
    default=0,
    show_default=True,
    help="Prometheus endpoint; 0 for none.",
)
@click.pass_context
def poll_command(
    ctx: click.Context,
    name: str,
    zones: Sequence[str],
    path: Path | None,
    hours: float,
    every_s: float | None,
    metrics_port: int,
) -> None:
    """Ask a source and publish what it says to wattledger.grid.v1; exit status 1 if a zone brought nothing.

    Secrets come from the environment: ELECTRICITY_MAPS_TOKEN; WATTTIME_USER and WATTTIME_PASSWORD; ENTSOE_TOKEN.
    A proxy or mirror of one's own: ELECTRICITY_MAPS_URL, WATTTIME_URL, ENTSOE_URL (https, or http on this machine).

    \b
    Example:
      ENTSOE_TOKEN=… wattledger factors poll --source entso-e --zone DE --zone NO-NO2 --every 900
    """
    known = settings.load()
    begin_logging(known.log_format, logging.INFO)
    source = _source(name, path)
    publish = publisher(known.require_kafka())
    registry = new_registry()
    metrics = PollerMetrics(registry)
    if metrics_port:
        start_http_server(metrics_port, registry=registry)
    while True:
        now_ns = time.time_ns()
        done = poll(
            source, zones, publish, from_ns=now_ns - round(hours * HOUR_NS), to_ns=now_ns, now_ns=now_ns
        )
        metrics.count(name, done)
        log.info("published %d intensities of %d zones", done.published, len(zones))
        if every_s is None:
            ctx.exit(1 if done.failures else 0)
        time.sleep(max(every_s, done.wait_s))


@command.command("sync")
def sync() -> None:
    """Bring what was published (intensities; policies such as pue) into the database; doing it again is harmless.

    \b
    Example:
      WATTLEDGER_KAFKA=broker:9092 wattledger factors sync
    """
    known = settings.load()
    client = connect(known.clickhouse)
    try:
        migrations.require_current(client)
        synced = sync_factors(client, known.require_kafka())
    finally:
        client.close()
    click.echo(
        f"stored {synced.intensities:,} intensities and {synced.factors:,} other factors; "
        f"{synced.refused} messages went to the dead letters"
    )


def _source(name: str, path: Path | None) -> Source:
    if name == "csv":
        if path is None:
            raise ConfigurationError("source csv needs --file FILE")
        return CsvFile(path)
    if name == "electricity-maps":
        base = _address("ELECTRICITY_MAPS_URL", electricity_maps.BASE)
        return ElectricityMaps(_secret("ELECTRICITY_MAPS_TOKEN"), http_get, base=base)
    if name == "watttime":
        base = _address("WATTTIME_URL", watttime.BASE)
        return WattTime(_secret("WATTTIME_USER"), _secret("WATTTIME_PASSWORD"), http_get, {}, base=base)
    return Entsoe(_secret("ENTSOE_TOKEN"), http_get, EIC, base=_address("ENTSOE_URL", entsoe.BASE))


def _address(variable: str, documented: str) -> str:
    return os.environ.get(variable, "").strip().rstrip("/") or documented


def _secret(variable: str) -> str:
    value = os.environ.get(variable, "").strip()
    if not value:
        raise ConfigurationError(f"{variable} is not set: the source needs it")
    return value


def _day(at_ns: int) -> str:
    return datetime.fromtimestamp(at_ns / 1e9, UTC).strftime("%Y-%m-%d %H:%M")
