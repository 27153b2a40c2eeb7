"""The demo's endless traffic as a child process (`wattledger.local.traffic`)."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from wattledger.local.processes import end, spawn

__all__ = ["traffic"]


@contextmanager
def traffic(bootstrap: str, cluster: str, seed: int, log: Path) -> Iterator[None]:
    """Publish the demo's fleet in real time for the duration of the block; what it says goes to `log`."""
    command = [sys.executable, "-m", "wattledger.local.traffic", bootstrap, cluster, str(seed)]
    with log.open("ab") as output:
        process = spawn(command, output=output)
        try:
            yield
        finally:
            end(process, grace_s=1.0)
