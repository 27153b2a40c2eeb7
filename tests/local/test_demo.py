"""`wattledger demo --serve` as a user runs it: it answers, Ctrl-C ends it, and nothing stays behind."""

import os
import re
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx2 as httpx
import pytest

MARK = "WATTLEDGER_TEST_RUN"
START_S = 420.0
"""For a broker, a database and a worker to start and a fleet to be booked, on a machine with much else to do."""


@dataclass(frozen=True, slots=True)
class Demo:
    """A running demo and what tells its processes from others: an environment variable that they inherit."""

    process: "subprocess.Popen[bytes]"
    said: Path
    mark: str

    def address(self) -> str:
        """Where it serves; returns once it does."""
        until = time.monotonic() + START_S
        while time.monotonic() < until:
            text = self.said.read_text(encoding="utf-8")
            if found := re.search(r"Serving\s+(http://127\.0\.0\.1:\d+)", text):
                return found[1]
            assert self.process.poll() is None, text
            time.sleep(0.1)
        raise AssertionError(f"it does not serve: {self.said.read_text(encoding='utf-8')}")

    def processes(self) -> set[int]:
        """Those that live, itself included."""
        found = set()
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                # One that has ended, or is another user's, is none of ours.
                with suppress(OSError):
                    if self.mark.encode() in (entry / "environ").read_bytes():
                        found.add(int(entry.name))
        return found


@contextmanager
def demo(directory: Path) -> Iterator[Demo]:
    mark, said = f"{MARK}={uuid.uuid4().hex}", directory / "said"
    temporary = directory / "temporary"
    temporary.mkdir()
    env = {**os.environ, "TMPDIR": str(temporary), MARK: mark.partition("=")[2], "PYTHONUNBUFFERED": "1"}
    command = [sys.executable, "-m", "wattledger", "demo", "--serve", "--port", "0", "--duration", "60"]
    with said.open("wb") as output:
        process = subprocess.Popen(
            [*command, "--out", str(directory / "out")], env=env, stdout=output, stderr=subprocess.STDOUT
        )
    running = Demo(process, said, mark)
    try:
        yield running
    finally:
        process.kill()
        process.wait()


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="processes are looked up in /proc")
def test_the_demo_serves_until_it_is_interrupted_and_leaves_nothing_behind(tmp_path: Path) -> None:
    with demo(tmp_path) as running:
        address = running.address()
        with httpx.Client(base_url=address, timeout=60.0) as http:
            assert "The fleet now" in http.get("/").text
            assert http.get("/tenants").status_code == 200
            assert http.get("/v1/keys").json()["keys"]
        assert len(running.processes()) > 2, "worker and traffic at least"
        running.process.send_signal(signal.SIGINT)
        assert running.process.wait(timeout=START_S) == 0, running.said.read_text(encoding="utf-8")
        assert running.processes() == set()
    assert list((tmp_path / "temporary").iterdir()) == []
    said = running.said.read_text(encoding="utf-8")
    assert "every process has ended" in said
    assert "Traceback" not in said
    with pytest.raises(httpx.ConnectError):
        httpx.get(address)
