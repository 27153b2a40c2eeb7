"""`wattledger dead-letters`: what could not be booked, why, and once that is mended, again."""

import json
import re
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from schemas.errors import DataError
from schemas.signatures import load_signing_key, signer, unsigned
from streams.ledger.client import connect
from streams.ledger.dead_letters import Letter, count_letters, find_letters
from streams.ledger.migrations import require_current
from streams.ledger.sink import ClickHouseSink
from streams.worker.replay import replay_letters
from wattledger import settings as settings_module
from wattledger.commands.books import Instant

__all__ = ["command"]


@click.group("dead-letters")
def command() -> None:
    """List, show and publish again the messages that could not be booked.

    Nothing that a worker refuses is dropped: the original bytes are in the ledger's table `dead_letters` and on
    the topic wattledger.dead-letters.v1, with the reason.

    \b
    Example:
      wattledger dead-letters list
      wattledger dead-letters show wattledger.iterations.v1/17/88120
      wattledger dead-letters replay --reason unknown_engine
    """


def _filters(function: Any) -> Any:
    function = click.option("--topic", default="", help="Only those of this topic.")(function)
    function = click.option("--reason", default="", help="Only those with this reason, such as malformed.")(
        function
    )
    return click.option(
        "--since", "from_ns", type=Instant(), default=0, help="Only later ones (ISO 8601, UTC)."
    )(function)


@command.command("list")
@_filters
@click.option(
    "--most", type=click.IntRange(1, 100_000), default=50, show_default=True, help="Letters listed."
)
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def list_letters(topic: str, reason: str, from_ns: int, most: int, as_json: bool) -> None:
    """Count them by topic and reason, and list the first ones with their positions."""
    client = connect(settings_module.load().clickhouse)
    try:
        require_current(client)
        groups = count_letters(client, from_ns=from_ns)
        letters = find_letters(client, topic=topic, reason=reason, from_ns=from_ns, most=most)
    finally:
        client.close()
    if as_json:
        document = {
            "groups": [asdict(group) for group in groups],
            "letters": [_document(one) for one in letters],
        }
        click.echo(json.dumps(document, indent=2, default=str))
        return
    for group in groups:
        click.echo(f"{group.count:>8}  {group.topic}  {group.reason}: {group.example}")
    if not groups:
        click.echo("no dead letters")
    for letter in letters:
        moment = f"{letter.arrived_at:%Y-%m-%d %H:%M:%S}"
        again = f"  published again {letter.replays}x" if letter.replays else ""
        click.echo(f"{moment}  {letter.position}  {letter.reason}: {letter.detail}{again}")


@command.command("show")
@click.argument("position")
@click.option("--payload", "as_payload", is_flag=True, help="Write the original bytes, and nothing else.")
def show(position: str, as_payload: bool) -> None:
    """Show one by its POSITION, topic/partition/offset, with its bytes in hexadecimal.

    \b
    Example:
      wattledger dead-letters show wattledger.iterations.v1/17/88120
      wattledger dead-letters show wattledger.iterations.v1/17/88120 --payload > frame.bin
    """
    match = re.fullmatch(r"(.+)/(\d+)/(\d+)", position)
    if match is None:
        raise click.BadParameter(f"{position!r} is no topic/partition/offset", param_hint="POSITION")
    client = connect(settings_module.load().clickhouse)
    try:
        require_current(client)
        found = find_letters(client, topic=match[1], position=(int(match[2]), int(match[3])))
    finally:
        client.close()
    if not found:
        raise DataError(f"{position} is no dead letter; `wattledger dead-letters list` shows positions")
    letter = found[0]
    if as_payload:
        click.get_binary_stream("stdout").write(letter.payload)
        return
    click.echo(json.dumps(_document(letter) | {"payload": letter.payload.hex()}, indent=2, default=str))


@command.command("replay")
@_filters
@click.option("--again", is_flag=True, help="Also those that were published again before.")
@click.option("--dry-run", is_flag=True, help="Say how many, and publish nothing.")
@click.option(
    "--node-key",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Sign them with this key, which the registry must allow: where workers ask for signatures.",
)
def replay(topic: str, reason: str, from_ns: int, again: bool, dry_run: bool, node_key: Path | None) -> None:
    """Publish them again, byte for byte, to their own topic, once what was wrong is mended.

    Safe to repeat: what was published again is remembered, and a frame that was booked before changes nothing.
    A frame whose window is sealed comes late, and `wattledger repair` (or a worker) restates its batch.
    """
    settings = settings_module.load()
    client = connect(settings.clickhouse)
    done = 0
    sign = signer(load_signing_key(node_key)) if node_key is not None else unsigned
    try:
        require_current(client)
        # What was published is remembered, so each look finds the rest.
        while letters := find_letters(client, topic=topic, reason=reason, from_ns=from_ns, replayed=again):
            if dry_run:
                click.echo(f"would publish {len(letters)} messages again")
                return
            done += replay_letters(settings.require_kafka(), ClickHouseSink(client), letters, sign)
            if again:
                break
    finally:
        client.close()
    click.echo(f"published {done} messages again")


def _document(letter: Letter) -> dict[str, Any]:
    return {
        "position": letter.position,
        "key": letter.key.decode("utf-8", "replace"),
        "reason": letter.reason,
        "detail": letter.detail,
        "arrived_at": letter.arrived_at.isoformat(),
        "bytes": len(letter.payload),
        "replays": letter.replays,
    }
