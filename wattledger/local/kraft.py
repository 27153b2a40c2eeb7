"""One or three Apache Kafka brokers as child processes: KRaft mode, free loopback ports, temporary data."""

import logging
import os
import subprocess
import tempfile
import time
import uuid
from base64 import urlsafe_b64encode
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from schemas.errors import BrokerUnavailable
from wattledger.local.kafka_jars import java, kafka_jars
from wattledger.local.probe import answering_brokers
from wattledger.local.processes import end, free_ports, kill, spawn

__all__ = ["Cluster", "cluster"]

START_TIMEOUT_S: Final = 60.0
"""A broker answers after about three seconds on two idle cores; a loaded machine takes several times that."""
START_ATTEMPTS: Final = 3
"""Another process may take a port between our choosing it and Kafka binding it; then new ports are tried."""
JVM: Final = ("-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Djava.awt.headless=true")
"""A small heap and the quick compiler: the start and the neighbours' memory matter here, not throughput."""

LOGGING: Final = """\
rootLogger.level=WARN
rootLogger.appenderRef.console.ref=console
appender.console.type=Console
appender.console.name=console
appender.console.layout.type=PatternLayout
appender.console.layout.pattern=%d{ISO8601} %p %c{1} %m%n
"""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Node:
    """One broker (and controller): its files, its port and how it is started."""

    number: int
    port: int
    directory: Path
    command: tuple[str, ...]

    @property
    def address(self) -> str:
        """Where clients reach it."""
        return f"127.0.0.1:{self.port}"

    @property
    def log_path(self) -> Path:
        """What the broker printed."""
        return self.directory / "broker.log"

    def start(self) -> subprocess.Popen[bytes]:
        """Start the process; it does not answer yet."""
        with self.log_path.open("ab") as output:
            return spawn(self.command, output=output, remove=self.directory.parent)


@dataclass(frozen=True, slots=True)
class Cluster:
    """Running brokers, numbered from 0; made by `cluster`, which also ends them."""

    nodes: tuple[Node, ...]
    processes: dict[int, subprocess.Popen[bytes]] = field(default_factory=dict)

    @property
    def bootstrap(self) -> str:
        """Addresses of every broker, for `bootstrap.servers`."""
        return ",".join(node.address for node in self.nodes)

    @property
    def pids(self) -> tuple[int, ...]:
        """Process groups of the brokers that run."""
        return tuple(process.pid for process in self.processes.values())

    def start_all(self) -> None:
        """Start every broker and wait until all of them answer."""
        for node in self.nodes:
            self.processes[node.number] = node.start()
        self._wait_until_answering()

    def kill(self, number: int) -> None:
        """End broker `number` as a crash would (SIGKILL); its data stays."""
        kill(self.processes.pop(number))

    def stop(self, number: int) -> None:
        """Shut broker `number` down in order: it hands its partitions over first."""
        end(self.processes.pop(number))

    def restart(self, number: int) -> None:
        """Start broker `number` again on its data and port (ending it if it runs); wait until it answers."""
        if number in self.processes:
            self.stop(number)
        self.processes[number] = self.nodes[number].start()
        self._wait_until_answering()

    def end_all(self) -> None:
        """End every broker; nothing is left behind."""
        for process in self.processes.values():
            kill(
                process
            )  # the data is thrown away with the directory: an orderly shutdown would only cost time
        self.processes.clear()

    def _wait_until_answering(self) -> None:
        """Return when as many brokers as run are known to the cluster and take requests."""
        deadline = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline:
            for number, process in self.processes.items():
                if process.poll() is not None:
                    raise BrokerUnavailable(
                        _why(self.nodes[number], f"ended with status {process.returncode}")
                    )
            # Each by its own address: what the others say of a broker may be older than its crash.
            running = [self.nodes[number] for number in self.processes]
            ports = {node.port for node in running}
            if all(ports <= answering_brokers(node.address, timeout_s=1.0) for node in running):
                return
            time.sleep(0.05)
        number = next(iter(self.processes))
        raise BrokerUnavailable(_why(self.nodes[number], f"did not answer within {START_TIMEOUT_S:.0f} s"))


@contextmanager
def cluster(
    brokers: int = 1,
    *,
    env: Mapping[str, str] = os.environ,
    properties: Mapping[str, str] | None = None,
    format_arguments: Sequence[str] = (),
) -> Iterator[Cluster]:
    """Run `brokers` Kafka brokers for the duration of the block.

    properties: the brokers' own, over ours; `{port}` and `{controller}` in one stand for the node's two ports.
    format_arguments: more for the storage tool, such as users that exist from the start (`--add-scram`).

    Raises BrokerUnavailable with what was tried: no Java, no Maven, or a broker that does not start.
    """
    if brokers not in (1, 3):
        raise ValueError(
            f"brokers is {brokers}: a local cluster has 1 or 3 (a quorum of 2 tolerates no failure)"
        )
    path, jars = java(env), kafka_jars(env)
    with ExitStack() as stack:
        for attempt in range(1, START_ATTEMPTS + 1):
            directory = stack.enter_context(
                tempfile.TemporaryDirectory(prefix="wattledger-kafka-", ignore_cleanup_errors=True)
            )
            more = More(dict(properties or {}), tuple(format_arguments))
            running = Cluster(_prepare(brokers, Path(directory), (path, *JVM), jars, more))
            stack.callback(running.end_all)
            try:
                running.start_all()
                break
            except BrokerUnavailable:
                taken = any(b"Address already in use" in node.log_path.read_bytes() for node in running.nodes)
                if attempt == START_ATTEMPTS or not taken:
                    raise
                running.end_all()
        yield running


@dataclass(frozen=True, slots=True)
class More:
    """What a caller adds to a cluster's configuration."""

    properties: Mapping[str, str]
    format_arguments: tuple[str, ...]


def _prepare(
    brokers: int, directory: Path, java_command: tuple[str, ...], jars: Path, more: More
) -> tuple[Node, ...]:
    """Write every broker's properties and format its storage."""
    (directory / "log4j2.properties").write_text(LOGGING)
    logging_option = f"-Dlog4j2.configurationFile={directory / 'log4j2.properties'}"
    base = (*java_command, logging_option, "-cp", f"{jars}/*")
    ports = free_ports(2 * brokers)
    voters = ",".join(f"{n}@127.0.0.1:{ports[brokers + n]}" for n in range(brokers))
    # An identifier that began with "-" would be taken for an option; a first byte below 128 gives a letter.
    identity = uuid.uuid4().bytes
    cluster_id = urlsafe_b64encode(bytes([identity[0] & 127]) + identity[1:]).decode().rstrip("=")
    nodes = []
    formatting = []
    for number in range(brokers):
        home = directory / str(number)
        home.mkdir()
        properties = home / "server.properties"
        port, controller = ports[number], ports[brokers + number]
        settings = _properties(number, brokers, port, controller, voters, home / "data")
        for key, value in more.properties.items():
            settings[key] = value.replace("{port}", str(port)).replace("{controller}", str(controller))
        properties.write_text("".join(f"{key}={value}\n" for key, value in settings.items()))
        nodes.append(Node(number, ports[number], home, (*base, "kafka.Kafka", str(properties))))
        tool = (*base, "kafka.tools.StorageTool", "format", "-t", cluster_id, "-c", str(properties))
        tool = (*tool, *more.format_arguments)
        with nodes[-1].log_path.open("ab") as output:
            formatting.append(spawn(tool, output=output))
    for node, process in zip(nodes, formatting, strict=True):
        if process.wait(timeout=START_TIMEOUT_S) != 0:
            raise BrokerUnavailable(_why(node, "could not format its storage"))
    return tuple(nodes)


def _properties(
    number: int, brokers: int, port: int, controller_port: int, voters: str, data: Path
) -> dict[str, str | int]:
    """One broker's settings: Kafka's defaults but for what a small short-lived cluster needs."""
    in_sync = 2 if brokers == 3 else 1
    return {
        "node.id": number,
        "process.roles": "broker,controller",
        "listeners": f"PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}",
        "advertised.listeners": f"PLAINTEXT://127.0.0.1:{port}",
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "controller.listener.names": "CONTROLLER",
        "controller.quorum.voters": voters,
        "log.dirs": str(data),
        # Arrival time is the broker's: event time is checked against it.
        "log.message.timestamp.type": "LogAppendTime",
        # Topics are declared with their partitions; a misspelt name must fail, not appear.
        "auto.create.topics.enable": "false",
        "default.replication.factor": brokers,
        "min.insync.replicas": in_sync,
        "offsets.topic.replication.factor": brokers,
        "offsets.topic.num.partitions": 4,
        "transaction.state.log.replication.factor": brokers,
        "transaction.state.log.min.isr": in_sync,
        "transaction.state.log.num.partitions": 4,
        "share.coordinator.state.topic.replication.factor": brokers,
        "share.coordinator.state.topic.min.isr": in_sync,
        "share.coordinator.state.topic.num.partitions": 1,
        # Consumer groups start at once, and tests may use sessions shorter than the default's 6 s.
        "group.initial.rebalance.delay.ms": 0,
        "group.min.session.timeout.ms": 1000,
        # How soon a killed broker's partitions move on; the default is 9 s.
        "broker.session.timeout.ms": 5000,
        "broker.heartbeat.interval.ms": 1000,
        # The cleaner's default buffer, 128 MB, is a quarter of this heap.
        "log.cleaner.dedupe.buffer.size": 16 * 1024 * 1024,
    }


def _why(node: Node, what: str) -> str:
    """One line: what happened to a broker, and the last thing it said."""
    lines = [line for line in node.log_path.read_text(errors="replace").splitlines() if line.strip()]
    telling = [line for line in lines if "ERROR" in line or "FATAL" in line or "Exception" in line] or lines
    said = f"; it said: {telling[-1].strip()}" if telling else ""
    return (
        f"local Kafka broker {node.number} at {node.address} {what}{said}; or set WATTLEDGER_KAFKA=host:port"
    )
