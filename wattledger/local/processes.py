"""Child processes that never outlive us: each in its own session, under a guard that watches over us."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import IO

from wattledger.local import guard

__all__ = ["end", "free_ports", "kill", "spawn"]


def spawn(
    command: Sequence[str],
    *,
    output: IO[bytes],
    env: Mapping[str, str] | None = None,
    remove: Path | None = None,
) -> subprocess.Popen[bytes]:
    """Start `command` under a guard; stdout and stderr go to `output`.

    The command ends when this process does, even by SIGKILL, and `remove` is then deleted. End it with
    `end` or `kill`: both reach the whole process group. The returned process is the guard; its exit status
    is the command's.
    """
    prefix = [sys.executable, "-I", "-S", guard.__file__, str(os.getpid()), str(remove or "")]
    return subprocess.Popen(  # noqa: S603 - our own commands, no shell
        [*prefix, *command],
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        env=None if env is None else dict(env),
        start_new_session=True,
    )


def kill(process: subprocess.Popen[bytes]) -> None:
    """End the process group at once, as a crash would (SIGKILL), and reap it."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def end(process: subprocess.Popen[bytes], *, grace_s: float = 10.0) -> None:
    """Ask the process group to end (SIGTERM); after `grace_s` seconds kill it. Returns when it is gone."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    with suppress(subprocess.TimeoutExpired):
        process.wait(timeout=grace_s)
    kill(process)


def free_ports(count: int) -> list[int]:
    """`count` loopback TCP ports that nobody listens on now; another process may yet take one."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [int(each.getsockname()[1]) for each in sockets]
