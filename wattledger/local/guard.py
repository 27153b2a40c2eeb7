"""Run one command and end it when the process that asked for it is gone, however that one ended.

Started as a script in its own session: `python guard.py PARENT_PID REMOVE COMMAND...`. Standard library only,
so that it starts in milliseconds. SIGTERM to the process group ends the command gently and the guard with it,
SIGKILL to the group ends both at once; when the parent disappears the guard kills the group itself and
removes the directory REMOVE (if not ""), for then nobody else will.
"""

import contextlib
import ctypes
import os
import shutil
import signal
import subprocess
import sys
from typing import Final

POLL_S: Final = 0.2
"""How long a command may outlive its parent; each poll costs one system call."""
PR_SET_PDEATHSIG: Final = 1
"""From <linux/prctl.h>."""


def _die_with_guard() -> None:
    """In the child before exec: the kernel kills it if the guard itself is killed (Linux only)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def main(parent: int, remove: str, command: list[str]) -> int:
    """Run `command`, watch `parent`, return the command's exit status."""
    # The group's SIGTERM reaches the command too: it ends by itself and the guard follows with its status.
    signal.signal(signal.SIGTERM, lambda *_: None)
    # This process has one thread, so code between fork and exec is safe here.
    child = subprocess.Popen(command, preexec_fn=_die_with_guard)  # noqa: S603
    while True:
        with contextlib.suppress(subprocess.TimeoutExpired):
            return child.wait(timeout=POLL_S)
        if os.getppid() != parent:
            child.kill()
            child.wait()
            if remove:
                shutil.rmtree(remove, ignore_errors=True)
            os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), sys.argv[2], sys.argv[3:]))
