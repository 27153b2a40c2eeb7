"""What asks for a repair: frames that came late, holes and overlaps between batches, attempts that crossed."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import pyarrow as pa

from streams.ledger.query import rows_of
from streams.ledger.tables import arrow_schema

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

__all__ = ["Cause", "open_causes", "repair_table"]

# A late frame is dealt with when one window more is sealed, so that both neighbours of its last edge are restated
# together. A group that has ended seals no more: after a while its frame is dealt with as far as it can be, and
# once again if the group goes on after all.
LATE: Final = """
SELECT
    lower(hex(MD5(concat(
        topic, '\\x1f', toString(topic_partition), '\\x1f', toString(topic_offset),
        if(late.end_ns + {window_ns:Int64} <= until_ns, '', '\\x1fearly')
    )))) AS id,
    'late_frame', late.group_id, late.topic_partition, late.start_ns, late.end_ns
FROM (SELECT * FROM late_frames FINAL) AS late
INNER JOIN (SELECT group_id, max(end_ns) AS until_ns FROM batches GROUP BY group_id) AS sealed
    ON late.group_id = sealed.group_id
WHERE late.event_time >= fromUnixTimestamp64Nano({from_ns:Int64})
    AND (
        late.end_ns + {window_ns:Int64} <= until_ns
        OR (late.start_ns < until_ns AND late.stored_at <= now64(3) - toIntervalSecond({patience_s:UInt32}))
    )
    AND id NOT IN (SELECT toString(cause_id) FROM repairs)
ORDER BY late.group_id, late.start_ns
"""

# Two batches that claim the same time: of a worker taken for dead, and of the one that took its place and knew of
# another process, or of an earlier frame. The sum of lengths finds the groups that are worth a closer look. Like a
# late frame they wait for the window after them: a frame that was in memory when they were booked, such as an
# engine's first, may lie there.
OVERLAPS: Final = """
WITH
    ends AS (SELECT group_id, max(end_ns) AS until_ns FROM batches GROUP BY group_id),
    crowded AS (
        SELECT group_id
        FROM batches
        WHERE event_time >= fromUnixTimestamp64Nano({from_ns:Int64})
        GROUP BY group_id
        HAVING sum(end_ns - start_ns) > max(end_ns) - min(start_ns)
    )
SELECT
    lower(hex(MD5(concat(
        arrayStringConcat([left_batch, toString(batch_id), toString(left_revision), toString(revision)], '\\x1f'),
        if(greatest(left_ns, end_ns) + {window_ns:Int64} <= until_ns, '', '\\x1fearly')
    )))) AS id,
    'overlap', pairs.group_id, topic_partition, left_start_ns, greatest(left_ns, end_ns)
FROM (
    SELECT
        group_id,
        topic_partition,
        batch_id,
        revision,
        start_ns,
        end_ns,
        stored_at,
        lagInFrame(toString(batch_id)) OVER chain AS left_batch,
        lagInFrame(revision) OVER chain AS left_revision,
        lagInFrame(start_ns) OVER chain AS left_start_ns,
        lagInFrame(end_ns) OVER chain AS left_ns
    FROM current_batches
    WHERE event_time >= fromUnixTimestamp64Nano({from_ns:Int64}) AND group_id IN crowded
    WINDOW chain AS (
        PARTITION BY group_id ORDER BY start_ns, end_ns, batch_id ROWS BETWEEN 1 PRECEDING AND CURRENT ROW
    )
) AS pairs
INNER JOIN ends ON pairs.group_id = ends.group_id
WHERE left_ns > start_ns
    AND (
        greatest(left_ns, end_ns) + {window_ns:Int64} <= until_ns
        OR stored_at <= now64(3) - toIntervalSecond({patience_s:UInt32})
    )
    AND id NOT IN (SELECT toString(cause_id) FROM repairs)
ORDER BY pairs.group_id, left_start_ns
"""

# Neighbours share the reading at their edge, unless a counter was out of sight there or a revision moved it.
# Only groups that had such a window are followed from edge to edge.
HOLES: Final = """
WITH
    troubled AS (
        SELECT DISTINCT group_id
        FROM batches
        WHERE event_time >= fromUnixTimestamp64Nano({from_ns:Int64}) AND (unmetered_ns > 0 OR revision > 0)
    )
SELECT
    lower(hex(MD5(arrayStringConcat(
        [meter_id, epoch, toString(left_ns), toString(left_uj), toString(from_ns), toString(from_uj)], '\\x1f'
    )))) AS id,
    'counter_hole', group_id, topic_partition, least(left_ns, from_ns), greatest(left_ns, from_ns)
FROM (
    SELECT
        sealed.group_id AS group_id,
        sealed.topic_partition AS topic_partition,
        meter_id,
        epoch,
        from_ns,
        from_uj,
        lagInFrame(sealed.group_id) OVER chain AS left_group,
        lagInFrame(to_ns) OVER chain AS left_ns,
        lagInFrame(to_uj) OVER chain AS left_uj
    FROM metered
    INNER JOIN (
        SELECT event_time, batch_id, revision, inputs, group_id, topic_partition
        FROM current_batches
        WHERE event_time >= fromUnixTimestamp64Nano({from_ns:Int64}) AND group_id IN troubled
    ) AS sealed
        ON metered.event_time = sealed.event_time AND metered.batch_id = sealed.batch_id
        AND metered.revision = sealed.revision AND metered.inputs = sealed.inputs
    WHERE metered.event_time >= fromUnixTimestamp64Nano({from_ns:Int64})
        AND metered.batch_id IN (
            SELECT batch_id
            FROM batches
            WHERE event_time >= fromUnixTimestamp64Nano({from_ns:Int64}) AND group_id IN troubled
        )
    WINDOW chain AS (PARTITION BY meter_id, epoch ORDER BY from_ns ROWS BETWEEN 1 PRECEDING AND CURRENT ROW)
)
WHERE left_group = group_id AND left_uj != from_uj
    AND id NOT IN (SELECT toString(cause_id) FROM repairs)
ORDER BY group_id, left_ns
"""

# Two attempts at one revision know different frames, each perhaps one that the other lacks: all are read again,
# once the window after them is sealed.
ATTEMPTS: Final = """
SELECT
    lower(hex(MD5(concat(
        arrayStringConcat([
            toString(any(batch_id)), toString(revision), arrayStringConcat(arraySort(groupUniqArray(inputs)))
        ], '\\x1f'),
        if(any(end_ns) + {window_ns:Int64} <= any(until_ns), '', '\\x1fearly')
    )))) AS id,
    'attempts', group_id, any(topic_partition), start_ns, any(end_ns)
FROM batches
INNER JOIN (SELECT group_id, max(end_ns) AS until_ns FROM batches GROUP BY group_id) AS sealed USING (group_id)
WHERE event_time >= fromUnixTimestamp64Nano({from_ns:Int64})
GROUP BY group_id, start_ns, batch_id, revision
HAVING uniqExact(inputs) > 1
    AND (
        any(end_ns) + {window_ns:Int64} <= any(until_ns)
        OR max(stored_at) <= now64(3) - toIntervalSecond({patience_s:UInt32})
    )
    AND id NOT IN (SELECT toString(cause_id) FROM repairs)
ORDER BY group_id, start_ns
"""

ENDED_S: Final = 60
"""A group that goes on has sealed its next windows by then."""


@dataclass(frozen=True, slots=True)
class Cause:
    """Event time of one group that must be looked at again."""

    cause_id: str
    """Empty where somebody asked."""
    kind: str
    group_id: str
    partition: int
    from_ns: int
    to_ns: int


def open_causes(
    client: "Client",
    *,
    from_ns: int,
    window_ns: int,
    holes_from_ns: int | None = None,
    patience_s: int = ENDED_S,
) -> list[Cause]:
    """What nobody has dealt with, of event time from `from_ns` on.

    holes_from_ns: where to begin to look for anything but late frames; these queries grow with the time looked at.
    patience_s: what lies at a group's end is waited with for so long; 0 where nothing more is to come.
    Raises DatabaseUnavailable.
    """
    near_ns = from_ns if holes_from_ns is None else holes_from_ns
    crossed = {"from_ns": near_ns, "window_ns": window_ns, "patience_s": patience_s}
    found = [
        *rows_of(client, LATE, {"from_ns": from_ns, "window_ns": window_ns, "patience_s": patience_s}),
        *rows_of(client, HOLES, {"from_ns": near_ns}),
        *rows_of(client, OVERLAPS, crossed),
        *rows_of(client, ATTEMPTS, crossed),
    ]
    return sorted((Cause(*row) for row in found), key=lambda cause: (cause.group_id, cause.from_ns))


def repair_table(causes: Iterable[Cause], outcome: str, batches: int) -> pa.Table:
    """Rows of `repairs`: these causes are dealt with."""
    rows = [
        {
            "cause_id": cause.cause_id,
            "cause": cause.kind,
            "group_id": cause.group_id,
            "from_ns": cause.from_ns,
            "to_ns": cause.to_ns,
            "event_time": cause.from_ns // 1_000_000,
            "outcome": outcome,
            "batches": batches,
        }
        for cause in causes
    ]
    return pa.Table.from_pylist(rows, arrow_schema("repairs"))
