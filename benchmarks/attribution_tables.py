"""The public energy tables as windows to fit: one entry per model and GPU, with its shape."""

import csv
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from streams.attribution import gpu_sheet
from streams.attribution.features import KNEES
from streams.attribution.fit_checks import Shape
from streams.attribution.transfer import MeasuredPair

__all__ = ["EXPERTS", "iteration_times", "measured_pairs", "splitwise_runs", "with_context"]

Floats = NDArray[np.float64]
Windows = list[dict[str, float]]

_TABLES: Final = Path(__file__).parent / "data" / "energy_tables"
_PROMPT_TOKENS: Final = 200.0
"""Not published: about 100 to 300 in these tasks."""
_A100_W: Final = 400.0


def _read(name: str) -> list[dict[str, str]]:
    with (_TABLES / name).open(newline="") as file:
        return list(csv.DictReader(file))


def _shapes() -> dict[str, dict[str, float]]:
    return {row.pop("model"): {k: float(v) for k, v in row.items()} for row in _read("model_shapes.csv")}


EXPERTS: Final = {
    model: shape["experts_active"] / shape["experts_total"]
    for model, shape in _shapes().items()
    if shape["experts_total"]
}
"""k/E of the mixtures."""


def measured_pairs() -> dict[str, MeasuredPair]:
    """Model and GPU of ML.ENERGY v2 and v3 → windows of one iteration each, by rising batch size."""
    shapes = _shapes()
    grouped: dict[tuple[str, str, str], list[dict[str, str]]] = {}
    for table in ("mlenergy_v3.csv", "mlenergy_v2.csv"):
        for row in _read(table):
            # Two releases of one set of weights, differing in how they were trained to answer.
            model = row["model"].replace("-Thinking-2507", "-Instruct-2507")
            grouped.setdefault((model, gpu_sheet(row["gpu"]).name, table[9:11]), []).append(row)
    pairs = {}
    for (model, gpu, table), rows in grouped.items():
        rows.sort(key=lambda row: float(row["avg_batch_size"]))
        shape = shapes[model]
        pairs[f"{model.split('/')[1]} {gpu} {table}"] = MeasuredPair(
            name=model,
            shape=Shape(
                shape["weight_bytes"],
                shape["kv_bytes_per_token"],
                gpu_sheet(gpu),
                shape["expert_weight_bytes"],
            ),
            active_parameters=shape["active_parameters"],
            windows=[
                _window(row, EXPERTS.get(model, 0.0), len({r["task"] for r in rows}) > 1) for row in rows
            ],
            energy_j=np.array([float(row["energy_per_iteration_j"]) for row in rows]),
        )
    return pairs


def _window(row: dict[str, str], expert_fraction: float, contexts_differ: bool) -> dict[str, float]:
    """One iteration; context only where two tasks tell it apart from the batch size."""
    batch = float(row["avg_batch_size"])
    window = {"iterations": 1.0, "requests": batch}
    if contexts_differ:
        window["context_tokens"] = batch * (float(row["mean_inflight_output_tokens"]) + _PROMPT_TOKENS)
    if expert_fraction:
        window["experts"] = 1.0 - (1.0 - expert_fraction) ** batch
    return window


def with_context(pair: MeasuredPair, tokens: float = 700.0) -> MeasuredPair:
    """The pair with a usual context per request where its windows have none: chat of about 700 tokens."""
    windows = [{"context_tokens": window["requests"] * tokens} | dict(window) for window in pair.windows]
    return replace(pair, windows=windows)


def splitwise_runs(tensor_parallel: int) -> tuple[Windows, Floats]:
    """Llama-2-70B on A100s: whole runs of one batch, and their joules; the defective 8192-token rows left out."""
    windows, energy_j = [], []
    for row in _read("splitwise.csv"):
        wanted = row["model"] == "llama2-70b" and int(row["tensor_parallel"]) == tensor_parallel
        if not wanted or float(row["average_power"]) == 0 or row["prompt_size"] == "8192":
            continue
        batch, prompt, tokens = (float(row[k]) for k in ("batch_size", "prompt_size", "token_size"))
        windows.append(
            {"iterations": tokens, "requests": batch * tokens, "prefill_tokens": batch * (prompt - 1.0)}
        )
        watts = float(row["average_power"]) * _A100_W * tensor_parallel
        energy_j.append(watts * float(row["e2e_time"]) / 1000.0)
    return windows, np.array(energy_j)


def iteration_times(most_tokens: int = 2048) -> tuple[Windows, Floats]:
    """Vidur's milliseconds per iteration against its tokens, with the excess over every knee on offer."""
    rows = [row for row in _read("vidur.csv") if int(row["num_tokens"]) <= most_tokens]
    windows = [
        {
            "iterations": 1.0,
            "requests": float(row["num_tokens"]),
            **{f"excess_tokens_{knee}": max(0.0, float(row["num_tokens"]) - knee) for knee in KNEES},
        }
        for row in rows
    ]
    return windows, np.array([float(row["iteration_ms"]) for row in rows])
