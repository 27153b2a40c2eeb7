"""The fleet at the moment that the ledger knows last: power by group and account, and its latest batches."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

import numpy as np

from streams.answers.fleet import PowerOverTime
from streams.answers.periods import Period

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

__all__ = ["NOW_S", "BatchLine", "GroupNow", "groups_now", "latest_batches", "latest_period", "together"]

NOW_S: Final = 15
"""Power "now" is the mean of the last three windows of five seconds: one alone is half a model load, or a lull."""

LAST: Final = "SELECT min(start_ns), max(end_ns) FROM batches"

NOW: Final = """
SELECT
    group_id, max(model), max(gpu_model), max(zone), sum(end_ns - start_ns), sum(toInt128(request_uj)),
    sum(toInt128(idle_uj)), sum(toInt128(cold_start_uj)), sum(toInt128(overhead_uj)), sum(toInt128(unobserved_uj)),
    max(batch_size), max(tenants)
FROM current_batches
WHERE event_time >= fromUnixTimestamp64Milli({from_ms:Int64}, 'UTC')
    AND event_time < fromUnixTimestamp64Milli({to_ms:Int64}, 'UTC')
GROUP BY group_id
ORDER BY sum(toInt128(metered_uj)) DESC, group_id
"""

LATEST: Final = """
SELECT batch_id, group_id, model, start_ns, batch_size, tenants, request_uj, iterations, method
FROM current_batches
WHERE event_time >= fromUnixTimestamp64Milli({from_ms:Int64}, 'UTC')
    AND event_time < fromUnixTimestamp64Milli({to_ms:Int64}, 'UTC') AND batch_size > 0
ORDER BY start_ns DESC, request_uj DESC, batch_id
LIMIT {most:UInt32}
"""


@dataclass(frozen=True, slots=True)
class GroupNow:
    """One group over the last NOW_S seconds on record."""

    group_id: str
    model: str
    gpu_model: str
    zone: str
    power_w: tuple[float, ...]
    """By account, in the order of ACCOUNTS."""
    requests: int
    """In its largest batch."""
    tenants: int

    @property
    def total_w(self) -> float:
        """Of all accounts."""
        return sum(self.power_w)


@dataclass(frozen=True, slots=True)
class BatchLine:
    """One batch, for a list of them."""

    batch_id: str
    group_id: str
    model: str
    start: datetime
    requests: int
    tenants: int
    request_uj: int
    iterations: int
    method: str


def latest_period(client: "Client", span: timedelta) -> Period | None:
    """The last `span` that the ledger covers, or less where it is younger; None for an empty ledger."""
    first_ns, last_ns = client.query(LAST).result_rows[0]
    if last_ns == 0:
        return None
    origin = datetime(1970, 1, 1, tzinfo=UTC)
    end = origin + timedelta(microseconds=-(-last_ns // 1000))
    return Period(max(end - span, origin + timedelta(microseconds=first_ns // 1000)), end)


def groups_now(client: "Client", until: datetime) -> list[GroupNow]:
    """Every group with a window in the last NOW_S seconds before `until`, the largest consumer first."""
    period = Period(until - timedelta(seconds=NOW_S), until)
    found = []
    for row in client.query(NOW, parameters=period.parameters).result_rows:
        group_id, model, gpu_model, zone, covered_ns, *energies_uj, requests, tenants = row
        power_w = tuple(1e3 * energy_uj / covered_ns for energy_uj in energies_uj)
        found.append(GroupNow(group_id, model, gpu_model, zone, power_w, requests, tenants))
    return found


def latest_batches(client: "Client", until: datetime, most: int) -> list[BatchLine]:
    """The last `most` batches with a request that began in the ten minutes before `until`."""
    asked = Period(until - timedelta(minutes=10), until).parameters | {"most": most}
    return [
        BatchLine(
            str(batch_id, "ascii"), group_id, model, datetime.fromtimestamp(start_ns / 1e9, UTC), *figures
        )
        for batch_id, group_id, model, start_ns, *figures in client.query(
            LATEST, parameters=asked
        ).result_rows
    ]


def together(groups: Sequence[PowerOverTime], name: str) -> PowerOverTime:
    """The sum of several groups over the steps of any; a group without a step adds nothing to it."""
    at_ns = np.unique(np.concatenate([group.at_ns for group in groups]))
    total_w = np.zeros((groups[0].power_w.shape[0], len(at_ns)))
    for group in groups:
        total_w[:, np.searchsorted(at_ns, group.at_ns)] += group.power_w
    return PowerOverTime(name, groups[0].step_s, at_ns, total_w)
