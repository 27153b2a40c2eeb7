"""Writes an evaluation's results: JSON and CSV of every figure, and the report; each file whole or not at all."""

import csv
import io
import json
from pathlib import Path

from evaluation.results import Results, plain
from evaluation.store import write_atomically
from evaluation.tables import Table, summary, tables

__all__ = ["csv_text", "write_results"]


def write_results(results: Results, directory: Path, report: str | None) -> list[Path]:
    """Write results.json, a CSV per table and, if given, report.html; returns the paths."""
    texts = {"results.json": json.dumps(plain(results), indent=1, ensure_ascii=False, allow_nan=False)}
    texts |= {f"{table.name}.csv": csv_text(table) for table in (summary(results), *tables(results))}
    if report is not None:
        texts["report.html"] = report
    paths = []
    for name, text in texts.items():
        path = directory / name
        write_atomically(path, text)
        paths.append(path)
    return paths


def csv_text(table: Table) -> str:
    """A table as CSV with full precision; None and what is not finite are left empty and written out."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(table.columns)
    writer.writerows([["" if cell is None else cell for cell in row] for row in table.rows])
    return out.getvalue()
