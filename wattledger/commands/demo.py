"""`wattledger demo`: the main job, end to end, on this machine."""

import logging
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import click

from producers.simulation.fleet import simulate_fleet
from producers.simulation.presets import demo_scenario
from producers.simulation.publish import Published, publish
from schemas.kafka_address import servers_of
from streams.answers.page import write_page
from streams.answers.service import ServiceRules
from streams.answers.serving import serve
from streams.answers.summary import format_tenants, tenant_rows
from streams.ledger import migrations
from streams.ledger.books import read_books
from streams.ledger.client import connect, is_embedded
from streams.ledger.transfers import cold_start_balance, write_transfers
from wattledger import settings as settings_module
from wattledger.commands.books import print_books
from wattledger.demo import Run, begin_at_the_end, new_run, wait_until_sealed
from wattledger.factors import store_shipped
from wattledger.local.broker import broker
from wattledger.local.clickhouse_front import clickhouse_front
from wattledger.local.traffic_process import traffic
from wattledger.local.worker import Progress, worker
from wattledger.topics_admin import create_topics

__all__ = ["command"]

PARTITIONS: Final = 6
"""Enough to show that groups spread; the declared number is for fleets."""
WINDOW_S: Final = 5.0
WAIT_S: Final = 0.5
"""The worker's defaults: the last window that the replay's tail lets close."""
MODEL_EPOCH_S: Final = 60.0
"""Energy models are fitted every ten minutes of event time; the demo does not last that long."""


@click.command("demo")
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("demo-out"),
    show_default=True,
    help="Each run gets a directory of its own here; `latest` links to the last.",
)
@click.option(
    "--duration",
    "duration_s",
    type=click.FloatRange(60.0, 3600.0),
    help="Seconds of simulated traffic; left out, as the shipped scenario says.",
)
@click.option("--seed", type=int, default=1, show_default=True, help="Same seed, same fleet.")
@click.option(
    "--method",
    type=click.Choice(["auto", "truncated"]),
    default="auto",
    show_default=True,
    help="auto: exact closed form. truncated: the published permutation sampling, for comparison.",
)
@click.option(
    "--serve", "keep_serving", is_flag=True, help="Then keep everything running, page included, until Ctrl-C."
)
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=8321,
    show_default=True,
    help="Of the page; 0: a free one.",
)
@click.pass_context
def command(
    ctx: click.Context,
    out: Path,
    duration_s: float | None,
    seed: int,
    method: str,
    keep_serving: bool,
    port: int,
) -> None:
    """Play real requests through a simulated fleet, real Kafka and the real worker into a ledger that closes.

    Starts what is missing (Kafka, embedded ClickHouse), shows progress, prints tenants and books, writes a
    page with plots, and leaves no process behind. Exit status 1 if the books do not close.

    With --serve, broker, database, worker and page go on until Ctrl-C, and the fleet goes on in real time: the
    page at http://127.0.0.1:8321 shows power now, every tenant, batches opened up, and signed receipts.

    \b
    Example:
      wattledger demo
      wattledger demo --duration 60 --method truncated
      wattledger demo --serve --duration 60
    """
    logging.getLogger("wattledger").setLevel(logging.WARNING)
    began = time.monotonic()
    settings = settings_module.load()
    run = new_run(out)
    scenario = replace(demo_scenario(duration_s=duration_s, seed=seed), cluster=run.name)
    fleet = simulate_fleet(scenario)
    _say(
        "Fleet",
        f"{len(scenario.nodes)} nodes, {len(scenario.engines)} engines, {fleet.request_iterations:,} "
        f"request-iterations in {fleet.end_us / 1e6:.0f} s of event time",
    )
    with ExitStack() as stack:
        clickhouse = run.clickhouse if is_embedded(settings.clickhouse) else settings.clickhouse
        if keep_serving and clickhouse == run.clickhouse:
            # An embedded database is one process's: behind HTTP, worker and page share it.
            clickhouse = stack.enter_context(clickhouse_front(run.directory / "clickhouse")).dsn()
        _migrate(clickhouse)
        kafka = stack.enter_context(broker(address=settings.kafka))
        _say("Kafka", f"{kafka.kind} at {servers_of(kafka.bootstrap)}, up in {kafka.start_s:.1f} s")
        create_topics(kafka.bootstrap, partitions=PARTITIONS)
        begin_at_the_end(kafka.bootstrap, run.name)
        child = stack.enter_context(
            worker(
                kafka=kafka.bootstrap,
                clickhouse=clickhouse,
                log=run.log,
                options=["--group", run.name, "--method", method, "--model-epoch", str(MODEL_EPOCH_S)],
            )
        )
        published = publish(fleet, kafka.bootstrap, speed=0.0)
        _say(
            "Published",
            f"{published.messages:,} frames, {published.bytes / 1e6:.1f} MB, in {published.elapsed_s:.1f} s",
        )
        until_s = (published.end_ns / 1e9 - WAIT_S) // WINDOW_S * WINDOW_S
        booked = wait_until_sealed(child, len(fleet.groups), until_s, _progress_line())
        _say("Booked", f"{booked.batches:,} batches, {booked.energy_j / 3.6e6:.4f} kWh")
        if keep_serving:
            closes = _answer(clickhouse, run, published)
            stack.enter_context(traffic(kafka.bootstrap, run.name, seed + 1, run.directory / "traffic.log"))
            _serve(clickhouse, run, port)
            _say("Stopping", "worker, database and broker")
        else:
            _say("Stopping", "the worker")
    if not keep_serving:
        closes = _answer(clickhouse, run, published)
    _say("Done", f"in {time.monotonic() - began:.0f} s; every process has ended")
    _where(run, run.clickhouse if is_embedded(settings.clickhouse) else clickhouse)
    ctx.exit(0 if closes else 1)


def _say(what: str, line: str) -> None:
    click.echo(f"{what:>10}  {line}")


def _migrate(clickhouse: str) -> None:
    client = connect(clickhouse)
    try:
        migrations.up(client)
        store_shipped(client)
    finally:
        client.close()
    _say("Database", clickhouse)


def _progress_line() -> Callable[[Progress], None]:
    """Redraws one line on a terminal; elsewhere says a line whenever half as much again is booked."""
    on_terminal = click.get_text_stream("stdout").isatty()
    said = 0

    def report(progress: Progress) -> None:
        nonlocal said
        line = f"{'Booking':>10}  {progress.batches:,} batches, {progress.energy_j:,.0f} J"
        if on_terminal:
            click.echo(f"\r{line}", nl=False)
        elif progress.batches > 1.5 * said:
            click.echo(line)
            said = progress.batches

    return report


def _answer(clickhouse: str, run: Run, published: Published) -> bool:
    """Print tenants and books, write the page; whether the books close."""
    start, end = (datetime.fromtimestamp(ns / 1e9, UTC) for ns in (published.origin_ns, published.end_ns))
    client = connect(clickhouse)
    try:
        write_transfers(client)
        click.echo()
        click.echo(format_tenants(tenant_rows(client, start, end)))
        click.echo()
        books = read_books(client, from_ns=published.origin_ns, to_ns=published.end_ns)
        print_books(books, cold_start_balance(client))
        write_page(client, run.page)
    finally:
        client.close()
    return books.closes


def _serve(clickhouse: str, run: Run, port: int) -> None:
    """Serve page and API until SIGINT or SIGTERM."""
    serve(
        clickhouse,
        "127.0.0.1",
        port,
        keys=run.directory / "keys",
        rules=ServiceRules(page_for_all=True, per_second=200.0, burst=1000.0),
        announce=lambda address: _say("Serving", f"{address} – Ctrl-C ends everything"),
    )


def _where(run: Run, clickhouse: str) -> None:
    click.echo(
        f"\n  page      {run.page}\n"
        f"  ledger    {clickhouse}\n"
        f"  log       {run.log}\n\n"
        f"Explore:  export WATTLEDGER_CLICKHOUSE={clickhouse}\n"
        "          wattledger books\n"
        "          wattledger sql\n"
    )
