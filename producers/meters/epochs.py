"""When a counter starts anew, its next reading belongs to a new epoch: never a negative difference."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

__all__ = ["Epoch", "boot_id", "epoch_of"]

BOOT_ID_FILE: Final = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True, slots=True)
class Epoch:
    """One run of a counter from its zero, with the last reading seen; kept by the agent across restarts."""

    boot_id: str
    number: int
    """Counts the restarts seen within this boot."""
    energy_uj: int
    """The latest reading."""

    @property
    def name(self) -> str:
        """As it appears in `Meter.epoch`."""
        return f"{self.boot_id[:8]}-{self.number}"


def epoch_of(last: Epoch | None, boot: str, energy_uj: int) -> Epoch:
    """The epoch that a reading belongs to, given the last one seen.

    A reboot or a smaller reading starts a new epoch. A counter that restarted and overtook its old value
    while nobody looked cannot be told from one that ran on: the difference then is too small, never negative.
    """
    if last is None or last.boot_id != boot:
        return Epoch(boot, 0, energy_uj)
    number = last.number + (energy_uj < last.energy_uj)
    return Epoch(boot, number, energy_uj)


def boot_id(path: Path = BOOT_ID_FILE) -> str:
    """This boot's random id, from the kernel."""
    return path.read_text(encoding="ascii").strip()
