"""CPU time and memory of a process and its children, read from the kernel."""

import os
from pathlib import Path

__all__ = ["cpu_seconds", "descendants", "peak_memory_mb"]


def descendants(pid: int) -> list[int]:
    """`pid` and every process below it."""
    parents: dict[int, list[int]] = {}
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(entry.read_text().rsplit(") ", 1)[1].split()[1])
        except OSError:
            continue  # ended while we looked
        parents.setdefault(parent, []).append(int(entry.parent.name))
    found, waiting = [], [pid]
    while waiting:
        one = waiting.pop()
        found.append(one)
        waiting += parents.get(one, [])
    return found


def cpu_seconds(pid: int) -> float:
    """User and system time of `pid` and its living descendants."""
    ticks = 0
    for one in descendants(pid):
        fields = Path(f"/proc/{one}/stat").read_text().rsplit(") ", 1)[1].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def peak_memory_mb(pid: int) -> float:
    """The largest resident size that `pid` or a descendant ever had."""
    peaks_kb = [
        int(line.split()[1])
        for one in descendants(pid)
        for line in Path(f"/proc/{one}/status").read_text().splitlines()
        if line.startswith("VmHWM:")
    ]
    return max(peaks_kb) / 1024
