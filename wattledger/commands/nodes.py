"""`wattledger nodes`: make the key that a node signs with, and check the registry of keys that workers trust."""

import json
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import click

from schemas.errors import ConfigurationError
from schemas.signatures import load_signing_key, new_signing_key, public_bytes
from streams.trust import END_OF_TIME_NS, NodeKey, load_registry, stanza

__all__ = ["command"]

DAY_NS = 86_400 * 1_000_000_000


@click.group("nodes")
def command() -> None:
    """Keys with which nodes sign what they publish, and the registry of those that workers trust.

    \b
    Example:
      wattledger nodes key node.pem --node prod/node-07 >> nodes.toml
      wattledger nodes check nodes.toml
      wattledger agent --node-key node.pem
      wattledger worker --require-signatures nodes.toml
    """


@command.command("key")
@click.argument("path", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--node", required=True, help="cluster/node, as its engines' ids begin.")
@click.option(
    "--group",
    "groups",
    multiple=True,
    help="Kafka key it may write, * for any text; default: all under its node.",
)
@click.option(
    "--days", type=click.FloatRange(0.0, min_open=True), help="Valid for so long; for ever by default."
)
@click.option("--existing", is_flag=True, help="PATH holds a key already: only print its entry.")
def key(path: Path, node: str, groups: Sequence[str], days: float | None, existing: bool) -> None:
    """Make a private key in PATH and print its entry for the registry.

    PATH stays on the node. The entry is public: append it to the registry, which workers read again by themselves.
    To rotate, make another key, append its entry, restart the agent with it, and give the old entry a valid_until:
    entries stay, for messages signed with them may be read again.

    \b
    Example:
      wattledger nodes key /etc/wattledger/node.pem --node prod/node-07 --days 400 >> nodes.toml
    """
    if node.count("/") < 1:
        raise click.BadParameter(f"{node!r} must be cluster/node", param_hint="--node")
    private = load_signing_key(path) if existing else new_signing_key(path)
    now_ns = time.time_ns() // DAY_NS * DAY_NS
    until_ns = END_OF_TIME_NS if days is None else time.time_ns() + round(days * DAY_NS)
    chosen = tuple(groups) or (f"{node}/*",)
    whole_s = until_ns // 1_000_000_000 * 1_000_000_000 if days is not None else until_ns
    click.echo(stanza(NodeKey(node, public_bytes(private), now_ns, whole_s, chosen)))


@command.command("check")
@click.argument("registry", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@click.pass_context
def check(ctx: click.Context, registry: Path, as_json: bool) -> None:
    """Read the registry as a worker does; exit status 1 where a node has no key in force now.

    \b
    Example:
      wattledger nodes check nodes.toml
    """
    keys = load_registry(registry).keys.values()
    if not keys:
        raise ConfigurationError(f"{registry} lists no key: append what `wattledger nodes key` prints")
    now_ns = time.time_ns()
    live = {key.node for key in keys if key.from_ns <= now_ns < key.until_ns}
    if as_json:
        rows = [
            {
                "node": key.node,
                "key_id": key.key_id,
                "groups": list(key.groups),
                "in_force": key.from_ns <= now_ns < key.until_ns,
            }
            for key in keys
        ]
        click.echo(json.dumps(rows, indent=2))
    else:
        for key in keys:
            until = "for ever" if key.until_ns >= END_OF_TIME_NS else f"until {_day(key.until_ns)}"
            click.echo(
                f"{key.key_id}  {key.node:<30} from {_day(key.from_ns)} {until}  {', '.join(key.groups)}"
            )
    dead = sorted({key.node for key in keys} - live)
    for node in dead:
        click.echo(f"{node} has no key in force: its messages go to the dead letters", err=True)
    ctx.exit(1 if dead else 0)


def _day(at_ns: int) -> str:
    return datetime.fromtimestamp(at_ns / 1e9, UTC).strftime("%Y-%m-%d %H:%M")
