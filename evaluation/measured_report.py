"""The report of an evaluation on measured sub-batches: one page, JSON, and a CSV file per table."""

import json
from importlib.resources import files
from pathlib import Path

from jinja2 import BaseLoader, Environment, StrictUndefined

from evaluation.files import csv_text
from evaluation.measured_plots import measured_plots
from evaluation.measured_results import Measured
from evaluation.measured_tables import measured_tables
from evaluation.results import plain
from evaluation.store import write_atomically
from evaluation.tables import number

__all__ = ["write_measured"]


def write_measured(found: Measured, directory: Path) -> list[Path]:
    """Write measured.html, measured.json and the CSV files; returns the paths."""
    tables = measured_tables(found)
    texts = {"measured.json": json.dumps(plain(found), indent=1, ensure_ascii=False, allow_nan=False)}
    texts |= {f"{table.name}.csv": csv_text(table) for table in tables}
    texts["measured.html"] = _page(found)
    paths = []
    for name, text in texts.items():
        write_atomically(directory / name, text)
        paths.append(directory / name)
    return paths


def _page(found: Measured) -> str:
    templates = files(__package__) / "templates"
    environment = Environment(
        loader=BaseLoader(), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["number"] = number
    template = environment.from_string((templates / "measured.html.j2").read_text(encoding="utf-8"))
    return template.render(
        found=found,
        style=(templates / "report.css").read_text(encoding="utf-8"),
        plots=measured_plots(found),
        tables=measured_tables(found),
    )
