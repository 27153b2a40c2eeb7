"""How long the demo's pages take to answer, whole: `make bench-page`.

Starts `wattledger demo --serve`, whose fleet goes on in real time, and fetches every page several times. CPU is of
the serving process and of its database, which meanwhile takes the worker's inserts as well.
"""

import argparse
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path
from statistics import median
from urllib.request import urlopen

START_S = 600.0
MARK = "WATTLEDGER_BENCH_RUN"


def address_of(process: "subprocess.Popen[bytes]", said: Path) -> str:
    """Where the demo serves, once it does."""
    until = time.monotonic() + START_S
    while time.monotonic() < until and process.poll() is None:
        if found := re.search(r"Serving\s+(http://127\.0\.0\.1:\d+)", said.read_text(encoding="utf-8")):
            return found[1]
        time.sleep(0.2)
    raise SystemExit(f"the demo does not serve:\n{said.read_text(encoding='utf-8')}")


def database_of(mark: str) -> int:
    """Process id of the demo's database."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                ours = mark.encode() in (entry / "environ").read_bytes()
                command = (entry / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if ours and b"wattledger.local.front_server" in command and b"-I" not in command:
                return int(entry.name)
    raise SystemExit("the demo's database is not found: is WATTLEDGER_CLICKHOUSE set?")


def cpu_s(pids: list[int]) -> float:
    """CPU time of some processes so far."""
    ticks = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def measure(address: str, pids: list[int], path: str, times: int) -> str:
    """A line about one page; the first fetch is not counted."""
    walls, cpus, size = [], [], 0
    for _ in range(times + 1):
        began, began_cpu = time.perf_counter(), cpu_s(pids)
        with urlopen(address + path) as answer:
            size = len(answer.read())
        walls.append(time.perf_counter() - began)
        cpus.append(cpu_s(pids) - began_cpu)
    took = f"median {median(walls[1:]):.2f} s, worst {max(walls[1:]):.2f} s, CPU {median(cpus[1:]):.2f} s"
    return f"{path:<12}{size:>8,} bytes  first {walls[0]:.2f} s ({cpus[0]:.2f} s of CPU), then {took}"


def main() -> None:
    """Start, fetch, print, stop."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--times", type=int, default=15)
    times = parser.parse_args().times
    mark = uuid.uuid4().hex
    with tempfile.TemporaryDirectory(prefix="wattledger-bench-") as name:
        said = Path(name) / "said"
        command = [
            sys.executable,
            "-u",
            "-m",
            "wattledger",
            "demo",
            "--serve",
            "--port",
            "0",
            "--out",
            f"{name}/out",
        ]
        with said.open("wb") as output:
            process = subprocess.Popen(
                command, stdout=output, stderr=subprocess.STDOUT, env=os.environ | {MARK: mark}
            )
        try:
            address = address_of(process, said)
            pids = [process.pid, database_of(mark)]
            for path in ("/", "/tenants"):
                print(measure(address, pids, path, times), flush=True)
        finally:
            process.send_signal(signal.SIGINT)
            process.wait()


if __name__ == "__main__":
    main()
