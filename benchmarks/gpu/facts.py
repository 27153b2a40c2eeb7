"""Ceilings and meter: what the GPU draws at rest, how its counter moves, and whether it agrees with its power.

Each fact is one row of `meter.csv`. Stages are journalled one by one, so that an interrupted slice repeats none.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Final

import numpy as np

from benchmarks.gpu.cells import Cell
from benchmarks.gpu.clock import Clock
from benchmarks.gpu.counter import Steps, change_times, counter_power, resolution_mj, response_s
from benchmarks.gpu.journal import Journal
from benchmarks.gpu.measure import burst_iterations, keep_busy
from benchmarks.gpu.nvml import Gpu
from benchmarks.gpu.settings import Settings
from benchmarks.gpu.shapes import DENSE
from benchmarks.gpu.work import Engine
from schemas.errors import MeterError

__all__ = ["LOADS", "Fact", "add_facts", "idle_facts", "load_facts", "meter_stages", "settle_s"]

LOADS: Final = (
    Cell("load/light", "load", DENSE.name, ((1, 128),)),
    Cell("load/memory", "load", DENSE.name, ((1, 4096),) * 64),
    Cell("load/compute", "load", DENSE.name, ((2048, 0),)),
)
"""Three loads: one decode row, a memory-bound batch, a compute-bound chunk."""
_POLL_S: Final = 0.001
_REST_S: Final = 2.0
"""From the end of a load to rest, for the response; longer than the slowest averaging known."""


@dataclass(frozen=True, slots=True)
class Fact:
    """One figure about the meter or the device."""

    name: str
    value: float
    unit: str
    half_width: float | None
    """90 %, where it is known."""
    about: str


def idle_facts(name: str, about: str, gpu: Gpu, clock: Clock, seconds: float) -> list[Fact]:
    """Power at rest, by the counter's whole steps where it moves, else from end to end."""
    times, counter, instants = _watch(gpu, clock, seconds)
    facts = []
    power = counter_power(change_times(times, counter))
    if power is not None:
        facts.append(Fact(f"{name}_w", power.watts, "W", power.half_width_w, f"{about}, by the counter"))
    elif times[-1] > times[0]:
        watts = (counter[-1] - counter[0]) / 1000.0 / (times[-1] - times[0])
        facts.append(Fact(f"{name}_w", watts, "W", None, f"{about}, by the counter from end to end"))
    if instants:
        facts.append(
            Fact(f"{name}_instant_w", float(np.mean(instants)), "W", None, f"{about}, instantaneous")
        )
    return facts


def load_facts(cell: Cell, engine: Engine, gpu: Gpu, clock: Clock, settings: Settings) -> list[Fact]:
    """Counter against integrated instantaneous power under one load, the counter's step, its response."""
    work = engine.prepare(cell)
    burst = burst_iterations(work, clock, settings)
    clock.sleep(_REST_S)
    rested, rested_mj, _ = _watch(gpu, clock, 1.0)
    start_s = clock.now_s()
    readings = keep_busy(
        work, gpu, clock, burst=burst, settle_s=0.0,
        enough=lambda seen: seen.times_s[-1] - start_s >= settings.longest_settle_s + settings.fact_s,
    )  # fmt: skip
    work.drain()
    steps = change_times(readings.times_s, readings.millijoules)
    late = np.searchsorted(steps.times_s, start_s + settings.longest_settle_s)
    settled = Steps(steps.times_s[late:], steps.joules[late:], steps.gaps_s[late:])
    power = counter_power(settled)
    if power is None:
        raise MeterError(f"GPU {gpu.uuid}: its energy counter did not move under {cell.name}")
    name = cell.name.removeprefix("load/")
    facts = [Fact(f"{name}_counter_w", power.watts, "W", power.half_width_w, f"{name} load, by the counter")]
    facts += _agreement(name, readings.instants_s, readings.instants_w, settled.times_s, power.watts)
    between = np.diff(settled.times_s)
    facts += [
        Fact(f"{name}_step_s", float(np.median(between)), "s", None, "median time between changes"),
        Fact(
            f"{name}_step_p95_s",
            float(np.quantile(between, 0.95)),
            "s",
            None,
            "95th percentile of the time between changes",
        ),
        Fact(
            f"{name}_resolution_mj",
            float(resolution_mj(readings.millijoules)),
            "mJ",
            None,
            "largest unit of all increases",
        ),
        Fact(
            f"{name}_reading_s",
            float(np.median(np.diff(readings.times_s))),
            "s",
            None,
            "median time of a reading",
        ),
    ]
    response = response_s(
        change_times([*rested, *readings.times_s], [*rested_mj, *readings.millijoules]), start_s
    )
    if response is not None:
        about = "after the load began, until the counter's slope had made nine tenths of the way"
        facts.append(Fact(f"{name}_response_s", response, "s", None, about))
    return facts


def measure_ceilings(engine: Engine) -> list[Fact]:
    """What the engine measured of the device, as facts."""
    return [Fact(c.name, c.value, c.unit, None, c.about) for c in engine.ceilings()]


def settle_s(journal: Journal, settings: Settings) -> float:
    """How long the counter needs after a switch of load: the slowest response seen, within the settings' bounds."""
    seen = [f["value"] for f in journal.of("fact") if str(f["name"]).endswith("_response_s")]
    slowest = max(seen, default=settings.longest_settle_s)
    return float(min(max(slowest, settings.shortest_settle_s), settings.longest_settle_s))


def meter_stages(
    engine: Engine, gpu: Gpu, clock: Clock, settings: Settings, loads: Sequence[Cell] = LOADS
) -> dict[str, Callable[[], list[Fact]]]:
    """What is found out once models are loaded, by stage; each takes seconds."""
    stages: dict[str, Callable[[], list[Fact]]] = {
        "loaded": lambda: _at_rest(
            "loaded_idle", "CUDA context open, models loaded, no work", gpu, clock, settings
        ),
        "ceilings": lambda: measure_ceilings(engine),
    }
    for cell in loads:
        stages[cell.name] = lambda cell=cell: load_facts(cell, engine, gpu, clock, settings)  # type: ignore[misc]
    return stages


def add_facts(journal: Journal, stage: str, facts: Sequence[Fact]) -> None:
    """Journal a stage: its facts, then that it is done."""
    for fact in facts:
        journal.add("fact", asdict(fact))
    journal.add("stage", {"name": stage})


def _at_rest(name: str, about: str, gpu: Gpu, clock: Clock, settings: Settings) -> list[Fact]:
    clock.sleep(_REST_S)
    return idle_facts(name, about, gpu, clock, settings.fact_s)


def _watch(gpu: Gpu, clock: Clock, seconds: float) -> tuple[list[float], list[int], list[float]]:
    """Times, counter and instantaneous power while nothing is asked of the GPU."""
    times: list[float] = []
    counter: list[int] = []
    instants: list[float] = []
    end_s = clock.now_s() + seconds
    while not times or times[-1] < end_s:
        counter.append(gpu.energy_mj())
        times.append(clock.now_s())
        instant_w = gpu.instant_w()
        if instant_w is not None:
            instants.append(instant_w)
        clock.sleep(_POLL_S)
    return times, counter, instants


def _agreement(
    name: str, times_s: Sequence[float], watts: Sequence[float], changes_s: np.ndarray, counter_w: float
) -> list[Fact]:
    """Trapezia of the instantaneous power between the counter's first and last change."""
    inside = [(t, w) for t, w in zip(times_s, watts, strict=True) if changes_s[0] <= t <= changes_s[-1]]
    if len(inside) < 3:
        return []
    at, power = np.array(inside).T
    mean_w = float(np.trapezoid(power, at) / (at[-1] - at[0]))
    return [
        Fact(f"{name}_instant_w", mean_w, "W", None, f"{name} load, instantaneous power integrated"),
        Fact(
            f"{name}_agreement", counter_w / mean_w, "1", None, "counter over integrated instantaneous power"
        ),
    ]
