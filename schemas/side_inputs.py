"""Versioned facts that join the stream by event time: engines, energy models, policies, grid, loads.

All are JSON on the wire (low volume, read by people); `schemas/topics/*.yaml` holds each JSON Schema. Each
carries `effective_from_ns`: a batch uses the latest version whose effective_from is not after its start.
"""

from dataclasses import dataclass, field

__all__ = ["EngineDescriptor", "GridIntensity", "Load", "ModelVersion", "Policy"]


@dataclass(frozen=True, slots=True)
class EngineDescriptor:
    """What an engine is: the key to its energy model and its place in the books."""

    engine_id: str
    group_id: str
    node_id: str
    effective_from_ns: int
    model: str
    precision: str
    gpu_model: str
    gpu_uuids: tuple[str, ...]
    tensor_parallel: int = 1
    pipeline_parallel: int = 1
    data_parallel: int = 1
    engine_software: str = ""
    """Name and version, such as `vllm 0.32.0`."""
    zone: str = ""
    """Grid zone."""
    site: str = ""
    weight_bytes: int = 0
    """Bytes of weights that a decode iteration reads (dense part and shared layers); 0 if unknown."""
    kv_bytes_per_token: int = 0
    experts_total: int = 0
    experts_active: int = 0
    expert_weight_bytes: int = 0
    """Bytes of all routed experts together; 0 for a dense model."""
    contested_gpus: tuple[str, ...] = ()
    """GPUs on which the node sees processes of no engine, beside this one's or in its place. No batch depends
    on it: it says whose figures somebody should look into."""

    @property
    def engine_class(self) -> str:
        """The key of an energy model: fits do not carry over from one class to another."""
        parallel = f"tp{self.tensor_parallel}pp{self.pipeline_parallel}dp{self.data_parallel}"
        return "|".join((self.model, self.precision, self.gpu_model, parallel, self.engine_software))


@dataclass(frozen=True, slots=True)
class ModelVersion:
    """A fitted (or prior) energy model of one engine class."""

    engine_class: str
    version: str
    effective_from_ns: int
    origin: str
    """`prior` or `fit`."""
    coefficients: dict[str, float]
    """Names and units as `streams.attribution.energy_model` declares them."""
    fit_error: float | None = None
    """Median relative error per window on held-out windows."""
    covariance: tuple[tuple[float, ...], ...] = ()
    """Of the coefficients, in their order; empty for a prior."""
    windows_from_ns: int = 0
    """Windows that began earlier belong to another regime: no later fit of the class reads them."""


@dataclass(frozen=True, slots=True)
class Policy:
    """A named, effective-dated decision of the operator."""

    name: str
    effective_from_ns: int
    values: dict[str, float | str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class GridIntensity:
    """Carbon intensity of one zone over a validity interval."""

    zone: str
    valid_from_ns: int
    valid_to_ns: int
    g_per_kwh: float
    basis: str
    """`location`, `market`, or `marginal`: what one more kilowatt-hour causes, never part of a statement's sum."""
    source: str
    estimated: bool
    resolution: str = "interval"
    """`interval`, or `annual`: a year's mean, which holds from its start until a newer one's."""
    lag_s: float = 0.0
    """Seconds from the end of validity until the source had it; below 0 for a forecast."""
    spread: float = 1.0
    """Geometric standard deviation of its log-normal error."""
    factor_version: int = 1
    """When the source said so, Unix milliseconds: a correction is a higher version."""


@dataclass(frozen=True, slots=True)
class Load:
    """A model load, wake-up or adapter load, published when it ends; or that one was unloaded."""

    load_id: str
    kind: str
    """`model_load`, `wake_up` or `adapter_load`; `unload` ends the claims on loads of the same `what`."""
    group_id: str
    engine_id: str
    incarnation: str
    start_ns: int
    end_ns: int
    what: str
    """Model or adapter name."""
