"""The machines of a run and what can be done to them: brokers, a database, and workers under supervision."""

import json
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from confluent_kafka import ElectionType, KafkaException
from confluent_kafka.admin import AdminClient

from tests.faults.agent import OVERFLOW, lost_file, spool_file
from tests.faults.plan import MachineFault
from tests.faults.traffic import Destroyed
from wattledger.local.broker import Broker
from wattledger.local.clickhouse_front import Fault, Front
from wattledger.local.processes import kill, spawn
from wattledger.local.worker import Worker, worker

__all__ = ["Agent", "Machines", "Workers"]

SESSION_S: Final = 6.0
RESTART_S: Final = 0.3
"""A supervisor's pause before it starts a process again."""
INSERT: Final = "insert into"


@dataclass(slots=True)
class Agent:
    """The sending child process, kept alive until its spool is empty."""

    feed: Path
    bootstrap: str
    log: Path
    process: subprocess.Popen[bytes] | None = None
    done: bool = False

    def keep(self) -> None:
        """Start it, or start it again where it has died."""
        if self.done:
            return
        status = None if self.process is None else self.process.poll()
        if status == 0:
            self.done = True
        elif self.process is None or status is not None:
            with self.log.open("ab") as output:
                command = [sys.executable, "-m", "tests.faults.agent", str(self.feed), self.bootstrap]
                self.process = spawn(command, output=output)

    def kill(self) -> None:
        """End it as a crash would."""
        if self.process is not None:
            kill(self.process)

    def lose_a_while(self) -> None:
        """Kill it and put its spool back as it was at the last such fault; the first only makes the copy."""
        self.kill()
        spool = spool_file(self.feed)
        if self.done or not spool.exists():
            return
        parts = [spool.with_name(spool.name + ending) for ending in ("", "-wal", "-shm")]
        copies = [part.with_name(part.name + ".old") for part in parts]
        if copies[0].exists():
            for part, copy in zip(parts, copies, strict=True):
                part.unlink(missing_ok=True)
                if copy.exists():
                    shutil.copyfile(copy, part)
        for part, copy in zip(parts, copies, strict=True):
            if part.exists():
                shutil.copyfile(part, copy)

    def overflow(self, seconds: float) -> None:
        """Let nothing leave the spool for so long, and its disk be full."""
        self.feed.with_suffix(OVERFLOW).write_text(str(seconds))

    def lost(self) -> list[Destroyed]:
        """Frames that a full spool has given up."""
        path = lost_file(self.feed)
        return (
            [Destroyed(*json.loads(line)) for line in path.read_text().splitlines()] if path.exists() else []
        )


@dataclass(slots=True)
class Workers:
    """Members of one consumer group, each with a name of its own, kept alive while they are wanted."""

    kafka: str
    clickhouse: str
    group: str
    logs: Path
    wanted: set[str] = field(default_factory=lambda: {"one"})
    running: dict[str, tuple[Worker, ExitStack]] = field(default_factory=dict)
    starts: int = 0

    def keep(self) -> None:
        """Start what is wanted and does not run."""
        for name in sorted(self.wanted | set(self.running)):
            one = self.running.get(name)
            if one is not None and one[0].process.poll() is not None:
                one[1].close()
                del self.running[name]
            if name in self.wanted and name not in self.running:
                self._start(name)

    def _start(self, name: str) -> None:
        stack = ExitStack()
        options = ["--group", self.group, "--instance-id", name, "--session-timeout", str(SESSION_S)]
        child = stack.enter_context(
            worker(
                kafka=self.kafka,
                clickhouse=self.clickhouse,
                log=self.logs / f"{self.group}-{name}.log",
                options=options,
            )
        )
        self.running[name] = (child, stack)
        self.starts += 1

    def some(self, size: float) -> Worker | None:
        """One of those that run."""
        names = sorted(self.running)
        return self.running[names[int(size * len(names)) % len(names)]][0] if names else None

    def end(self) -> None:
        """Stop all of them in order."""
        self.wanted = set()
        for _, stack in self.running.values():
            stack.close()
        self.running = {}


@dataclass(slots=True)
class Machines:
    """Everything that can fail; one lock, for a broker or a database is down at most once at a time."""

    broker: Broker
    front: Front
    workers: Workers
    agent: Agent
    busy: threading.Lock = field(default_factory=threading.Lock)
    waiting: list[threading.Thread] = field(default_factory=list)

    def strike(self, fault: MachineFault) -> None:
        """Let the fault happen; what takes a while goes on beside the run."""
        match fault.kind:
            case "worker_killed":
                self._one(fault.size, Worker.kill)
            case "worker_stopped" | "worker_leaves" | "worker_joins" | "worker_stopped_in_insert":
                self._members(fault)
            case "agent_killed":
                self.agent.kill()
            case "agent_old_spool":
                self.agent.lose_a_while()
            case "spool_overflow":
                self.agent.overflow(
                    9 + 4 * fault.size
                )  # what may be on its way, 500 messages, is never given up
            case "broker_killed" | "broker_restarted" | "database_killed":
                self._aside(fault)
            case "leaders_moved":
                self._aside(fault)
            case _:
                self._database(fault)

    def heal(self) -> None:
        """Wait for what is down to be up again, and let nothing else fail."""
        for thread in self.waiting:
            thread.join()
        self.waiting = []
        self.front.inject()

    def _one(self, size: float, do: Callable[[Worker], None]) -> None:
        chosen = self.workers.some(size)
        if chosen is not None:
            with suppress(ProcessLookupError):  # it may have ended by itself
                do(chosen)

    def _members(self, fault: MachineFault) -> None:
        match fault.kind:
            case "worker_joins":
                self.workers.wanted.add("two")
            case "worker_leaves":
                self.workers.wanted.discard("two" if fault.size < 0.7 else "one")
                self.workers.wanted |= {"one"} if not self.workers.wanted else set()
                self._one(fault.size, Worker.ask_to_stop)
            case "worker_stopped_in_insert":
                self._inject(Fault("delay", statement=INSERT, times=2, seconds=0.6))
                time.sleep(0.3)
                self._one(fault.size, Worker.ask_to_stop)
            case _:
                self._one(fault.size, Worker.ask_to_stop)

    def _database(self, fault: MachineFault) -> None:
        times = 1 + round(fault.size * 8)
        match fault.kind:
            case "database_errors":
                injected: Sequence[Fault] = [Fault("error", statement=INSERT, times=times)]
            case "database_slow":
                injected = [Fault("delay", times=times, seconds=0.2 + fault.size * 2)]
            case "database_cut_before":
                injected = [Fault("cut_before", statement=INSERT, times=1 + times // 3)]
            case _:
                injected = [Fault("cut_after", statement=INSERT, times=1 + times // 3)]
        self._inject(*injected)

    def _inject(self, *faults: Fault) -> None:
        with suppress(OSError):  # the database itself may be down just now
            self.front.inject(*faults)

    def _aside(self, fault: MachineFault) -> None:
        def go() -> None:
            with self.busy:
                number = int(fault.size * 2.999)
                if fault.kind == "database_killed":
                    self.front.kill()
                    time.sleep(0.5 + 3 * fault.size)
                    self.front.restart()
                elif fault.kind == "leaders_moved":
                    self._elect()
                else:
                    (self.broker.kill if fault.kind == "broker_killed" else self.broker.stop)(number)
                    time.sleep(0.5 + 4 * fault.size)
                    self.broker.restart(number)

        thread = threading.Thread(target=go, daemon=True)
        thread.start()
        self.waiting.append(thread)

    def _elect(self) -> None:
        """Give every partition back to its preferred leader, from wherever crashes have moved it."""
        with suppress(KafkaException):
            admin = AdminClient({"bootstrap.servers": self.broker.bootstrap, "log_level": 0})
            admin.elect_leaders(ElectionType.PREFERRED).result(20)
