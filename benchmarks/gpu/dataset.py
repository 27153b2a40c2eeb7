"""The journal as an open data set: CSV files with units in their column names, the run's facts, a README.

Files appear whole or not at all. All of it is derived from the journal.
"""

import csv
import io
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

from benchmarks.gpu.cells import Batch, Cell, coalition_cells
from benchmarks.gpu.combine import Figure, between_visits, combined
from benchmarks.gpu.facts import settle_s
from benchmarks.gpu.journal import Journal
from benchmarks.gpu.settings import Settings
from benchmarks.gpu.shapes import ModelShape
from benchmarks.gpu.slices import Plan, seconds_used, visits_of

__all__ = ["FORMAT", "Export", "export"]

FORMAT: Final = 1
"""Of the data set; raised when a column changes its meaning."""
_GRID: Final = ("cell", "model", "decode_rows", "context_tokens", "chunk_tokens", "new_tokens", "kv_tokens")
_REQUEST: Final = ("batch", "about", "model", "request", "new_tokens", "context_tokens")
_FIGURE: Final = (
    "energy_j", "half_width_j", "period_s", "power_w", "visits", "iterations", "temperature_c", "sm_clock_mhz",
    "throttle_reasons",
)  # fmt: skip
_VISIT: Final = (
    "cell", "slice", "at_s", "settle_s", "energy_j", "half_width_j", "period_s", "power_w", "steps", "window_s",
    "iterations", "temperature_c", "sm_clock_mhz", "throttle_reasons",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Export:
    """What a data set holds, and what it was to hold."""

    grid: int
    grid_wanted: int
    """Some never fit the memory."""
    coalitions: int
    coalitions_wanted: int


def export(journal: Journal, plan: Plan, shapes: Sequence[ModelShape], out: Path) -> Export:
    """Write the data set; returns what it holds and what it lacks."""
    settings = plan.settings
    visits = visits_of(journal)
    scatter = between_visits(visits, settings.prior_scatter)
    grid = [(cell, combined(visits[cell.name], scatter)) for cell in plan.grid if cell.name in visits]
    coalitions = [
        (cell, combined(visits[cell.name], scatter))
        for batch in plan.batches
        for cell in coalition_cells(batch)
        if cell.name in visits
    ]
    begun = {cell.batch for cell, _ in coalitions}
    out.mkdir(parents=True, exist_ok=True)
    _write(out / "meter.csv", _csv(("name", "value", "unit", "half_width", "about"), journal.of("fact")))
    _write(out / "grid.csv", _csv((*_GRID, *_FIGURE), (_grid_row(c, f) for c, f in grid)))
    _write(out / "requests.csv", _csv(_REQUEST, _request_rows([b for b in plan.batches if b.name in begun])))
    _write(
        out / "coalitions.csv",
        _csv(
            ("batch", "mask", *_FIGURE),
            ({"batch": c.batch, "mask": c.mask, **asdict(f)} for c, f in coalitions),
        ),
    )
    _write(out / "visits.csv", _csv(_VISIT, journal.of("visit")))
    run = _run(journal, plan, shapes, scatter)
    _write(out / "run.json", json.dumps(run, indent=1, sort_keys=True, allow_nan=False) + "\n")
    readme = (files(__package__) / "data_readme.md").read_text(encoding="utf-8")
    _write(out / "README.md", readme)
    wanted = sum(2 ** len(batch.rows) - 1 for batch in plan.batches)
    return Export(len(grid), len(plan.grid), len(coalitions), wanted)


def _grid_row(cell: Cell, figure: Figure) -> dict[str, Any]:
    wide = [new for new, _ in cell.rows if new > 1]
    return {
        "cell": cell.name,
        "model": cell.model,
        "decode_rows": len(cell.rows) - len(wide),
        "context_tokens": cell.rows[0][1],
        "chunk_tokens": sum(wide),
        "new_tokens": cell.new_tokens,
        "kv_tokens": cell.kv_tokens,
        **asdict(figure),
    }


def _request_rows(batches: Sequence[Batch]) -> Iterable[dict[str, Any]]:
    for batch in batches:
        for number, (new, context) in enumerate(batch.rows):
            yield {
                "batch": batch.name,
                "about": batch.about,
                "model": batch.model,
                "request": number,
                "new_tokens": new,
                "context_tokens": context,
            }


def _run(journal: Journal, plan: Plan, shapes: Sequence[ModelShape], scatter: float) -> dict[str, Any]:
    settings: Settings = plan.settings
    return {
        "format": FORMAT,
        "licence": "CC-BY-4.0",
        "unit_of_energy": "J",
        "settings": asdict(settings),
        "settle_s": settle_s(journal, settings),
        "scatter_between_visits": scatter,
        "seconds_used": seconds_used(journal),
        "models": [
            {
                **asdict(shape),
                "weight_bytes": shape.weight_bytes,
                "expert_weight_bytes": shape.expert_weight_bytes,
                "kv_bytes_per_token": shape.kv_bytes_per_token,
            }
            for shape in shapes
        ],
        "slices": [
            {key: value for key, value in record.items() if key != "kind"} for record in journal.of("slice")
        ],
    }


def _csv(columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> str:
    """Full precision; None is an empty cell."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([["" if row[name] is None else row[name] for name in columns] for row in rows])
    return text.getvalue()


def _write(path: Path, text: str) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)
