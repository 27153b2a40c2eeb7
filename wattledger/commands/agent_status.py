"""`wattledger agent status`: which engines the agent hears, who computes on their GPUs, what waits for Kafka."""

import json
import socket
from pathlib import Path
from typing import Any, Final

import click

from schemas.errors import AgentUnavailable

__all__ = ["command"]

PATIENCE_S: Final = 5.0
"""The agent answers when it next looks at its meters, within a tenth of a second."""
CONTESTED: Final = 3
"""Exit status where a claim on a GPU is contested."""


@click.command("status")
@click.option(
    "--socket", "path", envvar="WATTLEDGER_SOCKET", type=click.Path(path_type=Path),
    default=Path("/run/wattledger/agent.sock"), show_default=True, help="Where the agent listens.",
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def command(path: Path, as_json: bool) -> None:
    """Ask this node's agent what it knows.

    A GPU is `confirmed` where NVML shows the engine's process on it, `shared` where processes of no engine compute
    beside it, `contradicted` where only others do, `unknown` where nothing can be said. Exit status 3 where a
    claim is shared or contradicted: that engine's requests pay for work that is not theirs.

    \b
    Example:
      wattledger agent status --json
    """
    found = ask(path)
    click.echo(json.dumps(found, indent=2) if as_json else written(found))
    if any(
        gpu["state"] in ("shared", "contradicted") for engine in found["engines"] for gpu in engine["gpus"]
    ):
        click.get_current_context().exit(CONTESTED)


def ask(path: Path) -> dict[str, Any]:
    """The agent's answer; AgentUnavailable says why there is none."""
    from producers import wire

    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as stream:
        stream.settimeout(PATIENCE_S)
        try:
            stream.connect(str(path))
            stream.sendall(wire.message(wire.Kind.STATUS, b""))
            reader = wire.MessageReader()
            while data := stream.recv(65536):
                for kind, body in reader.feed(data):
                    if kind is wire.Kind.STATUS:
                        answer: dict[str, Any] = json.loads(body)
                        return answer
        except OSError as error:
            raise AgentUnavailable(
                f"WATTLEDGER_SOCKET={path}: {error}; start `wattledger agent` on this node, or name its socket"
            ) from error
    raise AgentUnavailable(
        f"WATTLEDGER_SOCKET={path}: the agent hung up; it lets in the users of WATTLEDGER_AGENT_UIDS"
    )


def written(found: dict[str, Any]) -> str:
    """For people."""
    lines = [
        f"node {found['node']}: {found['spool_messages']} messages wait for Kafka "
        f"({found['spool_bytes'] / 1e6:.1f} MB, the oldest {found['spool_oldest_s']:.0f} s), "
        f"{found['published_messages']} published"
    ]
    for engine in found["engines"]:
        state = engine["hook_off"] and f"hook off: {engine['hook_off']}"
        state = state or ("connected" if engine["connected"] else "gone, keeps its GPUs for the grace")
        lines.append(f"  {engine['engine_id']} ({engine['software']}, process {engine['pid']}): {state}")
        for gpu in engine["gpus"]:
            others = ", ".join(map(str, gpu["strangers"]))
            lines.append(
                f"    {gpu['gpu_uuid']}  {gpu['state']}" + (f", also process {others}" if others else "")
            )
    lines += [
        f"  {meter['gpu_uuid']} cannot be read: {meter['error']}"
        for meter in found["meters"]
        if meter["error"]
    ]
    return "\n".join(lines)
