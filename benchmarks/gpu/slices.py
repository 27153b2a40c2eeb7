"""One slice: at rest, loaded, warm, then cell after cell until the time is up, all of it journalled."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from benchmarks.gpu.cells import Batch, Cell
from benchmarks.gpu.clock import Clock
from benchmarks.gpu.facts import LOADS, Fact, add_facts, idle_facts, meter_stages, settle_s
from benchmarks.gpu.journal import Journal
from benchmarks.gpu.measure import Readings, burst_iterations, keep_busy, visit
from benchmarks.gpu.nvml import Gpu
from benchmarks.gpu.planner import first_round, neighbours, next_cell
from benchmarks.gpu.settings import Settings
from benchmarks.gpu.work import Engine
from schemas.errors import ConfigurationError, MeterError

__all__ = ["Plan", "Progress", "run_slice", "seconds_used", "visits_of"]

_FAILURES: Final = 3
_FIRST_GUESS_S: Final = 1.5
"""What a cell takes until some have been seen."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be measured."""

    grid: Sequence[Cell]
    batches: Sequence[Batch]
    reference: Cell
    settings: Settings
    loads: Sequence[Cell] = LOADS


@dataclass(frozen=True, slots=True)
class Progress:
    """What a slice tells while it works."""

    doing: str
    cells_done: int
    cells: int
    left_s: float
    """Of this slice."""


Tell = Callable[[Progress], None]


@dataclass(slots=True)
class _State:
    """Where a slice stands."""

    journal: Journal
    visits: dict[str, list[dict[str, Any]]]
    begin_s: float
    last: Cell | None = None
    costs_s: list[float] = field(default_factory=list)
    failed: set[str] = field(default_factory=set)
    failed_in_a_row: int = 0

    @property
    def cost_s(self) -> float:
        recent = self.costs_s[-50:]
        return sum(recent) / len(recent) if recent else _FIRST_GUESS_S


def run_slice(
    plan: Plan,
    journal: Journal,
    gpu: Gpu,
    build: Callable[[], Engine],
    clock: Clock,
    *,
    another_gpu: bool = False,
    tell: Tell = lambda _: None,
) -> None:
    """Measure for `settings.slice_s`, or until the run's `total_s` is used.

    `build` opens the device; before it is called the GPU's idle power is taken, since an open context draws
    power of its own. ConfigurationError if the run was begun on another GPU and `another_gpu` is not said:
    meters differ by some per cent from card to card.
    """
    settings = plan.settings
    _same_gpu(journal, gpu, another_gpu)
    begin_s = clock.now_s()
    left = min(settings.slice_s, settings.total_s - seconds_used(journal))
    if left <= 2 * settings.margin_s:
        raise ConfigurationError(
            f"the run has used its {settings.total_s:.0f} s: export it, or begin another with a new --journal"
        )
    end_s = begin_s + left - settings.margin_s
    state = _State(journal, visits_of(journal), begin_s)
    done = {stage["name"] for stage in journal.of("stage")}

    def at(doing: str, cells: Sequence[Cell] = ()) -> None:
        seen = sum(cell.name in state.visits for cell in cells)
        tell(Progress(doing, seen, len(cells), max(0.0, end_s - clock.now_s())))

    if "idle" not in done:
        at("idle power, before anything is opened")
        add_facts(journal, "idle", _idle(gpu, clock, settings))
    at("loading the models")
    engine = build()
    journal.add("slice", {"gpu": gpu.uuid, **_environment(gpu, engine)})
    try:
        for name, measure in meter_stages(engine, gpu, clock, settings, plan.loads).items():
            if name not in done:
                at(f"meter: {name}")
                with _survived(state, name):
                    add_facts(journal, name, measure())
        at("warming up to a steady temperature")
        _warm(plan.reference, engine, gpu, clock, settings)
        cells = [c for c in first_round(plan.grid, plan.batches, settings.seed) if fits(c, engine)]
        _cells(plan, cells, state, engine, gpu, clock, end_s, lambda cell: at(cell.name, cells))
    finally:
        journal.add("slice_end", {"seconds": clock.now_s() - begin_s})


def fits(cell: Cell, engine: Engine) -> bool:
    """Whether the cell's cache fits beside the weights."""
    return cell.kv_tokens <= engine.kv_tokens(cell.model)


def seconds_used(journal: Journal) -> float:
    """By all slices so far; one that was killed before it could say so is not counted."""
    return float(sum(record["seconds"] for record in journal.of("slice_end")))


def visits_of(journal: Journal) -> dict[str, list[dict[str, Any]]]:
    """Every visit by cell, the reference's too."""
    found: dict[str, list[dict[str, Any]]] = {}
    for record in journal.of("visit"):
        found.setdefault(record["cell"], []).append(record)
    return found


def _cells(
    plan: Plan,
    cells: Sequence[Cell],
    state: _State,
    engine: Engine,
    gpu: Gpu,
    clock: Clock,
    end_s: float,
    at: Callable[[Cell], None],
) -> None:
    settings = plan.settings
    slowest_s = settle_s(state.journal, settings)
    number = len(state.journal.of("slice"))
    count = 0
    while (
        cell := next_cell([c for c in cells if c.name not in state.failed], state.visits, settings)
    ) is not None:
        if count % settings.reference_every == 0 and fits(plan.reference, engine):
            cell = plan.reference
        count += 1
        if clock.now_s() + 1.5 * state.cost_s > end_s:
            return
        at(cell)
        begin_s = clock.now_s()
        near = neighbours(state.last, cell)
        settle = min(settings.neighbour_settle_s, slowest_s) if near else slowest_s
        with _survived(state, cell.name):
            found = visit(engine.prepare(cell), gpu, clock, settings, settle)
            record = {
                "cell": cell.name,
                "slice": number,
                "at_s": begin_s - state.begin_s,
                "settle_s": settle,
                **asdict(found),
            }
            state.journal.add("visit", record)
            state.visits.setdefault(cell.name, []).append(record)
            state.last = cell
            state.failed_in_a_row = 0
        state.costs_s.append(clock.now_s() - begin_s)


@contextmanager
def _survived(state: _State, name: str) -> Iterator[None]:
    """A stage or cell that fails is journalled and left for another slice; three in a row stop this one.

    RuntimeError is what PyTorch raises when memory is short or a kernel is refused.
    """
    try:
        yield
    except (MeterError, RuntimeError) as error:
        state.journal.add("failure", {"name": name, "error": f"{type(error).__name__}: {error}"[:500]})
        state.failed.add(name)
        state.failed_in_a_row += 1
        if state.failed_in_a_row >= _FAILURES:
            raise


def _idle(gpu: Gpu, clock: Clock, settings: Settings) -> list[Fact]:
    return idle_facts("idle", "no process on the GPU but this one, no context", gpu, clock, settings.fact_s)


def _warm(reference: Cell, engine: Engine, gpu: Gpu, clock: Clock, settings: Settings) -> None:
    """The reference load until a `steady_s` without a degree of change, at most `warm_s`."""
    work = engine.prepare(reference)
    begin_s = clock.now_s()
    held: tuple[float | None, float] = (gpu.temperature_c(), begin_s)

    def steady(seen: Readings) -> bool:
        nonlocal held
        now_s = seen.times_s[-1]
        temperature = gpu.temperature_c()
        if temperature is not None and held[0] is not None and abs(temperature - held[0]) > 1.0:
            held = (temperature, now_s)
        return now_s - held[1] >= settings.steady_s or now_s - begin_s >= settings.warm_s

    keep_busy(work, gpu, clock, burst=burst_iterations(work, clock, settings), settle_s=0.0, enough=steady)
    work.drain()


def _same_gpu(journal: Journal, gpu: Gpu, another_gpu: bool) -> None:
    used = {record["gpu"] for record in journal.of("slice")}
    if used and gpu.uuid not in used and not another_gpu:
        raise ConfigurationError(
            f"this run was begun on GPU {', '.join(sorted(used))}, here is {gpu.uuid}: meters differ from card to "
            "card; begin a new run with another --journal, or say --another-gpu (the data will name both)"
        )


def _environment(gpu: Gpu, engine: Engine) -> Mapping[str, Any]:
    return {
        "gpu_model": gpu.name,
        "driver": gpu.driver,
        "power_limit_w": gpu.power_limit_w(),
        **engine.environment(),
    }
