"""The pipeline's own energy: CPU time times a stated power, in a table of its own, never among metered joules."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from streams.ledger.query import moment, rows_of
from streams.ledger.tables import arrow_schema

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

__all__ = ["OwnCpu", "OwnEnergy", "read_own_energy"]


@dataclass(frozen=True, slots=True)
class OwnEnergy:
    """What one role drew in an interval, by estimate."""

    role: str
    cpu_s: float
    energy_uj: int


@dataclass(slots=True)
class OwnCpu:
    """A process's CPU time, cut into intervals that are written once each.

    An interval is cut when it is about to be written, and stays as it is until the database has it: written twice,
    it is the same row.
    """

    role: str
    instance: str
    watts_per_core: float
    now_ns: Callable[[], int] = time.time_ns
    cpu_s: Callable[[], float] = time.process_time
    _from_ns: int = 0
    _from_cpu_s: float = 0.0
    _waiting: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        # From the start of the process on: what its start costs is its own too.
        self._from_ns = self.now_ns()

    def cut(self) -> pa.Table:
        """Rows of `own_footprint`: the interval that ends now, and those not stored yet."""
        to_ns, cpu_s = self.now_ns(), self.cpu_s()
        spent_s = cpu_s - self._from_cpu_s
        self._waiting.append(
            {
                "role": self.role,
                "instance": self.instance,
                "from_ns": self._from_ns,
                "to_ns": to_ns,
                "event_time": self._from_ns // 1_000_000,
                "cpu_seconds": spent_s,
                "watts_per_core": self.watts_per_core,
                "energy_uj": round(spent_s * self.watts_per_core * 1e6),
            }
        )
        self._from_ns, self._from_cpu_s = to_ns, cpu_s
        return pa.Table.from_pylist(self._waiting, arrow_schema("own_footprint"))

    @property
    def behind(self) -> bool:
        """Whether the last `cut` was never stored: the database is away."""
        return bool(self._waiting)

    def stored(self) -> float:
        """The rows of the last `cut` are durable; returns their joules."""
        joules: float = sum(row["energy_uj"] for row in self._waiting) / 1e6
        self._waiting.clear()
        return joules


def read_own_energy(client: "Client", *, from_ns: int, to_ns: int, as_of_ns: int) -> Sequence[OwnEnergy]:
    """By role, what processes drew in intervals that began in `[from_ns, to_ns)`, by what was stored by `as_of_ns`.

    Raises DatabaseUnavailable.
    """
    query = (
        "SELECT role, sum(cpu_seconds), sum(toInt128(energy_uj)) FROM ("
        "SELECT * FROM own_footprint WHERE event_time >= fromUnixTimestamp64Nano({from_ns:Int64}) "
        "AND event_time < fromUnixTimestamp64Nano({to_ns:Int64}) AND stored_at <= {as_of:DateTime64(3, 'UTC')} "
        "ORDER BY stored_at LIMIT 1 BY role, instance, from_ns) GROUP BY role ORDER BY role"
    )
    parameters = {"from_ns": from_ns, "to_ns": to_ns, "as_of": moment(as_of_ns)}
    return tuple(OwnEnergy(*row) for row in rows_of(client, query, parameters))
