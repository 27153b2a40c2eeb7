"""Host energy by RAPL, as Linux shows it under /sys/class/powercap: CPU packages and their memory.

The counters are small (a package wraps within an hour at full power), so the meter sums differences; it must
be read at least once per wrap. Since kernel 5.10 reading them needs root or an ACL (CVE-2020-8694).
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from producers.meters.contract import Clock, MeterIdentity, Reading
from schemas.errors import MeterError

__all__ = ["POWERCAP", "RaplMeter", "find_domains"]

POWERCAP: Final = Path("/sys/class/powercap")


@dataclass(frozen=True, slots=True)
class Domain:
    """One RAPL counter."""

    name: str
    energy_file: Path
    range_uj: int
    """The counter's largest value; it restarts from zero after it."""


def find_domains(root: Path = POWERCAP) -> list[Domain]:
    """Every CPU package and its DRAM (cores and uncore lie inside the package); empty where there is no
    RAPL.
    """
    domains = []
    for directory in sorted(root.glob("*rapl*:*")):
        name_file = directory / "name"
        if not name_file.exists() or "mmio" in directory.name:
            continue
        name = name_file.read_text(encoding="ascii").strip()
        if name.startswith("package") or name == "dram":
            range_uj = int((directory / "max_energy_range_uj").read_text(encoding="ascii"))
            domains.append(Domain(f"{directory.name} {name}", directory / "energy_uj", range_uj))
    return domains


class RaplMeter:
    """The host: the sum of its RAPL domains, counted from the meter's first reading."""

    def __init__(self, domains: list[Domain], clock: Clock, *, meter_id: str, life: str) -> None:
        self._domains = domains
        self._clock = clock
        self._meter = MeterIdentity(
            meter_id=meter_id, kind="host", epoch=life, scope="host", source="counter"
        )
        self._last: list[int] | None = None
        self._total_uj = 0

    @property
    def meter_id(self) -> str:
        """The host's name among meters."""
        return self._meter.meter_id

    def read(self) -> Reading:
        """The host's energy now; see the contract."""
        values = [read_counter(domain) for domain in self._domains]
        if self._last is not None:
            for domain, before, now in zip(self._domains, self._last, values, strict=True):
                self._total_uj += now - before if now >= before else now - before + domain.range_uj
        self._last = values
        return Reading(self._meter, self._clock(), self._total_uj)


def read_counter(domain: Domain) -> int:
    """One domain's counter in microjoules."""
    try:
        return int(domain.energy_file.read_text(encoding="ascii"))
    except PermissionError as error:
        raise MeterError(
            f"RAPL domain {domain.name}: {domain.energy_file} may not be read; run the agent as root, or allow "
            f"its user: setfacl -m u:<uid>:r {domain.energy_file}"
        ) from error
    except (OSError, ValueError) as error:
        raise MeterError(
            f"RAPL domain {domain.name}: {domain.energy_file} cannot be read: {error}"
        ) from error
