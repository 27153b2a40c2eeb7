"""Engine types: the measured tables and limits behind a simulated engine, read from data/engines.yaml."""

from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from schemas.errors import ConfigurationError, DataError

__all__ = ["EngineType", "Experts", "engine_type", "engine_types", "read_engine_types"]

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Experts:
    """Routed experts of a mixture of experts."""

    total: int
    active: int
    weight_bytes: int
    """All routed experts together."""
    j_per_byte: float
    bytes_per_s: float


@dataclass(frozen=True, slots=True, eq=False)
class EngineType:
    """One model on one set of GPUs; T measured batch sizes. data/engines.yaml has the sources."""

    name: str
    model: str
    precision: str
    gpu_model: str
    gpus: int
    tensor_parallel: int
    software: str
    weight_bytes: int
    kv_bytes_per_token: int
    kv_capacity_tokens: int
    max_batch: int
    token_budget: int
    """Most tokens of one iteration, prefill chunks and decodes together; at least `max_batch`."""
    batches: Floats
    """(T,) measured batch sizes, ascending."""
    iteration_ms: Floats
    """(T,) at `mean_context_tokens`, ascending."""
    energy_j: Floats
    """(T,) of all GPUs in one iteration, ascending."""
    mean_context_tokens: float
    """Context per request at which the rows were measured."""
    context_ms_per_token: float
    context_j_per_token: float
    knee_tokens: int
    prefill_ms_below: float
    """Per token, until the iteration's tokens reach the knee."""
    prefill_ms_above: float
    prefill_ms_per_pair: float
    """Per (chunk token, context token)."""
    prefill_power_w: float
    experts: Experts | None
    bare_idle_w: float
    """Per GPU, no process on it."""
    loaded_idle_w: float
    """Per GPU, model loaded, nothing running."""
    load_phases: tuple[tuple[float, float], ...]
    """(seconds, watts per GPU) of a model load."""


def read_engine_types(path: Path) -> dict[str, EngineType]:
    """Read engine types from a YAML file; DataError names the type and the field that is wrong."""
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise DataError(
            f"{path}: cannot be read as YAML ({error}); see data/engines.yaml for the form"
        ) from error
    types = {}
    for name, values in document.items():
        try:
            types[name] = _parse(name, values)
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(
                f"{path}: engine type {name}: {error!r}; see data/engines.yaml for the form"
            ) from error
    return types


@cache
def engine_types() -> dict[str, EngineType]:
    """The engine types that ship with wattledger."""
    return read_engine_types(Path(str(files(__package__) / "data" / "engines.yaml")))


def engine_type(name: str) -> EngineType:
    """A shipped engine type by name; ConfigurationError lists the names."""
    types = engine_types()
    if name not in types:
        raise ConfigurationError(f"engine type {name!r} is not known; choose one of {', '.join(types)}")
    return types[name]


def _parse(name: str, values: dict[str, Any]) -> EngineType:
    decode, context, prefill = values["decode"], values["context"], values["prefill"]
    rows = np.asarray(decode["rows"], np.float64)
    experts = values.get("experts")
    parsed = EngineType(
        name=name,
        model=values["model"],
        precision=values["precision"],
        gpu_model=values["gpu_model"],
        gpus=values["gpus"],
        tensor_parallel=values["tensor_parallel"],
        software=values["software"],
        weight_bytes=values["weight_bytes"],
        kv_bytes_per_token=values["kv_bytes_per_token"],
        kv_capacity_tokens=values["kv_capacity_tokens"],
        max_batch=values["max_batch"],
        token_budget=values["token_budget"],
        batches=rows[:, 0],
        iteration_ms=rows[:, 1],
        energy_j=rows[:, 2],
        mean_context_tokens=decode["mean_context_tokens"],
        context_ms_per_token=context["ms_per_token"],
        context_j_per_token=context["j_per_token"],
        knee_tokens=prefill["knee_tokens"],
        prefill_ms_below=prefill["ms_per_token_below"],
        prefill_ms_above=prefill["ms_per_token_above"],
        prefill_ms_per_pair=prefill["ms_per_token_pair"],
        prefill_power_w=prefill["power_w"],
        experts=None if experts is None else Experts(**experts),
        bare_idle_w=values["power"]["bare_idle_w"],
        loaded_idle_w=values["power"]["loaded_idle_w"],
        load_phases=tuple((float(s), float(w)) for s, w in values["load"]["phases"]),
    )
    if len(rows) < 2 or np.any(np.diff(rows, axis=0) <= 0):
        raise ValueError("decode.rows must hold at least two rows, each column ascending")
    if parsed.max_batch > parsed.batches[-1]:
        raise ValueError(
            f"max_batch {parsed.max_batch} is beyond the last measured batch {parsed.batches[-1]}"
        )
    if parsed.token_budget < parsed.max_batch:
        raise ValueError(f"token_budget {parsed.token_budget} must be at least max_batch {parsed.max_batch}")
    return parsed
