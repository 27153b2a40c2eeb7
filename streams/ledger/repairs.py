"""What asks for a repair, and what the manifest says of the time in question."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa

from schemas.side_inputs import ModelVersion
from schemas.topics import ENERGY, ITERATIONS
from streams.ledger.query import rows_of
from streams.ledger.tables import arrow_schema
from streams.repair import SUPERSEDED, Sealed

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

__all__ = [
    "Cause",
    "Position",
    "Stretch",
    "frame_positions",
    "last_revisions",
    "open_causes",
    "read_stretch",
    "repair_table",
]

Position = tuple[str, int, int, int]
"""(topic, partition, first offset, last offset)."""

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
# another process, or of an earlier frame. The sum of lengths finds the groups that are worth a closer look.
OVERLAPS: Final = """
WITH
    crowded AS (
        SELECT group_id
        FROM batches
        WHERE event_time >= fromUnixTimestamp64Nano({from_ns:Int64})
        GROUP BY group_id
        HAVING sum(end_ns - start_ns) > max(end_ns) - min(start_ns)
    )
SELECT
    lower(hex(MD5(arrayStringConcat(
        [left_batch, toString(batch_id), toString(left_revision), toString(revision)], '\\x1f'
    )))) AS id,
    'overlap', group_id, topic_partition, left_start_ns, greatest(left_ns, end_ns)
FROM (
    SELECT
        group_id,
        topic_partition,
        batch_id,
        revision,
        start_ns,
        end_ns,
        lagInFrame(toString(batch_id)) OVER chain AS left_batch,
        lagInFrame(revision) OVER chain AS left_revision,
        lagInFrame(start_ns) OVER chain AS left_start_ns,
        lagInFrame(end_ns) OVER chain AS left_ns
    FROM current_batches
    WHERE event_time >= fromUnixTimestamp64Nano({from_ns:Int64}) AND group_id IN crowded
    WINDOW chain AS (
        PARTITION BY group_id ORDER BY start_ns, end_ns, batch_id ROWS BETWEEN 1 PRECEDING AND CURRENT ROW
    )
)
WHERE left_ns > start_ns AND id NOT IN (SELECT toString(cause_id) FROM repairs)
ORDER BY group_id, left_start_ns
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

STRETCH: Final = """
SELECT
    toString(batch_id), revision, group_id, topic_partition, start_ns, end_ns, gap_causes,
    engine_class, model_version
FROM current_batches
WHERE group_id = {group_id:String} AND end_ns >= {from_ns:Int64} AND start_ns <= {to_ns:Int64}
ORDER BY start_ns
"""

BEGIN: Final = "SELECT min(start_ns) FROM current_batches WHERE group_id = {group_id:String}"

# What a worker sealed rests on the ranges of its manifest rows; every other frame is a late one.
RANGES: Final = """
SELECT DISTINCT topic_partition, iteration_offsets, energy_offsets
FROM batches
WHERE group_id = {group_id:String} AND end_ns >= {from_ns:Int64} AND start_ns <= {to_ns:Int64}
    AND reason = '' AND closed_by != {superseded:String}
"""
LATE_POSITIONS: Final = """
SELECT DISTINCT topic, topic_partition, topic_offset
FROM late_frames
WHERE group_id = {group_id:String} AND end_ns >= {from_ns:Int64} AND start_ns <= {to_ns:Int64} + {crossing_ns:Int64}
"""
CROSSING_NS: Final = 60_000_000_000
"""A frame may hold an iteration that began before the frame did; none that is served lasts a minute."""

ENDED_S: Final = 60
"""A group that goes on has sealed its next windows by then."""

MODELS: Final = """
SELECT engine_class, model_version, origin, coefficients, fit_error, covariance
FROM energy_models FINAL
WHERE engine_class IN {classes:Array(String)} AND model_version IN {versions:Array(String)}
"""

REVISIONS: Final = """
SELECT toString(batch_id), max(revision)
FROM batches
WHERE group_id = {group_id:String} AND end_ns >= {from_ns:Int64} AND start_ns <= {to_ns:Int64}
GROUP BY batch_id
"""


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


@dataclass(frozen=True, slots=True)
class Stretch:
    """Neighbouring batches of one group."""

    sealed: tuple[Sealed, ...]
    begins: bool
    """The first of them is the group's first."""


def open_causes(
    client: "Client",
    *,
    from_ns: int,
    window_ns: int,
    holes_from_ns: int | None = None,
    patience_s: int = ENDED_S,
) -> list[Cause]:
    """Late frames, counter holes and overlaps from event time `from_ns` on that nobody has dealt with.

    holes_from_ns: where to begin to look for holes and overlaps; their queries grow with the time looked at.
    patience_s: a late frame at a group's end is waited with for so long; 0 where nothing more is to come.
    Raises DatabaseUnavailable.
    """
    near = {"from_ns": from_ns if holes_from_ns is None else holes_from_ns}
    found = [
        *rows_of(client, LATE, {"from_ns": from_ns, "window_ns": window_ns, "patience_s": patience_s}),
        *rows_of(client, HOLES, near),
        *rows_of(client, OVERLAPS, near),
    ]
    return sorted((Cause(*row) for row in found), key=lambda cause: (cause.group_id, cause.from_ns))


def read_stretch(client: "Client", group_id: str, from_ns: int, to_ns: int) -> Stretch:
    """The batches that `[from_ns, to_ns]` touches, and their neighbours on either side, in order of time."""
    asked = {"group_id": group_id, "from_ns": from_ns, "to_ns": to_ns}
    # A batch's neighbours end where it starts and start where it ends: one look more has them.
    found = rows_of(client, STRETCH, asked)
    if not found:
        return Stretch((), begins=False)
    edges = {"from_ns": min(row[4] for row in found), "to_ns": max(row[5] for row in found)}
    rows = rows_of(client, STRETCH, asked | edges)
    models = _models(client, rows)
    sealed = tuple(_sealed(row, models) for row in rows)
    ((first_ns,),) = rows_of(client, BEGIN, {"group_id": group_id})
    return Stretch(sealed, begins=sealed[0].start_ns == first_ns)


def frame_positions(client: "Client", group_id: str, stretch: Stretch, from_ns: int) -> list[Position]:
    """Where the frames of a stretch lie, those that came late included; from `from_ns` or the stretch's start."""
    asked = {
        "group_id": group_id,
        "from_ns": min(from_ns, stretch.sealed[0].start_ns),
        "to_ns": stretch.sealed[-1].end_ns,
        "superseded": SUPERSEDED,
        "crossing_ns": CROSSING_NS,
    }
    found: list[Position] = []
    for partition, iterations, energy in rows_of(client, RANGES, asked):
        found += [
            (topic, partition, *offsets)
            for topic, offsets in ((ITERATIONS, iterations), (ENERGY, energy))
            if offsets[0] >= 0
        ]
    found += [(topic, partition, at, at) for topic, partition, at in rows_of(client, LATE_POSITIONS, asked)]
    return found


def last_revisions(client: "Client", group_id: str, stretch: Stretch, from_ns: int) -> dict[str, int]:
    """The highest revision of every batch ever written for the stretch's time, superseded ones included."""
    asked = {
        "group_id": group_id,
        "from_ns": min(from_ns, stretch.sealed[0].start_ns),
        "to_ns": stretch.sealed[-1].end_ns,
    }
    return dict(rows_of(client, REVISIONS, asked))  # type: ignore[arg-type]


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


def _sealed(row: Sequence[Any], models: Mapping[tuple[str, str], ModelVersion]) -> Sealed:
    batch_id, revision, group_id, partition, start_ns, end_ns, gap_causes = row[:7]
    recorded = tuple(models[key] for key in _model_keys(row) if key in models)
    return Sealed(batch_id, revision, group_id, partition, start_ns, end_ns, tuple(gap_causes), recorded)


def _model_keys(row: Sequence[Any]) -> list[tuple[str, str]]:
    """Engine class and version of each engine of a batch that ran; nearly always one."""
    classes, versions = str(row[7]).split("+"), str(row[8]).split("+")
    return [(name, version) for name in classes for version in versions if version]


def _models(client: "Client", rows: Sequence[Sequence[Any]]) -> dict[tuple[str, str], ModelVersion]:
    keys = {key for row in rows for key in _model_keys(row)}
    asked = {
        "classes": sorted({name for name, _ in keys}),
        "versions": sorted({version for _, version in keys}),
    }
    if not keys:
        return {}
    return {
        (name, version): ModelVersion(
            engine_class=name,
            version=version,
            effective_from_ns=1,
            origin=origin,
            coefficients=dict(coefficients),
            fit_error=fit_error,
            covariance=tuple(tuple(line) for line in covariance),
        )
        for name, version, origin, coefficients, fit_error, covariance in rows_of(client, MODELS, asked)
    }
