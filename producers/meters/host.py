"""Host energy without a meter: power from CPU utilisation and memory size, marked `parametric`.

P = threads x (idle + utilisation x (busy - idle)) + GB x memory. The linear form is Fan, Weber and Barroso,
"Power provisioning for a warehouse-sized computer" (ISCA 2007); the default coefficients are those of the
Cloud Carbon Footprint methodology (AWS averages: 0.74 and 3.5 W per hardware thread, 0.392 W per GB). An
operator who knows the machine sets them.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from producers.meters.contract import Clock, MeterIdentity, Reading
from schemas.errors import MeterError

__all__ = ["HostPower", "ParametricHost"]

PROC_STAT: Final = Path("/proc/stat")


@dataclass(frozen=True, slots=True)
class HostPower:
    """Coefficients of the host's power, without its GPUs."""

    idle_w_per_thread: float = 0.74
    busy_w_per_thread: float = 3.5
    memory_w_per_gb: float = 0.392


class ParametricHost:
    """Integrates the modelled power between readings; the utilisation is the mean since the last one."""

    def __init__(
        self, power: HostPower, clock: Clock, *, meter_id: str, life: str, proc_stat: Path = PROC_STAT
    ) -> None:
        self._power = power
        self._clock = clock
        self._proc_stat = proc_stat
        self._meter = MeterIdentity(
            meter_id=meter_id, kind="host", epoch=life, scope="host", source="parametric"
        )
        self._memory_gb = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 1e9
        self._last: tuple[int, CpuTime] | None = None
        self._total_uj = 0.0

    @property
    def meter_id(self) -> str:
        """The host's name among meters."""
        return self._meter.meter_id

    def read(self) -> Reading:
        """The modelled energy now; see the contract."""
        cpu = read_cpu_time(self._proc_stat)
        time_ns = self._clock()
        if self._last is not None:
            elapsed_ns = time_ns - self._last[0]
            self._total_uj += elapsed_ns / 1000 * self.power_w(utilisation(self._last[1], cpu), cpu.threads)
        self._last = (time_ns, cpu)
        return Reading(self._meter, time_ns, int(self._total_uj))

    def power_w(self, utilised: float, threads: int) -> float:
        """Watts at a utilisation in [0, 1]."""
        per_thread = self._power.idle_w_per_thread + utilised * (
            self._power.busy_w_per_thread - self._power.idle_w_per_thread
        )
        return threads * per_thread + self._memory_gb * self._power.memory_w_per_gb


@dataclass(frozen=True, slots=True)
class CpuTime:
    """Clock ticks since boot, over all hardware threads."""

    busy: int
    total: int
    threads: int


def read_cpu_time(proc_stat: Path) -> CpuTime:
    """The first line of /proc/stat: user, nice, system, idle, iowait, irq, softirq, steal."""
    try:
        lines = proc_stat.read_text(encoding="ascii").splitlines()
        ticks = [int(field) for field in lines[0].split()[1:9]]
    except (OSError, ValueError, IndexError) as error:
        raise MeterError(f"host power: {proc_stat} cannot be read: {error}; is /proc mounted?") from error
    threads = sum(line.startswith("cpu") for line in lines) - 1
    waiting = ticks[3] + ticks[4]
    return CpuTime(busy=sum(ticks) - waiting, total=sum(ticks), threads=threads)


def utilisation(before: CpuTime, now: CpuTime) -> float:
    """Share of CPU time spent working between two readings; 0 where no tick has passed."""
    total = now.total - before.total
    return (now.busy - before.busy) / total if total > 0 else 0.0
