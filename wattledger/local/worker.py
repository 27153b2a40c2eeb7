"""A worker as a child process, watched through its own metrics: for the demo, the tests and the benchmarks."""

import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from prometheus_client.parser import text_string_to_metric_families

from schemas.errors import WattledgerError
from wattledger.local.processes import end, free_ports, kill, spawn

__all__ = ["Progress", "Worker", "worker"]

GRACE_S: Final = 20.0
"""A worker told to stop finishes its insert first."""
LAST_WORDS: Final = 6
"""Lines of the log that an error quotes."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a worker is."""

    ready: bool
    """Whether it has its partitions and lets messages in."""
    groups: int
    sealed_until_s: float
    """Event time (Unix seconds) up to which every group's windows are durable; 0 before the first."""
    batches: int
    messages: int
    energy_j: float
    dead_letters: int


@dataclass(frozen=True, slots=True)
class Worker:
    """A running child."""

    process: subprocess.Popen[bytes]
    port: int
    log: Path

    def progress(self) -> Progress | None:
        """None while it is starting. Raises WattledgerError with its last words when it has ended."""
        status = self.process.poll()
        if status is not None:
            words = self.log.read_text(errors="replace").strip().splitlines()[-LAST_WORDS:]
            raise WattledgerError(
                f"the worker ended with status {status}: {' | '.join(words)} (log: {self.log})"
            )
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=2) as answer:
                text = answer.read().decode()
        except OSError:
            return None
        totals: dict[str, float] = {}
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                totals[sample.name] = totals.get(sample.name, 0.0) + sample.value
        return Progress(
            ready=totals["wattledger_ready"] == 1.0,
            groups=int(totals["wattledger_groups"]),
            sealed_until_s=totals["wattledger_sealed_until_seconds"],
            batches=int(totals["wattledger_batches_total"]),
            messages=int(totals.get("wattledger_messages_total", 0)),
            energy_j=totals.get("wattledger_energy_joules_total", 0.0),
            dead_letters=int(totals.get("wattledger_dead_letters_total", 0)),
        )

    def wait_until_ready(self, timeout_s: float = 180.0) -> None:
        """Return once it lets messages in; on a new machine it compiles first, for half a minute.

        Raises WattledgerError when it ends or takes longer.
        """
        deadline = time.monotonic() + timeout_s
        while not ((progress := self.progress()) and progress.ready):
            if time.monotonic() > deadline:
                raise WattledgerError(f"the worker was not ready within {timeout_s:.0f} s (log: {self.log})")
            time.sleep(0.1)

    def kill(self) -> None:
        """End it as a crash would."""
        kill(self.process)

    def ask_to_stop(self) -> None:
        """Send SIGTERM and return at once; `process.wait()` has the status."""
        os.killpg(self.process.pid, signal.SIGTERM)


@contextmanager
def worker(
    *,
    kafka: str,
    clickhouse: str,
    log: Path,
    options: Sequence[str] = (),
    env: Mapping[str, str] = os.environ,
) -> Iterator[Worker]:
    """Run `wattledger worker OPTIONS` for the block; SIGTERM at its end, and no process left behind.

    kafka, clickhouse: as in the settings. log: where its output goes.
    """
    port = free_ports(1)[0]
    command = [sys.executable, "-m", "wattledger", "worker", "--metrics-port", str(port), *options]
    child_env = {**env, "WATTLEDGER_KAFKA": kafka, "WATTLEDGER_CLICKHOUSE": clickhouse}
    with log.open("ab") as output:
        process = spawn(command, output=output, env=child_env)
        try:
            yield Worker(process, port, log)
        finally:
            end(process, grace_s=GRACE_S)
