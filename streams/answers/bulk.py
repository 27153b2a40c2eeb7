"""Rows by the million, streamed: what every request of a period drew, as CSV, JSON lines or Parquet.

The database sends blocks in its own format, an embedded one as a server does, and each is written before the next
is asked for: memory holds one block of rows, whatever the period. One row per request and engine process that
served it in the period.
"""

import csv
import io
import json
from collections.abc import Iterator, Sequence
from typing import IO, TYPE_CHECKING, Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from streams.answers.periods import Period
from streams.answers.report_files import neutralised

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

__all__ = ["FORMATS", "blocks", "write_rows"]

FORMATS: Final = ("csv", "json", "parquet")
BLOCK_ROWS: Final = 16_384
"""Rows that are held at once; as Python's texts and numbers some 20 MB."""

# Sums of all requests, the manifest of a long period and its order may each outgrow memory: beyond an eighth of a
# gigabyte the database keeps them on disk. Settings are part of the statement, so that an embedded database
# streams it too.
REQUESTS: Final = """
SELECT
    tenant, concat(incarnation, '-', toString(ordinal)) AS request_id, any(client_request_id) AS client_request_id,
    engine_id, any(model) AS model, any(adapter) AS adapter,
    toUnixTimestamp64Milli(min(event_time)) AS first_served_ms,
    toUnixTimestamp64Milli(max(event_time)) AS last_served_ms, toInt64(count()) AS batches,
    toInt64(sum(energy_uj)) AS energy_uj, toInt64(sum(half_width_uj)) AS half_width_uj,
    toInt64(sum(host_uj)) AS host_uj, toInt64(max(prompt_tokens)) AS prompt_tokens,
    toInt64(max(cached_tokens)) AS cached_tokens, toInt64(sum(prefill_tokens)) AS prefill_tokens,
    toInt64(sum(decode_tokens)) AS decode_tokens, toInt64(sum(emitted_tokens)) AS emitted_tokens
FROM ledger_as_of(as_of = {as_of:DateTime64(3, 'UTC')})
WHERE account = 'request' AND ({tenant:String} = '' OR tenant = {tenant:String})
    AND event_time >= fromUnixTimestamp64Milli({from_ms:Int64}, 'UTC')
    AND event_time < fromUnixTimestamp64Milli({to_ms:Int64}, 'UTC')
GROUP BY tenant, engine_id, incarnation, ordinal
SETTINGS max_block_size = 16384, max_bytes_before_external_group_by = 134217728,
    max_bytes_before_external_sort = 134217728, join_algorithm = 'grace_hash', max_bytes_in_join = 134217728
"""
TEXTS: Final = ("tenant", "request_id", "client_request_id", "engine_id", "model", "adapter")
TIMES: Final = ("first_served", "last_served")
COUNTS: Final = (
    "batches", "energy_uj", "half_width_uj", "host_uj", "prompt_tokens", "cached_tokens", "prefill_tokens",
    "decode_tokens", "emitted_tokens",
)  # fmt: skip
SCHEMA: Final = pa.schema(
    [
        *((name, pa.string()) for name in TEXTS),
        *((name, pa.timestamp("ms", "UTC")) for name in TIMES),
        *((name, pa.int64()) for name in COUNTS),
    ]
)


def blocks(client: "Client", period: Period, as_of: str, tenant: str = "") -> Iterator[pa.Table]:
    """Requests served in `period`, of one tenant or (empty) of all, block by block, in no order that is promised.

    as_of: rows stored by then are counted. Each table has at most BLOCK_ROWS rows and the columns of SCHEMA.
    """
    asked = period.parameters | {"as_of": as_of, "tenant": tenant}
    with client.query_column_block_stream(REQUESTS, parameters=asked) as stream:
        for columns in stream:
            for first in range(0, len(columns[0]), BLOCK_ROWS):
                yield _table([values[first : first + BLOCK_ROWS] for values in columns])


def write_rows(out: IO[bytes], found: Iterator[pa.Table], output_format: str) -> int:
    """Write blocks to `out` in one of FORMATS as they come; returns the number of rows.

    CSV neutralises what a spreadsheet would run as a formula; JSON is one object per line; times are ISO 8601, UTC.
    """
    if output_format == "parquet":
        return _write_parquet(out, found)
    write = _write_csv if output_format == "csv" else _write_json
    text = io.TextIOWrapper(out, encoding="utf-8", newline="", write_through=False)
    try:
        return write(text, found)
    finally:
        text.flush()
        text.detach()


def _write_parquet(out: IO[bytes], found: Iterator[pa.Table]) -> int:
    rows = 0
    with pq.ParquetWriter(out, SCHEMA, compression="zstd") as writer:
        for block in found:
            writer.write_table(block, row_group_size=BLOCK_ROWS)
            rows += block.num_rows
    return rows


def _write_csv(out: io.TextIOWrapper, found: Iterator[pa.Table]) -> int:
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(SCHEMA.names)
    rows = 0
    for block in found:
        for row in _plain(block):
            writer.writerow([neutralised(value) for value in row])
        rows += block.num_rows
    return rows


def _write_json(out: io.TextIOWrapper, found: Iterator[pa.Table]) -> int:
    rows = 0
    for block in found:
        out.writelines(
            json.dumps(dict(zip(SCHEMA.names, row, strict=True)), ensure_ascii=False) + "\n"
            for row in _plain(block)
        )
        rows += block.num_rows
    return rows


def _plain(block: pa.Table) -> Iterator[tuple[Any, ...]]:
    columns = [
        [instant.isoformat() for instant in block.column(name).to_pylist()]
        if pa.types.is_timestamp(SCHEMA.field(name).type)
        else block.column(name).to_pylist()
        for name in SCHEMA.names
    ]
    return zip(*columns, strict=True)


def _table(columns: Sequence[Sequence[Any]]) -> pa.Table:
    """A block as the database sent it, by the names and types of SCHEMA."""
    return pa.table(
        [pa.array(values, field.type) for values, field in zip(columns, SCHEMA, strict=True)], schema=SCHEMA
    )
