"""Batches as Arrow tables, column for column what schemas/clickhouse declares."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

import numpy as np
import pyarrow as pa

from schemas.side_inputs import Load
from streams.batch import AccountLine, Batch, RequestLines
from streams.pipeline import DeadLetter, LateFrame
from streams.side_inputs import SideInputs

__all__ = [
    "batch_table",
    "dead_letter_table",
    "late_frame_table",
    "ledger_table",
    "load_table",
    "meter_table",
]

_TIME: Final = pa.timestamp("ms", tz="UTC")
_OFFSETS: Final = pa.struct([("1", pa.int64()), ("2", pa.int64())])

BATCH_COLUMNS: Final[dict[str, tuple[pa.DataType, Callable[[Batch], Any]]]] = {
    "batch_id": (pa.string(), lambda b: b.batch_id),
    "revision": (pa.uint32(), lambda b: b.revision),
    "group_id": (pa.string(), lambda b: b.group_id),
    "engine_ids": (pa.list_(pa.string()), lambda b: list(b.engine_ids)),
    "incarnations": (pa.list_(pa.string()), lambda b: list(b.incarnations)),
    "engine_class": (pa.string(), lambda b: b.engine_class),
    "model": (pa.string(), lambda b: b.model),
    "gpu_model": (pa.string(), lambda b: b.gpu_model),
    "zone": (pa.string(), lambda b: b.zone),
    "site": (pa.string(), lambda b: b.site),
    "start_ns": (pa.int64(), lambda b: b.start_ns),
    "end_ns": (pa.int64(), lambda b: b.end_ns),
    "event_time": (_TIME, lambda b: b.start_ns // 1_000_000),
    "metered_uj": (pa.int64(), lambda b: b.metered_uj),
    "request_uj": (pa.int64(), lambda b: b.account_uj("request")),
    "idle_uj": (pa.int64(), lambda b: b.account_uj("idle")),
    "cold_start_uj": (pa.int64(), lambda b: b.account_uj("cold_start")),
    "overhead_uj": (pa.int64(), lambda b: b.account_uj("overhead")),
    "unobserved_uj": (pa.int64(), lambda b: b.account_uj("unobserved")),
    "host_uj": (pa.int64(), lambda b: b.host_uj),
    "modelled_uj": (pa.int64(), lambda b: b.modelled_uj),
    "gap_ns": (pa.int64(), lambda b: b.gap_ns),
    "gap_causes": (pa.list_(pa.string()), lambda b: list(b.gap_causes)),
    "busy_ns": (pa.int64(), lambda b: b.busy_ns),
    "iterations": (
        pa.uint32(),
        lambda b: sum(len(lines.window.iteration_share) for lines in b.requests),
    ),
    "batch_size": (pa.uint32(), lambda b: sum(len(lines.energy_uj) for lines in b.requests)),
    "tenants": (
        pa.uint32(),
        lambda b: len({name for lines in b.requests for name in lines.window.requests.tenant}),
    ),
    "rows": (pa.uint64(), lambda b: sum(len(lines.window.rows.request) for lines in b.requests)),
    "features": (pa.map_(pa.string(), pa.float64()), lambda b: list(b.features.items())),
    "method": (pa.string(), lambda b: b.method),
    "permutations": (pa.uint32(), lambda b: b.permutations),
    "evaluations": (pa.uint64(), lambda b: b.evaluations),
    "seed": (pa.uint64(), lambda b: b.seed),
    "error_estimate": (pa.float64(), lambda b: b.error_estimate),
    "converged": (pa.uint8(), lambda b: int(b.converged)),
    "model_version": (pa.string(), lambda b: b.model_version),
    "model_origin": (pa.string(), lambda b: b.model_origin),
    "tier": (pa.uint8(), lambda b: b.tier),
    "closed_by": (pa.string(), lambda b: b.closed_by),
    "reason": (pa.string(), lambda b: b.reason),
    "topic_partition": (pa.uint32(), lambda b: b.partition),
    "iteration_offsets": (_OFFSETS, lambda b: {"1": b.iteration_offsets[0], "2": b.iteration_offsets[1]}),
    "energy_offsets": (_OFFSETS, lambda b: {"1": b.energy_offsets[0], "2": b.energy_offsets[1]}),
    "iteration_frames": (pa.uint32(), lambda b: b.iteration_frames),
    "energy_frames": (pa.uint32(), lambda b: b.energy_frames),
    "ingested_at": (_TIME, lambda b: b.ingested_ns // 1_000_000),
}


def batch_table(batches: Sequence[Batch]) -> pa.Table:
    """One row of `batches` per batch: the manifest of sealed windows."""
    return pa.table(
        {name: pa.array([read(b) for b in batches], kind) for name, (kind, read) in BATCH_COLUMNS.items()}
    )


def meter_table(batches: Iterable[Batch]) -> pa.Table:
    """Rows of `raw_meter`: the readings on either side of each batch's edges."""
    rows = [
        {
            "batch_id": batch.batch_id,
            "revision": batch.revision,
            "meter_id": one.meter.meter_id,
            "epoch": one.meter.epoch,
            "kind": one.meter.kind,
            "source": one.meter.source,
            "event_time": batch.start_ns // 1_000_000,
            **{
                f"{side}_{name}": getattr(edge, field)
                for side, edge in (("from", one.left), ("to", one.right))
                for name, field in _EDGE_FIELDS
            },
        }
        for batch in batches
        for one in batch.meters
    ]
    return pa.Table.from_pylist(rows, _METER_SCHEMA)


_EDGE_FIELDS: Final = (
    ("ns", "at_ns"),
    ("before_ns", "before_ns"),
    ("before_uj", "before_uj"),
    ("after_ns", "after_ns"),
    ("after_uj", "after_uj"),
)
_METER_SCHEMA: Final = pa.schema(
    [
        ("batch_id", pa.string()),
        ("revision", pa.uint32()),
        ("meter_id", pa.string()),
        ("epoch", pa.string()),
        ("kind", pa.string()),
        ("source", pa.string()),
        ("event_time", _TIME),
        *((f"{side}_{name}", pa.int64()) for side in ("from", "to") for name, _ in _EDGE_FIELDS),
    ]
)


def ledger_table(batches: Iterable[Batch]) -> pa.Table:
    """Rows of `ledger`: one per batch, account and request; accounts without energy have no row."""
    tables = []
    for batch in batches:
        tables += [_request_rows(batch, lines) for lines in batch.requests if len(lines.energy_uj)]
        accounts = [line for line in batch.accounts if line.energy_uj or line.host_uj]
        if accounts:
            tables.append(_account_rows(batch, accounts))
    return pa.concat_tables(tables) if tables else _LEDGER_SCHEMA.empty_table()


_LEDGER_SCHEMA: Final = pa.schema(
    [
        ("tenant", pa.string()),
        ("event_time", _TIME),
        ("batch_id", pa.string()),
        ("revision", pa.uint32()),
        ("account", pa.string()),
        ("engine_id", pa.string()),
        ("incarnation", pa.string()),
        ("ordinal", pa.int64()),
        ("client_request_id", pa.string()),
        ("group_id", pa.string()),
        ("model", pa.string()),
        ("adapter", pa.string()),
        ("prefix_group", pa.uint64()),
        ("load_id", pa.string()),
        ("load_ordinal", pa.int64()),
        ("energy_uj", pa.int64()),
        ("host_uj", pa.int64()),
        ("half_width_uj", pa.int64()),
        ("prompt_tokens", pa.int64()),
        ("cached_tokens", pa.int64()),
        ("prefill_tokens", pa.int64()),
        ("decode_tokens", pa.int64()),
        ("draft_tokens", pa.int64()),
        ("emitted_tokens", pa.int64()),
        ("iterations", pa.uint32()),
        ("context_sum", pa.int64()),
        ("held_ns", pa.int64()),
        ("first_ns", pa.int64()),
        ("last_ns", pa.int64()),
    ]
)


def _constant(value: Any, kind: pa.DataType, size: int) -> pa.Array:
    return pa.repeat(pa.scalar(value, kind), size)


def _common(batch: Batch, account: str, engine_id: str, incarnation: str, size: int) -> dict[str, pa.Array]:
    values = {
        "event_time": batch.start_ns // 1_000_000,
        "batch_id": batch.batch_id,
        "revision": batch.revision,
        "account": account,
        "engine_id": engine_id,
        "incarnation": incarnation,
        "group_id": batch.group_id,
        "model": batch.model,
    }
    return {name: _constant(value, _LEDGER_SCHEMA.field(name).type, size) for name, value in values.items()}


def _request_rows(batch: Batch, lines: RequestLines) -> pa.Table:
    window = lines.window
    requests, rows = window.requests, window.rows
    size = len(requests.ordinal)
    here = window.iteration_ends_here[rows.iteration]
    own_tokens = rows.new_tokens - rows.drafts
    # A chunk of the prompt, or what a preempted request must compute again.
    prefill = (own_tokens > 1) | (rows.context_tokens < requests.prompt_tokens[rows.request])
    starts, ends = window.iteration_start_ns[rows.iteration], window.iteration_end_ns[rows.iteration]
    first_ns = np.full(size, np.iinfo(np.int64).max)
    np.minimum.at(first_ns, rows.request, np.maximum(starts, batch.start_ns))
    last_ns = np.zeros(size, np.int64)
    np.maximum.at(last_ns, rows.request, np.minimum(ends, batch.end_ns))

    def total(values: Any) -> Any:
        sums = np.bincount(rows.request, np.where(here, values, 0), size)
        return np.rint(sums).astype(np.int64)

    columns: dict[str, Any] = {
        **_common(batch, "request", window.engine_id, window.incarnation, size),
        "tenant": requests.tenant,
        "ordinal": requests.ordinal,
        "client_request_id": requests.client_id,
        "adapter": requests.adapter,
        "prefix_group": requests.prefix_group,
        "load_id": requests.load_id,
        "load_ordinal": requests.load_ordinal,
        "energy_uj": lines.energy_uj,
        "host_uj": lines.host_uj,
        "half_width_uj": lines.half_width_uj,
        "prompt_tokens": requests.prompt_tokens,
        "cached_tokens": requests.cached_tokens,
        "prefill_tokens": total(np.where(prefill, own_tokens, 0)),
        "decode_tokens": total(np.where(prefill, 0, own_tokens)),
        "draft_tokens": total(rows.drafts),
        "emitted_tokens": total(rows.emitted),
        "iterations": total(np.ones(len(rows.request))).astype(np.uint32),
        "context_sum": total(rows.context_tokens),
        "held_ns": lines.held_ns,
        "first_ns": first_ns,
        "last_ns": last_ns,
    }
    return pa.table({name: columns[name] for name in _LEDGER_SCHEMA.names}, schema=_LEDGER_SCHEMA)


def _account_rows(batch: Batch, accounts: Sequence[AccountLine]) -> pa.Table:
    blank = {name: "" if pa.types.is_string(kind) else 0 for name, kind in _named_types()}
    rows = [
        blank
        | {
            "event_time": batch.start_ns // 1_000_000,
            "batch_id": batch.batch_id,
            "revision": batch.revision,
            "account": line.account,
            "engine_id": line.engine_id,
            "ordinal": -1,
            "group_id": batch.group_id,
            "model": batch.model,
            "load_id": line.load_id,
            "energy_uj": line.energy_uj,
            "host_uj": line.host_uj,
            "first_ns": batch.start_ns,
            "last_ns": batch.end_ns,
        }
        for line in accounts
    ]
    return pa.Table.from_pylist(rows, _LEDGER_SCHEMA)


def _named_types() -> list[tuple[str, pa.DataType]]:
    return [(field.name, field.type) for field in _LEDGER_SCHEMA]


_LOAD_SCHEMA: Final = pa.schema(
    [
        ("load_id", pa.string()),
        ("kind", pa.string()),
        ("group_id", pa.string()),
        ("engine_id", pa.string()),
        ("incarnation", pa.string()),
        ("start_ns", pa.int64()),
        ("end_ns", pa.int64()),
        ("event_time", _TIME),
        ("what", pa.string()),
        ("amortised_over", pa.uint32()),
    ]
)


def load_table(loads: Iterable[Load], side: SideInputs) -> pa.Table:
    """Rows of `loads`, each with the N of the policy in force when it began."""
    rows = [
        {
            **{name: getattr(load, name) for name in Load.__dataclass_fields__},
            "event_time": load.start_ns // 1_000_000,
            "amortised_over": side.amortised_over(load.start_ns),
        }
        for load in loads
    ]
    return pa.Table.from_pylist(rows, _LOAD_SCHEMA)


_LATE_SCHEMA: Final = pa.schema(
    [
        ("topic", pa.string()),
        ("topic_partition", pa.uint32()),
        ("topic_offset", pa.int64()),
        ("group_id", pa.string()),
        ("engine_id", pa.string()),
        ("incarnation", pa.string()),
        ("sequence", pa.uint64()),
        ("start_ns", pa.int64()),
        ("end_ns", pa.int64()),
        ("event_time", _TIME),
        ("arrived_at", _TIME),
    ]
)


def late_frame_table(late_frames: Iterable[LateFrame]) -> pa.Table:
    """Rows of `late_frames`: where the repair job finds each frame."""
    rows = [
        {
            "topic": late.message.topic,
            "topic_partition": late.message.partition,
            "topic_offset": late.message.offset,
            "group_id": late.group_id,
            "engine_id": late.engine_id,
            "incarnation": late.incarnation,
            "sequence": late.sequence,
            "start_ns": late.start_ns,
            "end_ns": late.end_ns,
            "event_time": late.start_ns // 1_000_000,
            "arrived_at": late.message.arrival_ns // 1_000_000,
        }
        for late in late_frames
    ]
    return pa.Table.from_pylist(rows, _LATE_SCHEMA)


_DEAD_SCHEMA: Final = pa.schema(
    [
        ("topic", pa.string()),
        ("topic_partition", pa.uint32()),
        ("topic_offset", pa.int64()),
        ("key", pa.string()),
        ("reason", pa.string()),
        ("detail", pa.string()),
        ("payload", pa.binary()),
        ("arrived_at", _TIME),
    ]
)


def dead_letter_table(dead_letters: Iterable[DeadLetter]) -> pa.Table:
    """Rows of `dead_letters`: the original bytes and what was wrong with them."""
    rows = [
        {
            "topic": letter.message.topic,
            "topic_partition": letter.message.partition,
            "topic_offset": letter.message.offset,
            "key": letter.message.key.decode("utf-8", "replace"),
            "reason": letter.reason,
            "detail": letter.detail,
            "payload": letter.message.value,
            "arrived_at": letter.message.arrival_ns // 1_000_000,
        }
        for letter in dead_letters
    ]
    return pa.Table.from_pylist(rows, _DEAD_SCHEMA)
