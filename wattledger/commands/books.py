"""`wattledger books`: show that every joule the meters counted stands in exactly one account."""

import json
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

import click

from streams.ledger.books import END_OF_TIME_NS, Books, joules, read_books, table_of_books
from streams.ledger.client import connect
from streams.ledger.migrations import require_current
from streams.ledger.transfers import ColdStart, cold_start_balance
from wattledger import settings

__all__ = ["command", "print_books"]


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
@click.option("--json", "as_json", is_flag=True, help="For programs: exact microjoules.")
@click.pass_context
def command(ctx: click.Context, from_ns: int, to_ns: int, as_json: bool) -> None:
    """Show that metered = request + idle + cold start + overhead + unobserved, per group and in total.

    The meter is recomputed from the raw readings in exact integers, and compared with the accounts of every
    window and with the sum of its ledger rows. Exits 1 where a window does not close to the microjoule, or a
    transfer does not sum to zero; 2 where the database cannot be read.

    \b
    Example:
      wattledger books
      wattledger books --from 2026-03-01 --to 2026-04-01 --json
    """
    client = connect(settings.load().clickhouse)
    try:
        require_current(client)
        books = read_books(client, from_ns=from_ns, to_ns=to_ns)
        loads = cold_start_balance(client)
    finally:
        client.close()
    if as_json:
        click.echo(json.dumps(_document(books, loads), indent=2))
    else:
        print_books(books, loads)
    ctx.exit(0 if books.closes else 1)


def _document(books: Books, loads: tuple[ColdStart, ...]) -> dict[str, Any]:
    return {
        "closes": books.closes,
        "total": asdict(books.total),
        "groups": [asdict(group) for group in books.groups],
        "open_windows": [asdict(window) for window in books.open_windows],
        "transfers": {
            "pairs": books.transfers,
            "pairs_that_do_not_sum_to_zero": books.open_transfers,
            "moved_uj": books.transferred_uj,
        },
        "loads": [asdict(load) for load in loads],
    }


def print_books(books: Books, loads: tuple[ColdStart, ...]) -> None:
    """The books as a table, every microjoule shown; what does not close, and what stays in cold start."""
    if not books.groups:
        click.echo("no windows in this interval")
        return
    click.echo(table_of_books(books))
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
