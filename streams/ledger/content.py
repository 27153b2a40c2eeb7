"""What a batch says, whenever it was said: a recomputation that says the same writes nothing."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final

from streams.batch import Batch
from streams.ledger.query import rows_of
from streams.ledger.rows import batch_table, ledger_table

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

__all__ = ["Content", "content_of", "read_contents"]

Content = frozenset[tuple[Any, ...]]

_BATCH: Final = (
    "start_ns", "end_ns", "metered_uj", "host_uj", "gap_ns", "busy_ns", "unmetered_ns", "closed_by",
    "iteration_frames", "energy_frames",
)  # fmt: skip
_LEDGER: Final = (
    "account", "engine_id", "incarnation", "ordinal", "tenant", "client_request_id", "adapter", "load_id",
    "load_ordinal", "energy_uj", "host_uj", "half_width_uj", "prefill_tokens", "decode_tokens", "draft_tokens",
    "emitted_tokens", "iterations", "context_sum", "held_ns", "first_ns", "last_ns",
)  # fmt: skip
_METER: Final = ("meter_id", "epoch", "from_ns", "to_ns", "from_uj", "to_uj")

READ: Final = """
SELECT toString(row.batch_id), {columns}
FROM {table} AS row
INNER JOIN current_batches AS sealed
    ON row.event_time = sealed.event_time AND row.batch_id = sealed.batch_id AND row.revision = sealed.revision
    AND row.inputs = sealed.inputs
WHERE sealed.group_id = {{group_id:String}} AND toString(row.batch_id) IN {{batch_ids:Array(String)}}
    AND row.event_time >= fromUnixTimestamp64Nano({{from_ns:Int64}}) - INTERVAL 1 SECOND
    AND row.event_time < fromUnixTimestamp64Nano({{to_ns:Int64}})
"""


def content_of(batch: Batch) -> Content:
    """Every figure of the batch that a reader could add up, in no order."""
    found = {("batch", *_values(row, _BATCH)) for row in batch_table([batch]).select(_BATCH).to_pylist()}
    found |= {("ledger", *_values(row, _LEDGER)) for row in ledger_table([batch]).select(_LEDGER).to_pylist()}
    for one in batch.meters:
        values = (one.left.at_ns, one.right.at_ns, one.left.value_uj, one.right.value_uj)
        found.add(("meter", one.meter.meter_id, one.meter.epoch, *values))
    return frozenset(found)


def read_contents(client: "Client", group_id: str, batches: Sequence[Batch]) -> dict[str, Content]:
    """What the ledger's highest revision of each of these batches says, by id. Raises DatabaseUnavailable."""
    if not batches:
        return {}
    asked = {
        "group_id": group_id,
        "batch_ids": [batch.batch_id for batch in batches],
        "from_ns": min(batch.start_ns for batch in batches),
        "to_ns": max(batch.end_ns for batch in batches),
    }
    found: dict[str, set[tuple[Any, ...]]] = defaultdict(set)
    sources = (
        ("batch", "current_batches", _BATCH),
        ("ledger", "current_ledger", _LEDGER),
        ("meter", "metered", _METER),
    )
    for kind, table, names in sources:
        columns = ", ".join(f"row.{name}" for name in names)
        for batch_id, *values in rows_of(client, READ.format(table=table, columns=columns), asked):
            found[batch_id].add((kind, *values))
    return {batch_id: frozenset(content) for batch_id, content in found.items()}


def _values(row: dict[str, Any], names: Iterable[str]) -> tuple[Any, ...]:
    return tuple(row[name] for name in names)
