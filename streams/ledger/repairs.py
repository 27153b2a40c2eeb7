"""What the manifest says of the time that is to be repaired, and where its frames lie."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from schemas.side_inputs import ModelVersion
from schemas.topics import ENERGY, ITERATIONS
from streams.ledger.query import rows_of
from streams.repair import SUPERSEDED, Sealed

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

__all__ = [
    "Position",
    "Stretch",
    "frame_positions",
    "last_revisions",
    "read_stretch",
]

Position = tuple[str, int, int, int]
"""(topic, partition, first offset, last offset)."""

STRETCH: Final = """
SELECT
    toString(batch_id), revision, group_id, topic_partition, start_ns, end_ns, gap_causes,
    engine_class, model_version, method
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
class Stretch:
    """Neighbouring batches of one group."""

    sealed: tuple[Sealed, ...]
    begins: bool
    """The first of them is the group's first."""


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


def _sealed(row: Sequence[Any], models: Mapping[tuple[str, str], ModelVersion]) -> Sealed:
    batch_id, revision, group_id, partition, start_ns, end_ns, gap_causes = row[:7]
    recorded = tuple(models[key] for key in _model_keys(row) if key in models)
    return Sealed(
        batch_id, revision, group_id, partition, start_ns, end_ns, tuple(gap_causes), recorded, row[9]
    )


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
