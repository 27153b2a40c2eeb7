"""The fleet over a period: each group's books, its power over time, its engine's efficiency, the model loads."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from streams.answers.periods import Period
from streams.batch import ACCOUNTS

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

__all__ = [
    "Efficiency",
    "GroupBooks",
    "LoadRow",
    "PowerOverTime",
    "books",
    "efficiency",
    "loads",
    "power",
    "step_for",
    "totals",
]

IN_PERIOD: Final = (
    "event_time >= fromUnixTimestamp64Milli({from_ms:Int64}, 'UTC') "
    "AND event_time < fromUnixTimestamp64Milli({to_ms:Int64}, 'UTC')"
)

BOOKS: Final = f"""
SELECT
    group_id, max(model), max(gpu_model), max(zone), count(), sum(closes),
    sum(books.metered_uj), sum(books.request_uj), sum(books.idle_uj), sum(books.cold_start_uj),
    sum(books.overhead_uj), sum(books.unobserved_uj), sum(books.host_metered_uj),
    sum(toInt128(batch.modelled_uj)), sumIf(toInt128(batch.metered_uj) - batch.idle_uj - batch.cold_start_uj
        - batch.unobserved_uj, batch.modelled_uj > 0)
FROM books
INNER JOIN current_batches AS batch
    ON books.group_id = batch.group_id AND books.start_ns = batch.start_ns AND books.batch_id = batch.batch_id
WHERE {IN_PERIOD.replace("event_time", "books.event_time")}
GROUP BY group_id
ORDER BY sum(books.request_uj) DESC, group_id
"""  # noqa: S608 - a constant of this module

POWER: Final = f"""
SELECT
    group_id, intDiv(start_ns, {{step_ns:Int64}}) * {{step_ns:Int64}} AS at_ns, sum(end_ns - start_ns),
    sum(toInt128(request_uj)), sum(toInt128(idle_uj)), sum(toInt128(cold_start_uj)),
    sum(toInt128(overhead_uj)), sum(toInt128(unobserved_uj))
FROM current_batches
WHERE {IN_PERIOD}
GROUP BY group_id, at_ns
ORDER BY group_id, at_ns
"""  # noqa: S608

# Tokens from the ledger, batch sizes from the manifest's features: requests / iterations is the mean batch.
EFFICIENCY: Final = f"""
SELECT
    batch.group_id, max(batch.model) AS model, intDiv(batch.start_ns, {{step_ns:Int64}}) AS slot,
    sum(toInt128(batch.request_uj)) AS uj, sum(out.emitted) AS emitted,
    sum(batch.features['requests']) / sum(batch.features['iterations']) AS mean_batch
FROM current_batches AS batch
INNER JOIN (
    SELECT batch_id, sum(emitted_tokens) AS emitted
    FROM current_ledger
    WHERE account = 'request' AND {IN_PERIOD}
    GROUP BY batch_id
) AS out ON batch.batch_id = out.batch_id
WHERE {IN_PERIOD.replace("event_time", "batch.event_time")} AND batch.features['iterations'] > 0
GROUP BY batch.group_id, slot
ORDER BY batch.group_id, slot
"""  # noqa: S608

LOADS: Final = f"""
SELECT
    load.load_id, load.kind, load.group_id, load.what, load.start_ns, load.end_ns, load.amortised_over,
    booked.uj, moved.uj, moved.requests
FROM current_loads AS load
LEFT JOIN (
    SELECT load_id, sum(toInt128(energy_uj)) AS uj FROM current_ledger
    WHERE account = 'cold_start' GROUP BY load_id
) AS booked ON load.load_id = booked.load_id
LEFT JOIN (
    SELECT load_id, sum(toInt128(energy_uj)) AS uj, uniqExact(engine_id, incarnation, ordinal) AS requests
    FROM current_transfers WHERE side = 'to' AND kind = 'cold_start' GROUP BY load_id
) AS moved ON load.load_id = moved.load_id
WHERE {IN_PERIOD.replace("event_time", "load.event_time")}
ORDER BY load.start_ns
"""  # noqa: S608

MOST_STEPS: Final = 120
"""Steps of a plot over time: what a screen shows apart."""
STEPS_S: Final = (5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400)
"""Lengths of a step that divide a minute, an hour or a day."""


@dataclass(frozen=True, slots=True)
class GroupBooks:
    """One group's books over the period, microjoules; the meter recomputed from its raw readings."""

    group_id: str
    model: str
    gpu_model: str
    zone: str
    batches: int
    closed: int
    """Batches whose accounts, ledger rows and meter agree to the microjoule."""
    metered_uj: int
    accounts_uj: tuple[int, ...]
    """In the order of ACCOUNTS."""
    host_uj: int
    modelled_uj: int
    """What the energy model expected of the iterations."""
    busy_uj: int
    """What the meter gave to iterations, in batches that had any."""

    @property
    def residual(self) -> float | None:
        """How far the model's joules lie from the meter's, relative to the meter; None where nothing ran."""
        return (self.modelled_uj - self.busy_uj) / self.busy_uj if self.busy_uj else None


@dataclass(frozen=True, slots=True)
class PowerOverTime:
    """One group's mean power in steps of equal length; T steps, A accounts in the order of ACCOUNTS."""

    group_id: str
    step_s: float
    at_ns: NDArray[np.int64]
    """(T,) start of each step with data, ascending."""
    power_w: NDArray[np.float64]
    """(A, T)"""

    @property
    def total_w(self) -> NDArray[np.float64]:
        """(T,) of all accounts together."""
        return np.asarray(self.power_w.sum(axis=0))


@dataclass(frozen=True, slots=True)
class Efficiency:
    """One group's energy per emitted token against how many requests shared an iteration; S steps."""

    group_id: str
    model: str
    mean_batch: NDArray[np.float64]
    """(S,)"""
    joules_per_token: NDArray[np.float64]
    """(S,)"""
    request_uj: int
    emitted_tokens: int


@dataclass(frozen=True, slots=True)
class LoadRow:
    """A model load: what it drew, and what of it has moved to the requests that it served."""

    load_id: str
    kind: str
    group_id: str
    what: str
    start_ns: int
    end_ns: int
    amortised_over: int
    energy_uj: int
    moved_uj: int
    requests: int


def books(client: "Client", period: Period) -> list[GroupBooks]:
    """Every group's books, those that served most first."""
    rows = client.query(BOOKS, parameters=period.parameters).result_rows
    return [_group_books(*row) for row in rows]


def _group_books(*row: Any) -> GroupBooks:
    names = GroupBooks.__dataclass_fields__
    return GroupBooks(**dict(zip(names, (*row[:7], row[7:12], *row[12:]), strict=True)))


def totals(books: "Sequence[GroupBooks]") -> dict[str, Any]:
    """The whole fleet's books, by the names that the templates use."""
    return {
        "metered_uj": sum(group.metered_uj for group in books),
        "host_uj": sum(group.host_uj for group in books),
        "batches": sum(group.batches for group in books),
        "closed": sum(group.closed for group in books),
        "accounts_uj": [sum(group.accounts_uj[i] for group in books) for i in range(len(ACCOUNTS))],
        "modelled_uj": sum(group.modelled_uj for group in books),
        "busy_uj": sum(group.busy_uj for group in books),
    }


def power(client: "Client", period: Period) -> list[PowerOverTime]:
    """Every group's power, by group_id, in steps that give a plot of at most MOST_STEPS."""
    step_s = step_for(period)
    parameters = period.parameters | {"step_ns": step_s * 10**9}
    by_group: dict[str, list[tuple[int, ...]]] = {}
    for group_id, *row in client.query(POWER, parameters=parameters).result_rows:
        by_group.setdefault(group_id, []).append(tuple(row))
    found = []
    for group_id, rows in by_group.items():
        covered_ns = np.asarray([row[1] for row in rows], np.float64)
        energy_uj = np.asarray([row[2:] for row in rows], np.float64).T
        at_ns = np.asarray([row[0] for row in rows], np.int64)
        assert energy_uj.shape[0] == len(ACCOUNTS)
        found.append(PowerOverTime(group_id, float(step_s), at_ns, energy_uj / covered_ns * 1e3))
    return found


def efficiency(client: "Client", period: Period) -> list[Efficiency]:
    """Every group that emitted tokens, the most frugal first."""
    parameters = period.parameters | {"step_ns": step_for(period) * 10**9}
    by_group: dict[tuple[str, str], list[tuple[float, int, int]]] = {}
    rows = client.query(EFFICIENCY, parameters=parameters).result_rows
    for group_id, model, _, energy_uj, emitted, mean_batch in rows:
        if emitted:
            by_group.setdefault((group_id, model), []).append((mean_batch, energy_uj, emitted))
    found = [
        Efficiency(
            group_id=group_id,
            model=model,
            mean_batch=np.asarray([step[0] for step in steps]),
            joules_per_token=np.asarray([step[1] / step[2] / 1e6 for step in steps]),
            request_uj=sum(step[1] for step in steps),
            emitted_tokens=sum(step[2] for step in steps),
        )
        for (group_id, model), steps in by_group.items()
    ]
    return sorted(found, key=lambda one: one.request_uj / one.emitted_tokens)


def loads(client: "Client", period: Period) -> list[LoadRow]:
    """Model loads that began in the period, in order."""
    return [LoadRow(*row) for row in client.query(LOADS, parameters=period.parameters).result_rows]


def step_for(period: Period) -> int:
    """Seconds of a step that cuts the period into at most MOST_STEPS."""
    needed_s = period.duration.total_seconds() / MOST_STEPS
    return next((step_s for step_s in STEPS_S if step_s >= needed_s), STEPS_S[-1])
