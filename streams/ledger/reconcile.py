"""Counter totals against booked totals, per GPU and hour, from the ledger alone.

A counter's rise between two neighbouring windows belongs to one of them. What none holds is unbooked (a GPU out
of sight, a stretch not sealed yet); what two hold would be doubled. `books` asks whether each window closes; this
asks whether the windows together are all there is.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

import pyarrow as pa

from streams.ledger.query import moment, rows_of
from streams.ledger.tables import arrow_schema

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

__all__ = ["LOOK_BACK_NS", "GpuHour", "coverage", "reconcile", "reconciliation_table"]

LOOK_BACK_NS: Final = 2 * 24 * 3600 * 1_000_000_000
"""How far before an hour its counters' last windows are looked for: a hole longer than this has no left side."""

# A batch's ledger rows are spread over its GPUs as their meters are: exactly all of it where the books close.
QUERY: Final = """
WITH sealed AS (
    SELECT event_time, batch_id, revision, inputs, group_id, start_ns, end_ns, metered_uj
    FROM batches_as_of(as_of = {as_of:DateTime64(3, 'UTC')})
    WHERE event_time >= fromUnixTimestamp64Nano({look_ns:Int64})
        AND event_time < fromUnixTimestamp64Nano({to_ns:Int64})
        AND (empty({partitions:Array(UInt32)}) OR topic_partition IN {partitions:Array(UInt32)})
)
SELECT
    hour,
    group_id,
    meter_id,
    sum(covered_ns),
    sum(window_uj) + sum(missing_uj),
    sum(booked_uj),
    sumIf(missing_uj, missing_uj > 0),
    -sumIf(missing_uj, missing_uj < 0)
FROM (
    SELECT
        toStartOfHour(meter.event_time) AS hour,
        meter.event_time AS event_time,
        sealed.group_id AS group_id,
        meter_id,
        to_ns - from_ns AS covered_ns,
        energy_uj AS window_uj,
        energy_uj - intDiv(
            energy_uj * (sealed.metered_uj - booked.ledger_uj), if(sealed.metered_uj = 0, 1, sealed.metered_uj)
        ) AS booked_uj,
        if(row_number() OVER chain = 1, toInt128(0), from_uj - lagInFrame(to_uj) OVER chain) AS missing_uj
    FROM metered AS meter
    INNER JOIN sealed
        ON meter.event_time = sealed.event_time AND meter.batch_id = sealed.batch_id
        AND meter.revision = sealed.revision AND meter.inputs = sealed.inputs
    LEFT JOIN (
        SELECT event_time, batch_id, revision, inputs, sum(toInt128(energy_uj)) AS ledger_uj
        FROM (
            SELECT event_time, batch_id, revision, inputs, energy_uj
            FROM ledger FINAL
            WHERE event_time >= fromUnixTimestamp64Nano({look_ns:Int64})
                AND event_time < fromUnixTimestamp64Nano({to_ns:Int64})
        )
        GROUP BY event_time, batch_id, revision, inputs
    ) AS booked
        ON meter.event_time = booked.event_time AND meter.batch_id = booked.batch_id
        AND meter.revision = booked.revision AND meter.inputs = booked.inputs
    WHERE kind = 'gpu'
        AND meter.event_time >= fromUnixTimestamp64Nano({look_ns:Int64})
        AND meter.event_time < fromUnixTimestamp64Nano({to_ns:Int64})
    WINDOW chain AS (PARTITION BY meter_id, epoch ORDER BY from_ns ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW)
)
WHERE event_time >= fromUnixTimestamp64Nano({from_ns:Int64})
GROUP BY hour, group_id, meter_id
ORDER BY hour, group_id, meter_id
"""


@dataclass(frozen=True, slots=True)
class GpuHour:
    """One GPU's counter over one hour of event time (UTC), epoch by epoch."""

    hour: datetime
    group_id: str
    meter_id: str
    metered_ns: int
    """Time that its windows cover."""
    counter_uj: int
    """What the counter rose by, from the edge before the hour's first window to the hour's last."""
    booked_uj: int
    """What ledger rows hold of it."""
    unbooked_uj: int
    """Rise between windows that none of them holds."""
    doubled_uj: int
    """Rise that two windows hold."""


def coverage(hours: Iterable[GpuHour]) -> float:
    """Booked over counted energy; 1.0 where every microjoule stands once in the ledger, and where there is none."""
    counted, booked = 0, 0
    for one in hours:
        counted += one.counter_uj
        booked += one.booked_uj
    return booked / counted if counted else 1.0


def reconcile(
    client: "Client", *, from_ns: int, to_ns: int, as_of_ns: int, partitions: Collection[int] = ()
) -> tuple[GpuHour, ...]:
    """GPU hours of windows that start in `[from_ns, to_ns)`, by what was stored until `as_of_ns`.

    partitions: only groups of these topic partitions; none given are all.

    Raises DatabaseUnavailable.
    """
    asked = {
        "from_ns": from_ns,
        "to_ns": to_ns,
        "look_ns": max(0, from_ns - LOOK_BACK_NS),
        "as_of": moment(as_of_ns),
        "partitions": sorted(partitions),
    }
    return tuple(GpuHour(hour.replace(tzinfo=UTC), *rest) for hour, *rest in rows_of(client, QUERY, asked))


def reconciliation_table(hours: Iterable[GpuHour], as_of_ns: int) -> pa.Table:
    """Rows of `reconciliations`."""
    rows = [
        {
            **{name: getattr(one, name) for name in GpuHour.__dataclass_fields__},
            "as_of": as_of_ns // 1_000_000,
        }
        for one in hours
    ]
    return pa.Table.from_pylist(rows, arrow_schema("reconciliations"))
