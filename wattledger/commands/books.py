"""`wattledger books`: show that every joule the meters counted stands in exactly one account."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

import click

from streams.ledger.books import END_OF_TIME_NS, Books, joules, read_books, table_of_books
from streams.ledger.client import connect
from streams.ledger.migrations import require_current
from streams.ledger.own_footprint import OwnEnergy, read_own_energy
from streams.ledger.reconcile import GpuHour, coverage, reconcile
from streams.ledger.transfers import ColdStart, cold_start_balance
from wattledger import settings

__all__ = ["Instant", "command", "print_books", "print_coverage"]


class Instant(click.ParamType):
    """An ISO 8601 date or time as Unix nanoseconds; UTC where it names no zone."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Nanoseconds since the epoch; numbers pass."""
        if isinstance(value, int):
            return value
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            self.fail(
                f"{value!r} is no ISO 8601 time, such as 2026-03-01 or 2026-03-01T12:00:00Z", param, ctx
            )
        return round((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000) * 1_000_000


@click.command("books")
@click.option("--from", "from_ns", type=Instant(), default=0, help="First event time (ISO 8601, UTC).")
@click.option("--to", "to_ns", type=Instant(), default=END_OF_TIME_NS, help="End of the interval, exclusive.")
@click.option(
    "--as-of",
    "as_of_ns",
    type=Instant(),
    default=END_OF_TIME_NS,
    help="As the books stood then: only what was stored by this time (ISO 8601, UTC).",
)
@click.option("--gpus", "by_gpu", is_flag=True, help="Also every GPU's counter against its books, by hour.")
@click.option("--json", "as_json", is_flag=True, help="For programs: exact microjoules.")
@click.pass_context
def command(ctx: click.Context, from_ns: int, to_ns: int, as_of_ns: int, by_gpu: bool, as_json: bool) -> None:
    """Show that metered = request + idle + cold start + overhead + unobserved, per group and in total.

    The meter is recomputed from the raw readings in exact integers, and compared with the accounts of every
    window and with the sum of its ledger rows; each GPU's counter is followed from window to window, and what
    none of them holds, or two do, is said. Exits 1 where a window does not close to the microjoule, a transfer
    does not sum to zero, or two windows hold the same energy; 2 where the database cannot be read.

    \b
    Example:
      wattledger books
      wattledger books --from 2026-03-01 --to 2026-04-01 --json
      wattledger books --as-of 2026-03-02T06:00 --gpus
    """
    client = connect(settings.load().clickhouse)
    try:
        require_current(client)
        books = read_books(client, from_ns=from_ns, to_ns=to_ns, as_of_ns=as_of_ns)
        hours = reconcile(client, from_ns=from_ns, to_ns=to_ns, as_of_ns=as_of_ns)
        loads = cold_start_balance(client)
        own = read_own_energy(client, from_ns=from_ns, to_ns=to_ns, as_of_ns=as_of_ns)
    finally:
        client.close()
    if as_json:
        click.echo(json.dumps(_document(books, loads, hours, own), indent=2))
    else:
        print_books(books, loads)
        print_coverage(hours, by_gpu=by_gpu)
        print_own_energy(own)
    ctx.exit(0 if books.closes and not any(one.doubled_uj for one in hours) else 1)


def _document(
    books: Books, loads: tuple[ColdStart, ...], hours: Sequence[GpuHour], own: Sequence[OwnEnergy]
) -> dict[str, Any]:
    return {
        "closes": books.closes,
        "coverage": {
            "ratio": coverage(hours),
            "gpu_hours": [asdict(one) | {"hour": one.hour.isoformat()} for one in hours],
        },
        "total": asdict(books.total),
        "groups": [asdict(group) for group in books.groups],
        "unmetered": [asdict(group) for group in books.unmetered],
        "open_windows": [asdict(window) for window in books.open_windows],
        "transfers": {
            "pairs": books.transfers,
            "pairs_that_do_not_sum_to_zero": books.open_transfers,
            "moved_uj": books.transferred_uj,
        },
        "loads": [asdict(load) for load in loads],
        "own": [asdict(one) for one in own],
    }


def print_own_energy(own: Sequence[OwnEnergy]) -> None:
    """What wattledger itself drew: a line of its own, for it is estimated and in no account."""
    for one in own:
        click.echo(
            f"wattledger's own {one.role}s: {joules(one.energy_uj)} J in {one.cpu_s:,.1f} CPU seconds, estimated, "
            "in no account above"
        )


def print_coverage(hours: Sequence[GpuHour], *, by_gpu: bool = False) -> None:
    """How much of what the counters rose by is booked, and by GPU and hour what is not."""
    if not hours:
        return
    counted, booked = sum(one.counter_uj for one in hours), sum(one.booked_uj for one in hours)
    gpu_hours = sum(one.metered_ns for one in hours) / 3.6e12
    click.echo(
        f"coverage {coverage(hours):.6%}: {joules(booked)} J of {joules(counted)} J counted in "
        f"{gpu_hours:,.2f} GPU-hours are booked"
    )
    for one in hours:
        if by_gpu or one.unbooked_uj or one.doubled_uj or one.booked_uj != one.counter_uj:
            click.echo(
                f"  {one.hour:%Y-%m-%d %H:%M} {one.meter_id} of {one.group_id}: "
                f"counted {joules(one.counter_uj)} J, booked {joules(one.booked_uj)}, "
                f"between windows {joules(one.unbooked_uj)}, twice {joules(one.doubled_uj)}"
            )


def print_books(books: Books, loads: tuple[ColdStart, ...]) -> None:
    """The books as a table, every microjoule shown; what does not close, and what stays in cold start."""
    if not books.groups:
        click.echo("no windows in this interval")
        return
    click.echo(table_of_books(books))
    if books.unmetered:
        click.echo()
    for one in books.unmetered:
        click.echo(
            f"{one.group_id}: {joules(one.estimated_uj)} J in {one.estimated_windows:,} windows are estimated "
            f"(tier 2: no meter's data); {one.unmeasured_windows:,} windows have no figure (tier 0)"
        )
    if books.open_windows:
        click.echo(f"\n{books.total.open_windows} windows do not close:")
    for window in books.open_windows:
        start = datetime.fromtimestamp(window.start_ns / 1e9, UTC).isoformat(timespec="milliseconds")
        click.echo(
            f"  {window.group_id} {start} batch {window.batch_id} revision {window.revision}: "
            f"metered {window.metered_uj} µJ, batch says {window.stated_uj}, booked {window.booked_uj}, "
            f"ledger {window.ledger_uj} ({', '.join(window.why)})"
        )
    verdict = (
        "each sums to zero" if books.open_transfers == 0 else f"{books.open_transfers} do not sum to zero"
    )
    click.echo(
        f"\n{books.transfers} transfers moved {joules(books.transferred_uj)} J between accounts; {verdict}"
    )
    for load in loads:
        if load.unclaimed_uj:
            click.echo(
                f"  {load.kind} {load.load_id}: {joules(load.unclaimed_uj)} J of {joules(load.energy_uj)} J "
                f"stay in cold start ({load.reason}: {load.requests} of {load.amortised_over})"
            )
