"""`wattledger doctor`: whether this installation is well, and if not, what to do."""

import json
import socket
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Final

import click

from schemas.errors import ConfigurationError
from schemas.kafka_address import servers_of
from schemas.topics import ENERGY, ENGINES, ITERATIONS, LOADS
from wattledger import settings as settings_module
from wattledger.doctor.contract import Finding, Status, failed, fine, skipped, warned
from wattledger.settings import Settings

__all__ = ["command"]

AGENT_TOPICS: Final = (ITERATIONS, ENERGY, LOADS, ENGINES)
MARKS: Final = {Status.OK: "ok  ", Status.WARNING: "warn", Status.FAILED: "FAIL", Status.SKIPPED: "skip"}


@click.command("doctor")
@click.option("--agent", is_flag=True, help="Check a GPU node: meters, files, key, Kafka. Needs no database.")
@click.option(
    "--worker", is_flag=True, help="Check what a worker needs: Kafka, topics, database, frames, books."
)
@click.option("--api", is_flag=True, help="Check what the API needs: database, books, signing keys.")
@click.option(
    "--listen",
    "listen_s",
    type=click.FloatRange(0.0, 600.0),
    default=5.0,
    show_default=True,
    help="Seconds to listen for frames; 0 leaves frames and clocks out.",
)
@click.option(
    "--spool", type=click.Path(path_type=Path), envvar="WATTLEDGER_SPOOL", help="The agent's spool."
)
@click.option(
    "--socket", "socket_path", type=click.Path(path_type=Path), envvar="WATTLEDGER_SOCKET", help="Its socket."
)
@click.option(
    "--node-key", type=click.Path(path_type=Path), envvar="WATTLEDGER_NODE_KEY", help="The key it signs with."
)
@click.option(
    "--require-signatures",
    "node_registry",
    type=click.Path(path_type=Path),
    envvar="WATTLEDGER_NODE_REGISTRY",
    help="The registry of nodes' keys that workers have.",
)
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@click.pass_context
def command(
    ctx: click.Context,
    agent: bool,
    worker: bool,
    api: bool,
    listen_s: float,
    spool: Path | None,
    socket_path: Path | None,
    node_key: Path | None,
    node_registry: Path | None,
    as_json: bool,
) -> None:
    """Check a live installation from the inside; each failed check says what to do.

    Without a role it checks what a worker and the API need. It reads only: no topic, table or setting is changed.
    Exit status 0: well, perhaps with warnings; 1: a check failed.

    \b
    Example:
      wattledger doctor
      wattledger doctor --agent          # on a GPU node, as the agent's user
      wattledger doctor --worker --json | jq '.findings[] | select(.status != "ok")'
    """
    known = settings_module.load()
    findings: list[Finding] = []
    if not as_json:
        for name, value in shown(known).items():
            click.echo(f"     {name} = {value}")
    stream = _all_checks(
        known,
        agent=agent,
        worker=worker or not (agent or api),
        api=api or not (agent or worker),
        listen_s=listen_s,
        files=(spool, socket_path, node_key, node_registry),
    )
    for finding in stream:
        findings.append(finding)
        if not as_json:
            click.echo(f"{MARKS[finding.status]} {finding.name}: {finding.detail}")
            if finding.fix:
                click.echo(f"     → {finding.fix}")
    if as_json:
        document = {"settings": shown(known), "findings": [asdict(finding) for finding in findings]}
        click.echo(json.dumps(document, indent=2))
    ctx.exit(1 if any(finding.status is Status.FAILED for finding in findings) else 0)


def shown(known: Settings) -> dict[str, str]:
    """The settings as found, without secrets."""
    # Imported here: a GPU node has no ClickHouse client.
    from urllib.parse import urlsplit

    parts = urlsplit(known.clickhouse)
    place = f"{parts.scheme}://{parts.hostname or ''}{f':{parts.port}' if parts.port else ''}{parts.path}"
    return {
        "kafka": servers_of(known.kafka) if known.kafka else "(not set)",
        "clickhouse": place,
        "clickhouse_cluster": known.clickhouse_cluster or "(one server)",
        "signing_keys": known.signing_keys,
        "issuer": known.issuer,
        "base_url": known.base_url,
        "log_format": known.log_format,
    }


def _all_checks(
    known: Settings,
    *,
    agent: bool,
    worker: bool,
    api: bool,
    listen_s: float,
    files: tuple[Path | None, Path | None, Path | None, Path | None],
) -> Iterator[Finding]:
    spool, socket_path, node_key, node_registry = files
    if agent:
        yield from _node(spool, socket_path, node_key)
    if agent or worker:
        yield from _kafka(known, None if worker else AGENT_TOPICS, listen_s)
    if worker and node_registry is not None:
        yield from _registry(node_registry)
    if worker or api:
        from wattledger.doctor.ledger import database_findings

        yield from database_findings(known.clickhouse)
    if api:
        yield from _signing_keys(Path(known.signing_keys))


def _node(spool: Path | None, socket_path: Path | None, node_key: Path | None) -> Iterator[Finding]:
    from producers.agent.settings import AgentSettings
    from wattledger.doctor.node import file_findings, key_findings, meter_findings

    default = AgentSettings(kafka="")
    settings = AgentSettings(
        kafka="",
        node=socket.gethostname(),
        spool=spool or default.spool,
        socket=socket_path or default.socket,
    )
    yield from meter_findings(settings)
    yield from file_findings(settings)
    yield from key_findings(node_key)


def _kafka(known: Settings, topics: tuple[str, ...] | None, listen_s: float) -> Iterator[Finding]:
    from confluent_kafka import KafkaException

    from wattledger.doctor.broker import broker_findings, topic_findings
    from wattledger.doctor.stream import clock_findings, frame_findings, listen

    try:
        kafka = known.require_kafka()
    except ConfigurationError:
        yield failed("broker", "none is set", "set WATTLEDGER_KAFKA=host:port")
        return
    there = list(broker_findings(kafka))
    yield from there
    if any(finding.status is Status.FAILED for finding in there):
        return
    states = list(topic_findings(kafka, topics))
    yield from states
    if any(finding.detail == "missing" for finding in states) or not listen_s:
        yield skipped("frames", "topics are missing" if listen_s else "not listened for")
        return
    try:
        heard = listen(kafka, listen_s)
    except KafkaException as error:
        yield failed("frames", error.args[0].str(), "grant READ on wattledger.* (docs/security.md)")
        return
    yield from frame_findings(heard)
    yield from clock_findings(heard)


def _registry(path: Path) -> Iterator[Finding]:
    from streams.trust import load_registry

    try:
        found = load_registry(path)
    except ConfigurationError as error:
        yield failed(
            "registry of nodes", str(error), "`wattledger nodes check` says the same; mend the entry"
        )
        return
    nodes = {key.node for key in found.keys.values()}
    yield fine("registry of nodes", f"{len(found.keys)} keys of {len(nodes)} nodes")


def _signing_keys(folder: Path) -> Iterator[Finding]:
    if any(folder.glob("*.jwk")):
        yield fine("receipt keys", f"in {folder}")
    else:
        yield warned(
            "receipt keys", f"none in {folder}", "the API makes one at its start: mount a volume there"
        )
