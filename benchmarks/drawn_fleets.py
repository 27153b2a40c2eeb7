"""Fleets drawn at random: a truth for each class of engines, an error for each meter, and what meters showed."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from benchmarks.fleets import BILLED, FITTED, WINDOW_US, Play, Truth, iteration_j
from producers.simulation.engine_types import engine_type
from producers.simulation.meter import A100, H100, Sensor, read_counter
from producers.simulation.timeline import IDLE, Background, build_timeline
from schemas.energy import Meter
from schemas.side_inputs import EngineDescriptor
from streams.attribution import EnergyModel
from streams.metering import MeterReadings
from streams.models import model_in_force
from streams.side_inputs import SideInputs

__all__ = ["SETTINGS", "Engine", "Setting", "bounded", "descriptor", "drawn_engine", "drawn_truth"]

Floats = NDArray[np.float64]

DENSE: Final = ("llama-3.1-8b-h100", "qwen3-14b-h100")
MIXED: Final = ("qwen3-14b-h100", "qwen3-30b-a3b-2xh100")
H100_NAME: Final = "NVIDIA H100 80GB HBM3"
A100_NAME: Final = "NVIDIA A100-SXM4-80GB"
_OFF_SHEET: Final = 0.2
"""Spread of the truth's coefficients around the data sheet's, each its own."""
_COMMON: Final = 0.01
_MEMORY: Final = 0.7
"""A window's energy is off by 1 % in common, and remembers 70 % of it in the next: temperature, clocks."""
_SCATTER: Final = 0.03
"""Of single iterations."""


@dataclass(frozen=True, slots=True)
class Setting:
    """One kind of fleet."""

    name: str
    engines: Sequence[str]
    gpu: str
    sensor: Sensor
    inside: bool
    """Whether the truth lies in the model's family."""
    outside: float = 0.0
    """Size of the terms that the family lacks, relative to those it has."""
    drift: float = 0.0
    """Relative change of all energies from the first window to the last."""


SETTINGS: Final = (
    Setting("dense, H100 meters", DENSE, H100_NAME, H100, inside=True),
    Setting("dense, A100 meters", DENSE, A100_NAME, A100, inside=True),
    Setting("with a mixture of experts", MIXED, H100_NAME, H100, inside=True),
    Setting("concave, odd knee, H100 meters", DENSE, H100_NAME, H100, inside=False, outside=0.15),
    Setting("concave, odd knee, A100 meters", DENSE, A100_NAME, A100, inside=False, outside=0.15),
    Setting("drifting by 5 %", DENSE, H100_NAME, H100, inside=False, drift=0.05),
)


@dataclass(frozen=True, slots=True)
class Engine:
    """One engine of a fleet with its truth, its meter and what the meter showed."""

    run: Play
    truth: Truth
    number: int
    class_number: int
    gain: float
    """What the meter shows of a joule."""
    readings: MeterReadings
    common: Floats
    """(W,) by which a window's energy, shares and all, is above the truth's formula."""


def bounded(draw: np.random.Generator, deviation: float) -> float:
    """A meter's error: evenly distributed with this standard deviation, as tolerances are, not normal."""
    return float(draw.uniform(-1.0, 1.0) * deviation * 3**0.5)


def descriptor(setting: Setting, name: str) -> EngineDescriptor:
    """What such an engine would announce."""
    kind = engine_type(name)
    experts = kind.experts
    return EngineDescriptor(
        engine_id=name,
        group_id=name,
        node_id="node",
        effective_from_ns=1,
        model=kind.model,
        precision=kind.precision,
        gpu_model=setting.gpu,
        gpu_uuids=tuple(f"GPU-{i}" for i in range(kind.gpus)),
        weight_bytes=kind.weight_bytes,
        kv_bytes_per_token=kind.kv_bytes_per_token,
        experts_total=experts.total if experts else 0,
        experts_active=experts.active if experts else 0,
        expert_weight_bytes=experts.weight_bytes if experts else 0,
    )


def drawn_truth(setting: Setting, name: str, draw: np.random.Generator) -> Truth:
    """Coefficients around the data sheet's, each off by a factor of its own."""
    prior = model_in_force(descriptor(setting, name), SideInputs(), 1).energy
    factor = np.exp(draw.normal(0.0, _OFF_SHEET, 6))
    family = EnergyModel(
        fixed_j=prior.fixed_j * factor[0],
        request_j=prior.request_j * factor[1],
        prefill_token_j=prior.prefill_token_j * factor[2],
        context_token_j=prior.context_token_j * factor[3],
        experts_j=prior.experts_j * factor[4],
        expert_fraction=prior.expert_fraction,
        idle_w=prior.idle_w * factor[5],
    )
    return Truth(
        family,
        concave_j=setting.outside * family.fixed_j / 4.0,
        knee_j=setting.outside * family.prefill_token_j * 2.0,
    )


def drawn_engine(
    setting: Setting,
    run: Play,
    truth: Truth,
    numbers: tuple[int, int],
    gain: float,
    draw: np.random.Generator,
) -> Engine:
    """Power over time and what the counter made of it; `numbers` are the engine's and its class's."""
    windows = FITTED + BILLED + 2
    common = np.empty(windows)
    common[0] = draw.normal(0.0, _COMMON)
    for window in range(1, windows):
        common[window] = _MEMORY * common[window - 1] + draw.normal(0.0, _COMMON * (1.0 - _MEMORY**2) ** 0.5)
    common += setting.drift * (np.arange(windows) / windows - 0.5)
    at = np.minimum(run.start_us // WINDOW_US, windows - 1)
    joules = iteration_j(run, truth) * (1.0 + common[at]) * np.exp(draw.normal(0.0, _SCATTER, len(at)))
    until_us = windows * WINDOW_US
    timeline = build_timeline(
        run.start_us,
        np.minimum(run.end_us, until_us),
        joules,
        np.zeros(len(at), np.int64),
        [Background(0, truth.family.idle_w, IDLE)],
        until_us,
    )
    habits = Sensor(window_us=setting.sensor.window_us, gain=gain)
    read = read_counter(timeline.total_j, until_us, seed=int(draw.integers(2**31)), sensor=habits)
    meter = Meter("GPU-0", "gpu", "boot", "gpu", "counter")
    return Engine(
        run, truth, *numbers, gain, MeterReadings(meter, read.time_us * 1000, read.cumulative_uj), common
    )
