"""Reads a data set of measured sub-batches as `benchmarks/gpu` writes it, and refuses what cannot be trusted.

Every figure is checked before anything is computed: columns and units by name, numbers by value, energies against
power × time, and each batch for all of its 2^n − 1 sub-batches.
"""

import csv
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from schemas.errors import ConfigurationError, DataError

__all__ = ["Cell", "MeasuredBatch", "MeasuredData", "MeasuredModel", "read_measured"]

Floats = NDArray[np.float64]
Int64s = NDArray[np.int64]

FORMAT: Final = 1
_FILES: Final = ("run.json", "meter.csv", "grid.csv", "requests.csv", "coalitions.csv", "visits.csv")
_CONSISTENT: Final = 0.2
"""Energy and power × time of one line may differ by so much: means of few looks do, wrong units by a thousand."""
_MOST_REQUESTS: Final = 16
_HOW: Final = "run `python3 -m benchmarks.gpu slice` three times on a machine with an NVIDIA GPU"


@dataclass(frozen=True, slots=True)
class MeasuredModel:
    """What was run."""

    name: str
    weight_bytes: float
    expert_weight_bytes: float
    kv_bytes_per_token: float
    expert_fraction: float
    """k/E; 0 for a dense model."""


@dataclass(frozen=True, slots=True, eq=False)
class Cell:
    """One measured iteration of the grid."""

    name: str
    model: str
    new_tokens: Int64s
    """(n,) by row."""
    context_tokens: Int64s
    """(n,)"""
    energy_j: float
    half_width_j: float
    """90 %."""


@dataclass(frozen=True, slots=True, eq=False)
class MeasuredBatch:
    """A batch of n requests with the energy of every sub-batch."""

    name: str
    about: str
    model: str
    new_tokens: Int64s
    """(n,)"""
    context_tokens: Int64s
    """(n,)"""
    energy_j: Floats
    """(2^n,) by mask, bit i for request i; 0 for the empty one."""
    half_width_j: Floats
    """(2^n,) 90 %."""


@dataclass(frozen=True, slots=True, eq=False)
class MeasuredData:
    """The whole data set."""

    gpu_model: str
    models: Mapping[str, MeasuredModel]
    facts: tuple[dict[str, str], ...]
    """Lines of meter.csv as they are."""
    cells: tuple[Cell, ...]
    batches: tuple[MeasuredBatch, ...]
    reference_j: Floats
    """(k,) the reference cell's visits, in order of time: their scatter is the drift."""


def read_measured(directory: Path) -> MeasuredData:
    """The data set in a directory.

    ConfigurationError where there is none, with what to run; DataError names file, line, column and value.
    """
    missing = [name for name in _FILES if not (directory / name).is_file()]
    if missing:
        raise ConfigurationError(
            f"{directory}: no measured data set ({', '.join(missing)} missing); {_HOW}, see docs/validation.md"
        )
    run = _run(directory / "run.json")
    models = {model.name: model for model in _models(directory / "run.json", run)}
    gpus = sorted({str(part.get("gpu_model", "")) for part in run["slices"]})
    return MeasuredData(
        gpu_model=", ".join(gpus),
        models=models,
        facts=tuple(row for _, row in _rows(directory / "meter.csv", ("name", "value", "unit"))),
        cells=tuple(_cells(directory / "grid.csv", models)),
        batches=tuple(_batches(directory, models)),
        reference_j=np.array(list(_reference(directory / "visits.csv"))),
    )


def _run(path: Path) -> dict[str, Any]:
    try:
        run: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DataError(f"{path}: not JSON ({error}); write it again with `benchmarks.gpu export`") from error
    for name, wanted in (("format", FORMAT), ("unit_of_energy", "J")):
        if run.get(name) != wanted:
            raise DataError(f"{path}: {name} is {run.get(name)!r}, {wanted!r} is needed")
    if not run.get("slices"):
        raise DataError(f"{path}: slices is empty: nothing was measured; {_HOW}")
    return run


def _models(path: Path, run: Mapping[str, Any]) -> Iterator[MeasuredModel]:
    for model in run.get("models", ()):
        try:
            experts = int(model["experts"])
            yield MeasuredModel(
                name=str(model["name"]),
                weight_bytes=float(model["weight_bytes"]),
                expert_weight_bytes=float(model["expert_weight_bytes"]),
                kv_bytes_per_token=float(model["kv_bytes_per_token"]),
                expert_fraction=float(model["experts_active"]) / experts if experts else 0.0,
            )
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(f"{path}: models[]: {error!r} is missing or not a number") from error


def _cells(path: Path, models: Mapping[str, MeasuredModel]) -> Iterator[Cell]:
    columns = ("cell", "model", "decode_rows", "context_tokens", "chunk_tokens", *_FIGURE)
    for line, row in _rows(path, columns):
        where = f"{path}:{line}"
        decode, context, chunk = (
            _whole(where, row, name) for name in ("decode_rows", "context_tokens", "chunk_tokens")
        )
        new_tokens = np.array([1] * decode + ([chunk] if chunk else []), np.int64)
        energy_j, half_width_j = _figure(where, row)
        yield Cell(
            row["cell"],
            _model(where, row, models),
            new_tokens,
            np.full(new_tokens.size, context, np.int64),
            energy_j,
            half_width_j,
        )


def _batches(directory: Path, models: Mapping[str, MeasuredModel]) -> Iterator[MeasuredBatch]:
    requests: dict[str, list[tuple[str, dict[str, str]]]] = {}
    path = directory / "requests.csv"
    names = ("batch", "about", "model", "request", "new_tokens", "context_tokens")
    for line, row in _rows(path, names):
        where = f"{path}:{line}"
        seen = requests.setdefault(row["batch"], [])
        if _whole(where, row, "request") != len(seen) or len(seen) == _MOST_REQUESTS:
            raise DataError(
                f"{where}: request {row['request']} of {row['batch']}: they are numbered from 0 to at most 15"
            )
        seen.append((where, row))
    energies = _energies(directory / "coalitions.csv", {name: len(rows) for name, rows in requests.items()})
    for name, rows in requests.items():
        where, first = rows[0]
        energy_j, half_width_j = energies[name]
        yield MeasuredBatch(
            name=name,
            about=first["about"],
            model=_model(where, first, models),
            new_tokens=np.array([_whole(where, row, "new_tokens") for where, row in rows], np.int64),
            context_tokens=np.array([_whole(where, row, "context_tokens") for where, row in rows], np.int64),
            energy_j=energy_j,
            half_width_j=half_width_j,
        )


def _energies(path: Path, sizes: Mapping[str, int]) -> dict[str, tuple[Floats, Floats]]:
    """By batch, (2^n,) energies and half widths; DataError unless every sub-batch is there once."""
    found = {name: (np.full(2**n, np.nan), np.zeros(2**n)) for name, n in sizes.items()}
    for line, row in _rows(path, ("batch", "mask", *_FIGURE)):
        where = f"{path}:{line}"
        mask = _whole(where, row, "mask")
        if row["batch"] not in found or not 0 < mask < 2 ** sizes[row["batch"]]:
            raise DataError(f"{where}: sub-batch {row['mask']} of {row['batch']!r} is not in requests.csv")
        energy_j, half_width_j = found[row["batch"]]
        if not np.isnan(energy_j[mask]):
            raise DataError(f"{where}: sub-batch {mask} of {row['batch']} is there twice: keep one line")
        energy_j[mask], half_width_j[mask] = _figure(where, row)
    for name, (energy_j, _) in found.items():
        energy_j[0] = 0.0
        missing = np.flatnonzero(np.isnan(energy_j))
        if missing.size:
            raise DataError(
                f"{path}: batch {name} lacks {missing.size} of {energy_j.size - 1} sub-batches, such as mask "
                f"{missing[0]}: its Shapley value is not known; measure another slice, or take {name} out of "
                "requests.csv"
            )
    return found


def _reference(path: Path) -> Iterator[float]:
    for line, row in _rows(path, ("cell", "energy_j")):
        if row["cell"] == "reference":
            yield _number(f"{path}:{line}", row, "energy_j")


_FIGURE: Final = ("energy_j", "half_width_j", "period_s", "power_w")


def _figure(where: str, row: Mapping[str, str]) -> tuple[float, float]:
    """(energy_j, half_width_j), checked against power and time."""
    energy_j, half_width_j, period_s, power_w = (_number(where, row, name) for name in _FIGURE)
    if energy_j <= 0:
        raise DataError(f"{where}: energy_j = {row['energy_j']}: an iteration costs more than 0 J")
    if half_width_j < 0:
        raise DataError(f"{where}: half_width_j = {row['half_width_j']}: must be at least 0")
    if not abs(power_w * period_s / energy_j - 1.0) <= _CONSISTENT:
        raise DataError(
            f"{where}: energy_j = {energy_j:g}, but power_w × period_s = {power_w * period_s:g}: one of them is in "
            "another unit; joules, watts and seconds are needed"
        )
    return energy_j, half_width_j


def _rows(path: Path, columns: tuple[str, ...]) -> Iterator[tuple[int, dict[str, str]]]:
    """(line, row) of a CSV file that has these columns."""
    with path.open(encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file)
        missing = [name for name in columns if name not in (reader.fieldnames or ())]
        if missing:
            raise DataError(
                f"{path}:1: no column {', '.join(missing)} among {', '.join(reader.fieldnames or ())}; names carry "
                "the unit, see the data set's README"
            )
        for row in reader:
            if any(row[name] is None for name in columns):
                raise DataError(f"{path}:{reader.line_num}: the line is cut short; export the data set again")
            yield reader.line_num, row


def _number(where: str, row: Mapping[str, str], name: str) -> float:
    try:
        value = float(row[name])
    except ValueError:
        value = float("nan")
    if not isfinite(value):
        raise DataError(f"{where}: {name} = {row[name]!r}: a finite number is needed; measure it again")
    return value


def _whole(where: str, row: Mapping[str, str], name: str) -> int:
    value = _number(where, row, name)
    if value < 0 or value != int(value):
        raise DataError(f"{where}: {name} = {row[name]!r}: a whole number of at least 0 is needed")
    return int(value)


def _model(where: str, row: Mapping[str, str], models: Mapping[str, MeasuredModel]) -> str:
    if row["model"] not in models:
        raise DataError(f"{where}: model {row['model']!r} is not in run.json, which has {', '.join(models)}")
    return row["model"]
