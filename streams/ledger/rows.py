"""Batches as Arrow tables, column for column what schemas/clickhouse declares."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from streams import request_totals
from streams.batch import AccountLine, Batch, RequestLines
from streams.ledger.tables import arrow_schema

__all__ = ["batch_table", "ledger_table", "meter_table"]

BATCH_COLUMNS: Final[dict[str, Callable[[Batch], Any]]] = {
    "batch_id": lambda b: b.batch_id,
    "revision": lambda b: b.revision,
    "inputs": lambda b: b.inputs,
    "group_id": lambda b: b.group_id,
    "engine_ids": lambda b: list(b.engine_ids),
    "incarnations": lambda b: list(b.incarnations),
    "engine_class": lambda b: b.engine_class,
    "model": lambda b: b.model,
    "gpu_model": lambda b: b.gpu_model,
    "zone": lambda b: b.zone,
    "site": lambda b: b.site,
    "start_ns": lambda b: b.start_ns,
    "end_ns": lambda b: b.end_ns,
    "event_time": lambda b: b.start_ns // 1_000_000,
    "metered_uj": lambda b: b.metered_uj,
    "request_uj": lambda b: b.account_uj("request"),
    "idle_uj": lambda b: b.account_uj("idle"),
    "cold_start_uj": lambda b: b.account_uj("cold_start"),
    "overhead_uj": lambda b: b.account_uj("overhead"),
    "unobserved_uj": lambda b: b.account_uj("unobserved"),
    "host_uj": lambda b: b.host_uj,
    "modelled_uj": lambda b: b.modelled_uj,
    "request_scale": lambda b: b.request_scale,
    "gap_ns": lambda b: b.gap_ns,
    "gap_causes": lambda b: list(b.gap_causes),
    "busy_ns": lambda b: b.busy_ns,
    "held_ns": lambda b: sum(int(lines.held_ns.sum()) for lines in b.requests),
    "unmetered_ns": lambda b: b.unmetered_ns,
    "iterations": lambda b: sum(len(lines.window.iteration_share) for lines in b.requests),
    "batch_size": lambda b: sum(len(lines.energy_uj) for lines in b.requests),
    "tenants": lambda b: len(set().union(*(lines.window.requests.tenant.tolist() for lines in b.requests))),
    "rows": lambda b: sum(lines.window.runs.rows for lines in b.requests),
    "features": lambda b: list(b.features.items()),
    "method": lambda b: b.method,
    "permutations": lambda b: b.permutations,
    "evaluations": lambda b: b.evaluations,
    "seed": lambda b: b.seed,
    "error_estimate": lambda b: b.error_estimate,
    "converged": lambda b: int(b.converged),
    "model_version": lambda b: b.model_version,
    "model_origin": lambda b: b.model_origin,
    "tier": lambda b: b.tier,
    "closed_by": lambda b: b.closed_by,
    "reason": lambda b: b.reason,
    "topic_partition": lambda b: b.partition,
    "iteration_offsets": lambda b: {"1": b.iteration_offsets[0], "2": b.iteration_offsets[1]},
    "energy_offsets": lambda b: {"1": b.energy_offsets[0], "2": b.energy_offsets[1]},
    "iteration_frames": lambda b: b.iteration_frames,
    "energy_frames": lambda b: b.energy_frames,
    "ingested_at": lambda b: b.ingested_ns // 1_000_000,
    "gpus": lambda b: b.gpus,
    "edge_error": lambda b: b.edge_error,
    "attempt": lambda b: b.inputs,
}


def batch_table(batches: Sequence[Batch]) -> pa.Table:
    """One row of `batches` per batch: the manifest of sealed windows."""
    schema = arrow_schema("batches")
    columns = {name: [read(batch) for batch in batches] for name, read in BATCH_COLUMNS.items()}
    return pa.table(columns, schema=schema)


def meter_table(batches: Iterable[Batch]) -> pa.Table:
    """Rows of `raw_meter`: the readings on either side of each batch's edges."""
    rows = [
        {
            "batch_id": batch.batch_id,
            "inputs": batch.inputs,
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
    return pa.Table.from_pylist(rows, arrow_schema("raw_meter"))


_EDGE_FIELDS: Final = (
    ("ns", "at_ns"),
    ("before_ns", "before_ns"),
    ("before_uj", "before_uj"),
    ("after_ns", "after_ns"),
    ("after_uj", "after_uj"),
)


def ledger_table(batches: Iterable[Batch]) -> pa.Table:
    """Rows of `ledger`: one per batch, account and request; accounts without energy have no row.

    Built column by column over all batches: what Arrow charges for a column does not depend on its length.
    """
    found = list(batches)
    requests = [(batch, lines) for batch in found for lines in batch.requests if len(lines.energy_uj)]
    tables = [_request_rows(requests)] if requests else []
    accounts = [(b, line) for b in found for line in b.accounts if line.energy_uj or line.host_uj]
    if accounts:
        tables.append(_account_rows(accounts))
    return pa.concat_tables(tables) if tables else arrow_schema("ledger").empty_table()


_Booked = tuple[Batch, RequestLines]

_OF_BATCH: Final[Mapping[str, Callable[[_Booked], Any]]] = {
    "event_time": lambda of: of[0].start_ns // 1_000_000,
    "batch_id": lambda of: of[0].batch_id,
    "inputs": lambda of: of[0].inputs,
    "revision": lambda of: of[0].revision,
    "engine_id": lambda of: of[1].window.engine_id,
    "incarnation": lambda of: of[1].window.incarnation,
    "group_id": lambda of: of[0].group_id,
    "model": lambda of: of[0].model,
}
"""The same on all rows of one engine in one batch."""

_NAMES: Final[Mapping[str, Callable[[RequestLines], NDArray[np.object_]]]] = {
    "tenant": lambda lines: lines.window.requests.tenant,
    "client_request_id": lambda lines: lines.window.requests.client_id,
    "adapter": lambda lines: lines.window.requests.adapter,
    "load_id": lambda lines: lines.window.requests.load_id,
}

_OF_REQUEST: Final[Mapping[str, Callable[[RequestLines], NDArray[Any]]]] = {
    "ordinal": lambda lines: lines.window.requests.ordinal,
    "prefix_group": lambda lines: lines.window.requests.prefix_group,
    "load_ordinal": lambda lines: lines.window.requests.load_ordinal,
    "energy_uj": lambda lines: lines.energy_uj,
    "host_uj": lambda lines: lines.host_uj,
    "half_width_uj": lambda lines: lines.half_width_uj,
    "prompt_tokens": lambda lines: lines.window.requests.prompt_tokens,
    "cached_tokens": lambda lines: lines.window.requests.cached_tokens,
    "held_ns": lambda lines: lines.held_ns,
    "sampling_uj": lambda lines: lines.sampling_uj,
}


def _request_rows(booked: Sequence[_Booked]) -> pa.Table:
    schema = arrow_schema("ledger")
    owner = pa.array(np.repeat(np.arange(len(booked)), [len(lines.energy_uj) for _, lines in booked]))
    columns: dict[str, Any] = {
        name: pa.array([read(of) for of in booked], schema.field(name).type).take(owner)
        for name, read in _OF_BATCH.items()
    }
    columns["account"] = pa.repeat("request", len(owner))
    for name, read_names in _NAMES.items():
        columns[name] = _texts(np.concatenate([read_names(lines) for _, lines in booked]).tolist())
    for name, read_lines in _OF_REQUEST.items():
        columns[name] = np.concatenate([read_lines(lines) for _, lines in booked])
    columns["model_loadings"] = _lists(np.concatenate([lines.model_loadings_uj for _, lines in booked]))
    columns["term_shares"] = _lists(np.concatenate([lines.term_shares for _, lines in booked]))
    totals = [
        request_totals.request_totals(lines.window, batch.start_ns, batch.end_ns) for batch, lines in booked
    ]
    for name in totals[0]:
        columns[name] = np.concatenate([of[name] for of in totals])
    return pa.table({name: columns[name] for name in schema.names}, schema=schema)


def _texts(names: list[str]) -> pa.Array:
    """(R,) names; nearly always nobody has an adapter, or waited for a load."""
    return pa.array(names, pa.string()) if any(names) else pa.repeat("", len(names))


def _lists(values: NDArray[np.float32] | NDArray[np.float64]) -> pa.Array:
    """(R, F) as R lists."""
    offsets = np.arange(len(values) + 1, dtype=np.int32) * values.shape[1]
    return pa.ListArray.from_arrays(offsets, values.ravel())


_OF_ACCOUNT: Final[Mapping[str, Callable[[Batch, AccountLine], Any]]] = {
    "event_time": lambda batch, _: batch.start_ns // 1_000_000,
    "batch_id": lambda batch, _: batch.batch_id,
    "inputs": lambda batch, _: batch.inputs,
    "revision": lambda batch, _: batch.revision,
    "account": lambda _, line: line.account,
    "engine_id": lambda _, line: line.engine_id,
    "group_id": lambda batch, _: batch.group_id,
    "model": lambda batch, _: batch.model,
    "load_id": lambda _, line: line.load_id,
    "energy_uj": lambda _, line: line.energy_uj,
    "host_uj": lambda _, line: line.host_uj,
    "first_ns": lambda batch, _: batch.start_ns,
    "last_ns": lambda batch, _: batch.end_ns,
}


def _account_rows(accounts: Sequence[tuple[Batch, AccountLine]]) -> pa.Table:
    """Rows without a request: blank where the columns speak of one, -1 where they number it."""
    schema = arrow_schema("ledger")
    columns: dict[str, Any] = {
        name: [read(batch, line) for batch, line in accounts] for name, read in _OF_ACCOUNT.items()
    }
    columns["ordinal"] = np.full(len(accounts), -1)
    for field in schema:
        if field.name not in columns:
            columns[field.name] = _blank(field.type, len(accounts))
    return pa.table({name: columns[name] for name in schema.names}, schema=schema)


def _blank(kind: pa.DataType, size: int) -> pa.Array:
    if pa.types.is_list(kind):
        return pa.ListArray.from_arrays(np.zeros(size + 1, np.int32), pa.array([], kind.value_type))
    return pa.repeat(pa.scalar("" if pa.types.is_string(kind) else 0, kind), size)
