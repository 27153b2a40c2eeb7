"""A stand-in for a ClickHouse server, for tests and demos only: several processes share an embedded database.

chdb admits one process per path; this child process owns it and speaks ClickHouse's HTTP interface as far
as clickhouse-connect's own client uses it, with the real SQL engine behind. It has no users, no encryption
and one statement at a time: never for production. Faults can be injected, the process killed and restarted.
"""

import json
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from schemas.errors import DatabaseUnavailable
from streams.ledger.client import DEFAULT_DATABASE
from wattledger.local.faults import Fault
from wattledger.local.processes import end, kill, spawn

__all__ = ["Fault", "Front", "clickhouse_front"]

START_TIMEOUT_S: Final = 60.0
"""The engine opens in a second on an idle machine; a large database or a busy machine takes longer."""


@dataclass(slots=True)
class Front:
    """A running front; made by `clickhouse_front`, which also ends it."""

    path: Path
    """The embedded database."""
    scratch: Path
    port: int = 0
    process: subprocess.Popen[bytes] | None = None

    def dsn(self, database: str = DEFAULT_DATABASE) -> str:
        """What `streams.ledger.client.connect` opens."""
        return f"http://127.0.0.1:{self.port}/{database}"

    def inject(self, *faults: Fault) -> None:
        """Replace the faults to come; without arguments, there are none."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}/faults",
            data=json.dumps([asdict(fault) for fault in faults]).encode(),
            method="POST",
        )
        with urllib.request.urlopen(request, timeout=10):  # noqa: S310
            pass

    def kill(self) -> None:
        """End the process as a crash would (SIGKILL); the data stays."""
        if self.process is not None:
            kill(self.process)
            self.process = None

    def restart(self) -> None:
        """Start the process (again) on the same port and data; returns when it answers."""
        self.stop()
        ready = self.scratch / "port"
        ready.unlink(missing_ok=True)
        log = self.scratch / "front.log"
        command = [
            *(sys.executable, "-m", "wattledger.local.front_server"),
            *(str(self.path), str(self.port), str(ready)),
        ]
        with log.open("ab") as output:
            self.process = spawn(command, output=output)
        deadline = time.monotonic() + START_TIMEOUT_S
        while not ready.exists():
            if self.process.poll() is not None or time.monotonic() > deadline:
                lines = log.read_text(errors="replace").strip().splitlines()
                said = f": {lines[-1]}" if lines else ""
                raise DatabaseUnavailable(f"the HTTP front over {self.path} did not start{said}")
            time.sleep(0.02)
        self.port = int(ready.read_text())

    def stop(self) -> None:
        """End the process in order."""
        if self.process is not None:
            end(self.process)
            self.process = None


@contextmanager
def clickhouse_front(path: Path) -> Iterator[Front]:
    """Serve the embedded database at `path` (made if absent) for the duration of the block.

    Raises DatabaseUnavailable, with the engine's words, if the process does not start.
    """
    path.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="wattledger-front-") as scratch:
        front = Front(path, Path(scratch))
        try:
            front.restart()
            yield front
        finally:
            front.stop()
