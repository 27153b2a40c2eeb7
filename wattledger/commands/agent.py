"""`wattledger agent`: measure this node's GPUs and host, take its engines' frames, publish both."""

import gc
import logging
import os
import secrets
import signal
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from wattledger import settings as settings_module
from wattledger.commands import agent_status
from wattledger.logs import begin_logging

if TYPE_CHECKING:
    from producers.meters.host import HostPower

__all__ = ["command"]

GC_ALLOCATIONS: Final = 20_000
"""Between looks for cycles: frames make thousands of objects a second, and none of them is in one."""
HOST_MODES: Final = ("auto", "rapl", "parametric", "off")


@click.group("agent", invoke_without_command=True)
@click.option(
    "--cluster",
    envvar="WATTLEDGER_CLUSTER",
    default="default",
    show_default=True,
    help="First part of every engine's id.",
)
@click.option(
    "--node",
    envvar="WATTLEDGER_NODE",
    default=socket.gethostname,
    help="Second part; the host's name by default.",
)
@click.option("--zone", envvar="WATTLEDGER_ZONE", default="", help="Grid zone, such as DE or US-CAL-CISO.")
@click.option(
    "--site", envvar="WATTLEDGER_SITE", default="", help="Data centre: chooses PUE and water figures."
)
@click.option(
    "--socket", "socket_path", envvar="WATTLEDGER_SOCKET", type=click.Path(path_type=Path),
    default=Path("/run/wattledger/agent.sock"), show_default=True, help="Where engines find the agent.",
)  # fmt: skip
@click.option(
    "--socket-mode",
    envvar="WATTLEDGER_SOCKET_MODE",
    default="660",
    show_default=True,
    help="Its permissions, octal.",
)
@click.option(
    "--socket-gid", envvar="WATTLEDGER_SOCKET_GID", type=int, default=-1, help="Its group, by number."
)
@click.option(
    "--uids", envvar="WATTLEDGER_AGENT_UIDS", default="",
    help="Users whose engines are let in, comma-separated; `any` for all. Default: root and the agent's own.",
)  # fmt: skip
@click.option(
    "--spool", envvar="WATTLEDGER_SPOOL", type=click.Path(path_type=Path),
    default=Path("/var/lib/wattledger/spool.db"), show_default=True, help="What waits for Kafka.",
)  # fmt: skip
@click.option(
    "--spool-bytes", envvar="WATTLEDGER_SPOOL_BYTES", type=click.IntRange(1 << 20), default=2 << 30,
    show_default=True, help="Its limit; beyond it the oldest iteration detail goes first, energy last.",
)  # fmt: skip
@click.option(
    "--host", envvar="WATTLEDGER_HOST_METER", type=click.Choice(HOST_MODES), default="auto", show_default=True,
    help="The host's energy: by RAPL, by a model (marked parametric), or not at all.",
)  # fmt: skip
@click.option(
    "--host-power", envvar="WATTLEDGER_HOST_POWER", default="0.74,3.5,0.392", show_default=True,
    help="The model's watts: per hardware thread idle, per thread busy, per GB of memory.",
)  # fmt: skip
@click.option(
    "--node-key", envvar="WATTLEDGER_NODE_KEY", type=click.Path(path_type=Path), default=None,
    help="Private key (PEM) that signs what is published: wattledger nodes key. Without one nothing is signed.",
)  # fmt: skip
@click.option(
    "--metrics-port",
    envvar="WATTLEDGER_METRICS_PORT",
    type=click.IntRange(0, 65535),
    default=9477,
    show_default=True,
    help="Prometheus endpoint; 0 for none.",
)
@click.pass_context
def command(
    context: click.Context,
    cluster: str,
    node: str,
    zone: str,
    site: str,
    socket_path: Path,
    socket_mode: str,
    socket_gid: int,
    uids: str,
    spool: Path,
    spool_bytes: int,
    host: str,
    host_power: str,
    node_key: Path | None,
    metrics_port: int,
) -> None:
    """Measure this node's GPUs and host, take its engines' frames, publish both to Kafka.

    One per GPU node. Whatever is down downstream waits on disk; engines never wait for the agent. Kafka comes
    from WATTLEDGER_KAFKA.

    \b
    Example:
      WATTLEDGER_KAFKA=broker:9092 wattledger agent --cluster prod --zone DE --uids any
      wattledger agent status
    """
    if context.invoked_subcommand is not None:
        return
    # Imported here, so that --help needs neither NVML nor Kafka.
    from producers.agent.metrics import Metrics
    from producers.agent.node import open_node
    from producers.agent.publisher import Publisher
    from producers.agent.service import Agent
    from producers.agent.settings import AgentSettings
    from producers.agent.spool import Spool
    from producers.clock import UnixClock
    from schemas.metrics.endpoint import serve_endpoint
    from schemas.metrics.instruments import new_registry
    from schemas.signatures import load_signing_key, signer, unsigned

    found = settings_module.load()
    begin_logging(found.log_format, logging.INFO)
    settings = AgentSettings(
        kafka=found.require_kafka(),
        cluster=cluster,
        node=node,
        zone=zone,
        site=site,
        socket=socket_path,
        socket_mode=octal(socket_mode),
        socket_gid=socket_gid,
        uids=users(uids),
        spool=spool,
        spool_bytes=spool_bytes,
        host=host,
        host_power=watts(host_power),
        metrics_port=metrics_port,
    )
    sign = signer(load_signing_key(node_key)) if node_key is not None else unsigned
    stopped: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda caught, _: stopped.append(caught))
    clock = UnixClock()
    life = f"{clock.now()}-{secrets.token_hex(4)}"
    kept = Spool(settings.spool, settings.spool_bytes)
    registry = new_registry()
    agent = Agent(
        settings,
        open_node(settings, clock.now, life=life, kept=kept.fact("epochs", {})),
        kept,
        Publisher(kept, settings.kafka, sign=sign),
        Metrics(registry),
        clock=clock,
        life=life,
    )
    if metrics_port:
        serve_endpoint(metrics_port, registry, live=agent.live, ready=agent.ready)
    # What was imported stays: the collector need not look through it again twice a minute.
    gc.collect()
    gc.freeze()
    gc.set_threshold(GC_ALLOCATIONS)
    agent.run(lambda: bool(stopped))
    kept.close()


command.add_command(agent_status.command)


def watts(text: str) -> "HostPower":
    """Three numbers, none negative."""
    from producers.meters.host import HostPower

    try:
        idle, busy, memory = (float(part) for part in text.split(","))
    except ValueError:
        raise click.BadParameter(
            f"{text!r}: three numbers, such as 0.74,3.5,0.392", param_hint="--host-power"
        ) from None
    if min(idle, busy - idle, memory) < 0:
        raise click.BadParameter(f"{text!r}: 0 <= idle <= busy, and memory >= 0", param_hint="--host-power")
    return HostPower(idle, busy, memory)


def octal(text: str) -> int:
    """Permissions such as 660."""
    try:
        return int(text, 8)
    except ValueError:
        raise click.BadParameter(f"{text!r} is not octal, such as 660", param_hint="--socket-mode") from None


def users(text: str) -> frozenset[int]:
    """User ids; empty for any user."""
    if text.strip() == "any":
        return frozenset()
    try:
        return frozenset(int(part) for part in text.split(",") if part.strip()) or frozenset({0, os.getuid()})
    except ValueError:
        raise click.BadParameter(
            f"{text!r}: numbers separated by commas, or `any`", param_hint="--uids"
        ) from None
