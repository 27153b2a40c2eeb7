"""`wattledger repair`: restate what late frames and returned counters change, from the topics."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from schemas.errors import WattledgerError
from streams.ledger.causes import Cause, open_causes
from streams.ledger.client import connect
from streams.ledger.migrations import require_current
from streams.ledger.query import rows_of
from streams.ledger.sink import ClickHouseSink
from streams.side_inputs import SideInputs
from streams.split import SplitRules
from streams.trust import Check, open_trust
from streams.windows import WindowRules
from streams.worker.dead_letters import bury_in
from streams.worker.repairing import BEYOND_RETENTION, Repaired, Repairs, repair
from streams.worker.side_reader import SideReader
from streams.worker.topic_ranges import TopicRanges
from wattledger import settings as settings_module
from wattledger.commands.books import Instant

__all__ = ["command"]

MOST_ROUNDS = 5
"""A repair that moves an edge asks for its neighbour's; more rounds than this do not end."""


@click.command("repair")
@click.option("--group", "group_id", help="Recompute this metering group; with --from and --to.")
@click.option("--from", "from_ns", type=Instant(), default=None, help="First event time (ISO 8601, UTC).")
@click.option("--to", "to_ns", type=Instant(), default=None, help="End of the interval.")
@click.option(
    "--window",
    "window_s",
    type=click.FloatRange(1.0, 3600.0),
    default=5.0,
    show_default=True,
    help="The workers' --window: where the grid lies for time that no batch holds yet.",
)
@click.option(
    "--require-signatures",
    "node_registry",
    envvar="WATTLEDGER_NODE_REGISTRY",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    default=None,
    help="Registry of nodes' keys, as the workers have it.",
)
@click.option("--dry-run", is_flag=True, help="Say what would be written, and write nothing.")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@click.pass_context
def command(
    ctx: click.Context,
    group_id: str | None,
    from_ns: int | None,
    to_ns: int | None,
    window_s: float,
    node_registry: Path | None,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Restate batches whose frames came late, or between whose neighbours a counter went on unseen.

    Without options, all that is recorded and not dealt with; workers do the same by themselves, every minute.
    The frames are read from the topics again, and each batch is booked with the energy model it was booked
    with. What comes out equal writes nothing; else the batch's next revision is complete, and `batches` says
    why. Exits 1 where a frame that is needed is beyond the topic's retention: such energy stays as it is.

    \b
    Example:
      wattledger repair
      wattledger repair --group eu-1/node-07/llama-8b-0 --from 2026-03-01T12:00 --to 2026-03-01T13:00 --dry-run
    """
    asked = [name for name in (group_id, from_ns, to_ns) if name is not None]
    if asked and len(asked) < 3:
        raise click.UsageError("--group, --from and --to belong together: give all three, or none")
    settings = settings_module.load()
    rules = WindowRules(window_ns=round(window_s * 1e9))
    kafka = settings.require_kafka()
    check = open_trust(node_registry)
    client = connect(settings.clickhouse)
    ranges = TopicRanges(kafka, check)
    try:
        require_current(client)
        sink = ClickHouseSink(client)
        side = _side_inputs(kafka, sink, check)
        needs = Repairs(client, sink, ranges.read, side, rules, SplitRules())
        done: list[Repaired] = []
        if group_id is not None and from_ns is not None and to_ns is not None:
            done += repair(needs, [_asked(needs, group_id, from_ns, to_ns)], write=not dry_run)
        else:
            for _ in range(1 if dry_run else MOST_ROUNDS):
                causes = open_causes(client, from_ns=0, window_ns=rules.window_ns, patience_s=0)
                if not causes:
                    break
                done += repair(needs, causes, write=not dry_run)
    finally:
        ranges.close()
        client.close()
    if as_json:
        click.echo(json.dumps([_document(one) for one in done], indent=2))
    else:
        _print(done, dry_run=dry_run)
    ctx.exit(1 if any(one.outcome == BEYOND_RETENTION for one in done) else 0)


def _side_inputs(kafka: str, sink: ClickHouseSink, check: Check) -> SideInputs:
    side = SideInputs()
    reader = SideReader(kafka, side, bury_in(sink), check)
    try:
        reader.refresh()
    finally:
        reader.close()
    return side


def _asked(needs: Repairs, group_id: str, from_ns: int, to_ns: int) -> Cause:
    query = "SELECT max(topic_partition), count() FROM batches WHERE group_id = {group_id:String}"
    found = rows_of(needs.client, query, {"group_id": group_id})
    partition, batches = found[0]
    if not batches:
        raise WattledgerError(
            f"the ledger has no batch of group {group_id!r}; `wattledger books` lists groups"
        )
    return Cause("", "asked", group_id, int(partition), from_ns, to_ns)


def _print(done: list[Repaired], *, dry_run: bool) -> None:
    if not done:
        click.echo("nothing came late")
    for one in done:
        start, end = (
            datetime.fromtimestamp(ns / 1e9, UTC).isoformat(timespec="milliseconds")
            for ns in (one.from_ns, one.to_ns)
        )
        written = f"{len(one.batches)} batches {'would be ' if dry_run else ''}written"
        click.echo(f"{one.group_id} {start} to {end}: {one.outcome}, {written}")


def _document(one: Repaired) -> dict[str, Any]:
    return {
        "group_id": one.group_id,
        "from_ns": one.from_ns,
        "to_ns": one.to_ns,
        "causes": [cause.kind for cause in one.causes],
        "outcome": one.outcome,
        "batches": [
            {
                "batch_id": batch.batch_id,
                "revision": batch.revision,
                "start_ns": batch.start_ns,
                "end_ns": batch.end_ns,
                "metered_uj": batch.metered_uj,
                "closed_by": batch.closed_by,
            }
            for batch in one.batches
        ],
    }
