"""A GPU that costs what a test says, on a clock of its own, read through the real NVML binding from the stub."""

import ctypes
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from benchmarks.gpu.cells import Batch, Cell
from benchmarks.gpu.work import Ceiling

Cost = Callable[[Cell], tuple[float, float]]
"""A cell's iteration: joules and seconds."""

STEP_S = 0.1
POLL_S = 0.002
"""What each look at the clock takes."""


@dataclass
class World:
    """Time, and the energy drawn until now; the counter shows it as it was at the last whole step."""

    idle_w: float
    loaded_w: float
    noise: float = 0.0
    """Relative standard deviation of each step's energy."""
    time_s: float = 0.0
    busy_until_s: float = 0.0
    work_w: float = 0.0
    loaded: bool = False
    energy_j: float = 0.0
    shown_j: float = 0.0
    rng: np.random.Generator = field(default_factory=lambda: np.random.default_rng(5))

    def __post_init__(self) -> None:
        self._drive = ctypes.CDLL("libnvidia-ml.so.1").nvml_stub_drive
        self._drive.argtypes = (ctypes.c_ulonglong, ctypes.c_uint)
        self._factor = 1.0
        self._show()

    def now_s(self) -> float:
        self._advance(POLL_S)
        return self.time_s

    def sleep(self, seconds: float) -> None:
        self._advance(seconds)

    def _advance(self, seconds: float) -> None:
        end_s = self.time_s + seconds
        while self.time_s < end_s:
            boundary_s = (int(self.time_s / STEP_S + 1e-9) + 1) * STEP_S
            stop_s = min(end_s, boundary_s)
            self._draw(stop_s)
            if stop_s == boundary_s:
                self.shown_j = self.energy_j
                self._factor = 1.0 + self.noise * self.rng.standard_normal()
        self._show()

    def _draw(self, until_s: float) -> None:
        busy_s = max(0.0, min(until_s, self.busy_until_s) - self.time_s)
        rest_w = self.loaded_w if self.loaded else self.idle_w
        rest_s = until_s - self.time_s - busy_s
        self.energy_j += self._factor * (self.work_w * busy_s + rest_w * rest_s)
        self.time_s = until_s

    def _show(self) -> None:
        rest_w = self.loaded_w if self.loaded else self.idle_w
        power_w = self.work_w if self.time_s < self.busy_until_s else rest_w
        self._drive(round(1000 * self.shown_j), round(1000 * power_w))


class ScriptedEngine:
    """Runs nothing: a cell takes the time and draws the energy that `cost` says."""

    def __init__(self, world: World, cost: Cost, kv_tokens: int = 10**9) -> None:
        self.world = world
        self.cost = cost
        self.capacity = kv_tokens
        world.loaded = True

    def kv_tokens(self, model: str) -> int:
        return self.capacity

    def prepare(self, cell: Cell) -> "ScriptedWork":
        joules, seconds = self.cost(cell)
        self.world.work_w = joules / seconds
        return ScriptedWork(self.world, seconds)

    def ceilings(self) -> Sequence[Ceiling]:
        return (Ceiling("copy_bytes_per_s", 4e12, "B/s", "scripted"),)

    def environment(self) -> dict[str, str]:
        return {"torch": "none", "device": "scripted"}


@dataclass
class ScriptedWork:
    """A queue that empties as the world's time goes on."""

    world: World
    period_s: float
    ends_s: list[float] = field(default_factory=list)

    def submit(self, iterations: int) -> None:
        begin_s = max(self.world.time_s, self.world.busy_until_s)
        self.world.busy_until_s = begin_s + iterations * self.period_s
        self.ends_s.append(self.world.busy_until_s)

    def finished(self) -> int:
        return sum(end_s <= self.world.time_s for end_s in self.ends_s)

    def seconds(self, first: int, last: int) -> float:
        return self.ends_s[last] - self.ends_s[first]

    def drain(self) -> None:
        self.world.sleep(max(0.0, self.world.busy_until_s - self.world.time_s))


def cost(cell: Cell) -> tuple[float, float]:
    """Weights once, context, chunks, and a knee at 128 tokens: what the energy model also has."""
    tokens = cell.new_tokens
    context = sum(context for _, context in cell.rows)
    joules = 3.0 + 0.05 * len(cell.rows) + 2.4e-5 * context + 0.02 * (tokens - len(cell.rows))
    joules += 0.1 * max(0, tokens - 128)
    return joules, 0.004 + joules / 600.0


BATCHES = (
    Batch("decode-4", "decode only", "dense-8b", ((1, 200), (1, 2000), (1, 9000), (1, 30_000))),
    Batch("mixed-3", "a chunk beside two", "dense-8b", ((1, 400), (1, 5000), (200, 1000))),
)
GRID = tuple(
    Cell(f"grid/dense-8b/b{batch}/c{context}/p{chunk}", "grid", "dense-8b",
         ((1, context),) * batch + (((chunk, context),) if chunk else ()))
    for batch in (1, 8, 64) for context in (128, 4096) for chunk in (0, 64, 512)
)  # fmt: skip
