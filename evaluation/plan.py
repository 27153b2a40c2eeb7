"""What an evaluation is asked to do: the ingredients, the methods, and how much of each criterion to measure."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evaluation.carbon import Account, Carbon, Signal, constant, embodied_rate, read_signal
from evaluation.runs import System
from evaluation.store import digest
from evaluation.workload import Workload
from producers.simulation.engine import Mode
from producers.simulation.engine_types import EngineType, Experts, engine_type, read_engine_types
from producers.simulation.requests import Requests
from schemas.errors import ConfigurationError

__all__ = ["FULL", "QUICK", "CarbonOptions", "Plan", "RuntimeOptions", "Sizes", "build_system", "identity"]


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much is measured."""

    cases: int
    """Groups of requests whose counterfactual game is enumerated."""
    case_requests: int
    """Requests in each of them, at most 12."""
    sampled_requests: int
    """Requests of the one group that is sampled; 0 for none."""
    sampled_permutations: int
    """Cap of that sampling."""
    repeats: int
    """Seeds per estimate in sample efficiency."""
    ladder: int
    """Rungs of its ladder of permutations."""
    scale_sizes: int
    """Most sizes along each axis of scalability."""
    scale_limit_s: float
    """A method that takes longer is not timed on larger sizes."""
    scale_repeats: int
    incentive_groups: int
    incentive_requests: int


QUICK = Sizes(3, 8, 14, 40, 20, 5, 5, 0.3, 1, 1, 5)
"""Within a minute on two cores."""
FULL = Sizes(12, 12, 32, 400, 100, 8, 9, 3.0, 5, 5, 8)
"""The figures of docs/evaluation.md: some ten minutes on two cores."""


@dataclass(frozen=True, slots=True)
class RuntimeOptions:
    """The runtime S; None leaves what the engine type says."""

    engine: str
    """Name of a shipped engine type, or of one in `engine_file`."""
    engine_file: Path | None = None
    mode: Mode = "continuous"
    prefix_cache: bool = True
    max_batch: int | None = None
    token_budget: int | None = None
    kv_capacity_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class CarbonOptions:
    """The carbon model C: constants, or CSV files with a column of the same name beside `time_s`."""

    intensity_g_per_kwh: float = 400.0
    intensity_file: Path | None = None
    embodied_g_per_s: float | None = None
    """None: the default manufacturing footprint of the engine's GPUs."""
    embodied_file: Path | None = None
    account: Account = "serving"


@dataclass(frozen=True, slots=True)
class Plan:
    """One evaluation; the same plan gives the same figures, but for measured times."""

    workload: Workload
    runtime: RuntimeOptions
    carbon: CarbonOptions
    methods: tuple[str, ...]
    sizes: Sizes
    seed: int


def build_system(runtime: RuntimeOptions, carbon: CarbonOptions) -> System:
    """The runtime and the carbon model; ConfigurationError or DataError names what is wrong."""
    engine = _engine(runtime)
    intensity = _signal(carbon.intensity_file, "intensity_g_per_kwh", carbon.intensity_g_per_kwh)
    default = embodied_rate(engine.gpus) if carbon.embodied_g_per_s is None else carbon.embodied_g_per_s
    embodied = _signal(carbon.embodied_file, "embodied_g_per_s", default)
    return System(
        engine=engine,
        carbon=Carbon(intensity, embodied, carbon.account),
        mode=runtime.mode,
        prefix_cache=runtime.prefix_cache,
    )


def _signal(path: Path | None, column: str, value: float) -> Signal:
    if path is not None:
        return read_signal(path, column)
    if not (np.isfinite(value) and value >= 0):
        raise ConfigurationError(f"{column} is {value:g}; it must be a number of at least 0")
    return constant(value)


def _engine(runtime: RuntimeOptions) -> EngineType:
    if runtime.engine_file is None:
        engine = engine_type(runtime.engine)
    else:
        found = read_engine_types(runtime.engine_file)
        if runtime.engine not in found:
            raise ConfigurationError(
                f"engine {runtime.engine!r} is not in {runtime.engine_file}; it has {', '.join(found)}"
            )
        engine = found[runtime.engine]
    limits = {
        name: value
        for name in ("max_batch", "token_budget", "kv_capacity_tokens")
        if (value := getattr(runtime, name)) is not None
    }
    changed = replace(engine, **limits)
    if not 1 <= changed.max_batch <= changed.batches[-1]:
        raise ConfigurationError(
            f"max_batch is {changed.max_batch}; {engine.name} was measured up to {int(changed.batches[-1])}"
        )
    if changed.token_budget < changed.max_batch:
        raise ConfigurationError(
            f"token_budget is {changed.token_budget}; it must be at least max_batch {changed.max_batch}"
        )
    return changed


def identity(requests: Requests, system: System) -> str:
    """Digest of everything that decides a simulation's figures."""
    columns: list[NDArray[Any]] = [
        requests.arrival_us,
        requests.prompt_tokens,
        requests.output_tokens,
        requests.tenant,
    ]
    return digest(
        {
            "requests": [column.tolist() for column in columns],
            "blocks": [requests.block_tokens, [list(blocks) for blocks in requests.blocks]],
            "engine": _plain({f.name: getattr(system.engine, f.name) for f in fields(system.engine)}),
            "carbon": _plain({f.name: getattr(system.carbon, f.name) for f in fields(system.carbon)}),
            "mode": system.mode,
            "prefix_cache": system.prefix_cache,
        }
    )


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    """Plain data of a dataclass's fields, arrays as lists."""
    return {name: _plain_value(value) for name, value in values.items()}


def _plain_value(value: Any) -> Any:
    if isinstance(value, Signal):
        return [value.start_us.tolist(), value.values.tolist()]
    if isinstance(value, Experts):
        return asdict(value)
    if isinstance(value, np.ndarray):
        return np.asarray(value).tolist()
    return value
