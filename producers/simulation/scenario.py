"""What a simulated fleet is made of: nodes, engines with their requests, loads, pauses and sensors."""

from dataclasses import dataclass

from producers.simulation.engine_types import EngineType
from producers.simulation.meter import EXACT, Sensor
from producers.simulation.requests import Requests

__all__ = ["EngineSpec", "NodeSpec", "Scenario"]


@dataclass(frozen=True, slots=True)
class NodeSpec:
    """A host with accelerators."""

    name: str
    zone: str
    site: str
    spare_gpus: int = 1
    """GPUs that serve no engine: a metering group of their own."""
    spare_idle_w: float = 71.0
    """Power of each of them (H100 without a process: 71 W)."""
    host_idle_w: float = 60.0
    """Host power per GPU while its group is idle. Assumption: no public table was found."""
    host_busy_w: float = 90.0
    """Host power per GPU while its group runs iterations. Assumption, as above."""


@dataclass(frozen=True, slots=True, eq=False)
class EngineSpec:
    """One engine of the fleet; seconds from the scenario's start."""

    name: str
    node: str
    engine_type: EngineType
    requests: Requests
    load_at_s: float | None = None
    """When its process starts and loads the model; None: it was loaded long before the scenario."""
    warm_up_s: float = 0.0
    """Time in warm-up iterations after a load in the scenario."""
    dummy_s: tuple[float, float] = (0.0, 0.0)
    """Interval in which dummy batches fill every gap, as in a data-parallel rank whose siblings have work."""
    adapters: tuple[str, ...] = ()
    """Adapters in use; tenants are dealt to (base model, *adapters) in turn."""
    admitted_before: int = 0
    """Requests admitted between its load and the scenario's start."""


@dataclass(frozen=True, slots=True, eq=False)
class Scenario:
    """A fleet and what it is asked to do; the same scenario gives the same events."""

    cluster: str
    nodes: tuple[NodeSpec, ...]
    engines: tuple[EngineSpec, ...]
    duration_s: float
    """No request arrives later; the fleet runs on until all have finished."""
    seed: int
    sensor: Sensor = EXACT
    window_us: int = 5_000_000
    """The accounting window: the fleet runs on until the one around its last event can close."""
