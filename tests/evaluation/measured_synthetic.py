"""A synthetic data set of measured sub-batches with a known truth, for tests alone: nothing in it was measured."""

import csv
import json
from pathlib import Path

import numpy as np

from streams.attribution import EnergyModel, IterationRows, iteration_energy

MODEL = "synthetic-dense"
MIXTURE = "synthetic-moe"
TRUTH = {
    MODEL: EnergyModel(
        fixed_j=3.0, request_j=0.05, prefill_token_j=0.02, context_token_j=2.4e-5, excess_token_j=0.05,
        knee_tokens=128,
    ),
    MIXTURE: EnergyModel(
        fixed_j=0.8, request_j=0.02, prefill_token_j=0.004, context_token_j=6e-6, experts_j=2.5,
        expert_fraction=0.125,
    ),
}  # fmt: skip
BATCHES = {
    "decode-4": (MODEL, [(1, 200), (1, 2000), (1, 9000), (1, 30_000)]),
    "mixed-5": (MODEL, [(1, 300), (1, 1500), (1, 8000), (40, 500), (200, 1000)]),
    "moe-3": (MIXTURE, [(1, 128), (5, 800), (64, 0)]),
}
FIGURE = ("energy_j", "half_width_j", "period_s", "power_w")


def energy(model: str, rows: list[tuple[int, int]], twist: float = 0.0) -> float:
    """Joules of an iteration; `twist` adds what no declared term has, a part for each pair of requests."""
    new, context = (np.array(column) for column in zip(*rows, strict=True))
    base = float(iteration_energy(TRUTH[model], IterationRows(new, context).trace())[0])
    return base + twist * len(rows) * (len(rows) - 1) / 2


def write_data(
    directory: Path, *, noise: float = 0.0, half_width: float = 0.0, twist: float = 0.0, seed: int = 1
) -> Path:
    """A data set as the script exports it; energies off by `noise` (relative), half widths as given (relative)."""
    rng = np.random.default_rng(seed)

    def figure(model: str, rows: list[tuple[int, int]]) -> dict[str, float]:
        joules = energy(model, rows, twist) * (1 + noise * rng.standard_normal())
        return {
            "energy_j": joules,
            "half_width_j": half_width * joules,
            "period_s": joules / 500,
            "power_w": 500.0,
        }

    grid = []
    for model in (MODEL, MIXTURE):
        for batch in (1, 2, 8, 32, 128):
            for context in (128, 16_384):
                for chunk in (0, 64, 512):
                    rows = [(1, context)] * batch + ([(chunk, context)] if chunk else [])
                    where = {
                        "cell": f"grid/{model}/{batch}/{context}/{chunk}",
                        "model": model,
                        "decode_rows": batch,
                    }
                    grid.append(
                        {**where, "context_tokens": context, "chunk_tokens": chunk, **figure(model, rows)}
                    )
    requests, coalitions = [], []
    for name, (model, rows) in BATCHES.items():
        for number, (new, context) in enumerate(rows):
            requests.append(
                {"batch": name, "about": "synthetic", "model": model, "request": number, "new_tokens": new,
                 "context_tokens": context}
            )  # fmt: skip
        for mask in range(1, 2 ** len(rows)):
            inside = [row for i, row in enumerate(rows) if mask >> i & 1]
            coalitions.append({"batch": name, "mask": mask, **figure(model, inside)})
    directory.mkdir(parents=True, exist_ok=True)
    table(directory / "grid.csv", grid)
    table(directory / "requests.csv", requests)
    table(directory / "coalitions.csv", coalitions)
    table(directory / "visits.csv", [{"cell": "reference", "energy_j": value} for value in (5.0, 5.05, 4.95)])
    table(
        directory / "meter.csv",
        [{"name": "idle_w", "value": 70.0, "unit": "W", "half_width": "", "about": ""}],
    )
    models = [
        {"name": MODEL, "weight_bytes": 1.5e10, "expert_weight_bytes": 0, "kv_bytes_per_token": 131_072,
         "experts": 0, "experts_active": 0},
        {"name": MIXTURE, "weight_bytes": 5e8, "expert_weight_bytes": 1.3e10, "kv_bytes_per_token": 32_768,
         "experts": 64, "experts_active": 8},
    ]  # fmt: skip
    run = {"format": 1, "unit_of_energy": "J", "models": models, "slices": [{"gpu_model": "Synthetic H200"}]}
    (directory / "run.json").write_text(json.dumps(run))
    return directory


def table(path: Path, rows: list[dict]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def change(path: Path, **changes) -> None:
    """Rewrite a CSV file: `drop` rows that fulfil it, `edit` each row in place, `rename` columns."""
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    rows = [row for row in rows if not changes.get("drop", lambda _: False)(row)]
    for row in rows:
        changes.get("edit", lambda _: None)(row)
    renamed = changes.get("rename", {})
    table(path, [{renamed.get(name, name): value for name, value in row.items()} for row in rows])
