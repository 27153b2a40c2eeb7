"""Child processes end with us, whatever ends us."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from wattledger.local.processes import end, free_ports, kill, spawn

# A child that writes its pid, and on SIGTERM a word of farewell.
CHILD = """
import os, pathlib, signal, sys, time
directory = pathlib.Path(sys.argv[1])
def farewell(*_):
    (directory / "farewell").write_text("")
    sys.exit(7)
signal.signal(signal.SIGTERM, farewell)
(directory / "pid.new").write_text(str(os.getpid()))
(directory / "pid.new").rename(directory / "pid")
time.sleep(600)
"""
PARENT = """
import pathlib, subprocess, sys, time
from wattledger.local.processes import spawn
directory = pathlib.Path(sys.argv[1])
(directory / "data").mkdir()
with (directory / "log").open("wb") as output:
    spawn([sys.executable, "-c", sys.argv[2], str(directory)], output=output, remove=directory / "data")
time.sleep(600)
"""


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def pid_in(directory: Path) -> int:
    wait_for((directory / "pid").exists)
    return int((directory / "pid").read_text())


def gone(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return True
    return state == "Z"


def child(directory: Path) -> "subprocess.Popen[bytes]":
    with (directory / "log").open("wb") as output:
        return spawn([sys.executable, "-c", CHILD, str(directory)], output=output)


def test_a_child_told_to_end_does_so_in_order_and_its_status_comes_back(tmp_path: Path) -> None:
    process = child(tmp_path)
    pid = pid_in(tmp_path)
    end(process)
    assert gone(pid)
    assert (tmp_path / "farewell").exists()
    assert process.returncode == 7


def test_a_child_that_is_killed_has_no_last_word(tmp_path: Path) -> None:
    process = child(tmp_path)
    pid = pid_in(tmp_path)
    kill(process)
    wait_for(lambda: gone(pid))
    assert not (tmp_path / "farewell").exists()
    kill(process)  # a second time is no error


def test_a_child_that_ignores_the_request_is_killed_after_the_grace(tmp_path: Path) -> None:
    stubborn = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN);" + CHILD.replace(
        "signal.signal(signal.SIGTERM, farewell)", ""
    )
    with (tmp_path / "log").open("wb") as output:
        process = spawn([sys.executable, "-c", stubborn, str(tmp_path)], output=output)
    pid = pid_in(tmp_path)
    end(process, grace_s=0.3)
    wait_for(lambda: gone(pid))


def test_a_child_ends_when_its_parent_is_killed_and_its_data_are_removed(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", PARENT, str(tmp_path), CHILD]) as parent:
        pid = pid_in(tmp_path)
        os.kill(parent.pid, signal.SIGKILL)
        wait_for(lambda: gone(pid))
        wait_for(lambda: not (tmp_path / "data").exists())


def test_a_child_ends_when_its_guard_is_killed(tmp_path: Path) -> None:
    process = child(tmp_path)
    pid = pid_in(tmp_path)
    os.kill(process.pid, signal.SIGKILL)
    wait_for(lambda: gone(pid))
    process.wait()


def test_free_ports_are_distinct() -> None:
    ports = free_ports(20)
    assert len(set(ports)) == 20
