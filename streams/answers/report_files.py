"""A report for programs: canonical JSON, CSV that a spreadsheet cannot run, Parquet."""

import csv
import io
import json
from collections.abc import Iterable, Mapping
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from streams.answers.report import Report

__all__ = ["as_csv", "as_json", "as_parquet", "rows", "write_csv"]

FORMULA_STARTS: Final = ("=", "+", "-", "@", "\t", "\r")
"""A spreadsheet runs a text that begins so; an apostrophe in front makes it text again (OWASP, CSV injection)."""


def as_json(report: Report) -> bytes:
    """Canonical: sorted keys, no spaces, UTF-8; the same report gives the same bytes."""
    return canonical(report.data())


def canonical(data: Any) -> bytes:
    """JSON of `data` in the one form that is hashed and signed."""
    return json.dumps(
        data, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    ).encode()


def rows(report: Report) -> list[dict[str, Any]]:
    """One row per hour and model, with what names it."""
    return [
        {
            "tenant": report.tenant,
            "hour": line.hour,
            "model": line.model,
            "requests": line.requests,
            "energy_uj": line.energy_uj,
            "half_width_uj": line.half_width_uj,
            "host_uj": line.host_uj,
            "prefill_tokens": line.prefill_tokens,
            "decode_tokens": line.decode_tokens,
            "emitted_tokens": line.emitted_tokens,
            "cost": str(cost) if (cost := report.cost(line.energy_uj)) is not None else "",
            "currency": report.currency,
            "as_of": report.as_of,
        }
        for line in report.hours
    ]


def as_csv(report: Report) -> bytes:
    """`rows` as CSV with a header."""
    text = io.StringIO()
    write_csv(text, rows(report))
    return text.getvalue().encode()


def write_csv(out: Any, lines: Iterable[Mapping[str, Any]]) -> None:
    """Write `lines` (of equal keys) one by one, so that any number passes; texts that look like formulas are
    neutralised, numbers stay numbers.
    """
    writer = None
    for line in lines:
        if writer is None:
            writer = csv.DictWriter(out, list(line), lineterminator="\n")
            writer.writeheader()
        writer.writerow({name: neutralised(value) for name, value in line.items()})


def neutralised(value: Any) -> Any:
    """`value`, with an apostrophe before a text that a spreadsheet would run."""
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA_STARTS) else value


def as_parquet(report: Report) -> bytes:
    """`rows` as Parquet; energies are 64-bit integers."""
    names = {
        "requests",
        "energy_uj",
        "half_width_uj",
        "host_uj",
        "prefill_tokens",
        "decode_tokens",
        "emitted_tokens",
    }
    columns = ["tenant", "hour", "model", "requests", "energy_uj", "half_width_uj", "host_uj", "prefill_tokens",
               "decode_tokens", "emitted_tokens", "cost", "currency", "as_of"]  # fmt: skip
    schema = pa.schema([(name, pa.int64() if name in names else pa.string()) for name in columns])
    out = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows(report), schema), out)
    return out.getvalue()
