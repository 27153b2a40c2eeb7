"""The command line of the measurement: slices, the plan, the export."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import click

from benchmarks.gpu.cells import BATCHES, REFERENCE, Batch, Cell, coalition_cells, grid_cells, shrunk
from benchmarks.gpu.clock import SystemClock
from benchmarks.gpu.dataset import FORMAT, export
from benchmarks.gpu.facts import LOADS
from benchmarks.gpu.journal import Journal, open_journal
from benchmarks.gpu.nvml import Gpu, open_gpu
from benchmarks.gpu.settings import Settings
from benchmarks.gpu.shapes import DENSE, MOE, TINY_DENSE, TINY_MOE, ModelShape
from benchmarks.gpu.slices import Plan, Progress, run_slice, seconds_used, visits_of
from benchmarks.gpu.work import Engine
from schemas.errors import ConfigurationError, WattledgerError

__all__ = ["main", "plan_for"]

_JOURNAL: Final = Path(".cache/gpu-run")
_DATA: Final = Path("benchmarks/gpu/data")
_DIVISOR: Final = 64
"""Of a rehearsal's tokens."""
_CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 110}

_journal = click.option(
    "--journal", type=click.Path(path_type=Path, file_okay=False), default=_JOURNAL, show_default=True,
    help="Where the run remembers itself; keep it between slices.",
)  # fmt: skip
_out = click.option(
    "--out", type=click.Path(path_type=Path, file_okay=False), default=_DATA, show_default=True,
    help="Where the data set goes.",
)  # fmt: skip
_device = click.option(
    "--device", type=click.Choice(["cuda", "cpu"]), default="cuda", show_default=True,
    help="cpu rehearses everything on a tiny float32 model; the meter is a GPU's all the same.",
)  # fmt: skip


@click.group(context_settings=_CONTEXT)
def main() -> None:
    """Measure what every sub-batch of an inference batch costs on one data-centre GPU.

    Needs PyTorch with CUDA and an NVIDIA driver; nothing is downloaded, weights are random. Three slices of at most
    eight minutes give the data set; a slice can be stopped and started at any time, it goes on where the journal
    ends. Nothing is set on the GPU: clocks and limits are as they are found.

    \b
    Example, from the repository's root:
      python3 -m benchmarks.gpu plan
      python3 -m benchmarks.gpu check
      python3 -m benchmarks.gpu slice        # three times
      wattledger evaluate --measured benchmarks/gpu/data
    """


@main.command("slice")
@_journal
@_out
@_device
@click.option("--minutes", type=click.FloatRange(0.1), help="Of this slice; 8 if left out.")
@click.option("--gpu", "uuid", help="UUID of the GPU as nvidia-smi -L shows it, where there are several.")
@click.option("--another-gpu", is_flag=True, help="Go on although the run was begun on another card.")
def slice_(
    journal: Path, out: Path, device: str, minutes: float | None, uuid: str | None, another_gpu: bool
) -> None:
    """Measure for eight minutes, then write what there is.

    \b
    Example:
      python3 -m benchmarks.gpu slice --minutes 2
    """
    settings = Settings() if minutes is None else Settings(slice_s=60.0 * minutes)
    plan, shapes = plan_for(device, settings)
    gpu = open_gpu(uuid)
    book = open_journal(journal, identity(device, settings))
    try:
        run_slice(
            plan, book, gpu, lambda: _build(plan, shapes, device, gpu), SystemClock(),
            another_gpu=another_gpu, tell=_tell(),
        )  # fmt: skip
    finally:
        _export(book, plan, shapes, out)
    left = settings.total_s - seconds_used(book)
    click.echo(f"{left / 60:.0f} minutes of the run are left" if left > 60 else "the run's time is used")


@main.command("check")
@_device
def check_(device: str) -> None:
    """Load the models and run a few iterations: a minute that tells whether a slice would work.

    \b
    Example:
      python3 -m benchmarks.gpu check
    """
    from benchmarks.gpu.measure import iteration_s

    plan, shapes = plan_for(device, Settings())
    clock = SystemClock()
    begin_s = clock.now_s()
    engine = _engine(plan, shapes, device)
    for name, value in engine.environment().items():
        click.echo(f"{name}: {value}")
    click.echo(f"loaded in {clock.now_s() - begin_s:.0f} s")
    wholes = [coalition_cells(batch)[-1] for batch in plan.batches]
    for cell in (plan.reference, *plan.loads, *wholes):
        begin_s = clock.now_s()
        work = engine.prepare(cell)
        ready_s = clock.now_s() - begin_s
        each_s = iteration_s(work, clock)
        click.echo(f"{cell.name}: {1000 * each_s:.2f} ms, made ready in {1000 * ready_s:.0f} ms")
    left = sum(cell.kv_tokens > engine.kv_tokens(cell.model) for cell in plan.grid)
    click.echo(f"{left} of {len(plan.grid)} grid cells do not fit the memory")


@main.command("export")
@_journal
@_out
@_device
def export_(journal: Path, out: Path, device: str) -> None:
    """Write the data set from the journal again; needs no GPU."""
    if not journal.exists():
        raise ConfigurationError(
            f"{journal}: there is no journal; `python3 -m benchmarks.gpu slice` makes one"
        )
    settings = Settings()
    plan, shapes = plan_for(device, settings)
    _export(open_journal(journal, identity(device, settings)), plan, shapes, out)


@main.command("plan")
@_device
def plan_(device: str) -> None:
    """Say what will be measured; needs no GPU."""
    plan, shapes = plan_for(device, Settings())
    for shape in shapes:
        size = (shape.weight_bytes + shape.expert_weight_bytes) / 1e9
        click.echo(f"model {shape.name}: {size:.1f} GB, {shape.kv_bytes_per_token} cache bytes per token")
    click.echo(f"grid: {len(plan.grid)} cells, as far as they fit the memory")
    for batch in plan.batches:
        click.echo(f"batch {batch.name}: {2 ** len(batch.rows) - 1} sub-batches; {batch.about}")
    settings = plan.settings
    click.echo(f"time: {settings.total_s / 60:.0f} minutes in slices of {settings.slice_s / 60:.0f}")


def plan_for(device: str, settings: Settings) -> tuple[Plan, tuple[ModelShape, ...]]:
    """What is measured on a GPU, or its rehearsal with everything divided."""
    if device == "cuda":
        return Plan(grid_cells(), BATCHES, REFERENCE, settings), (DENSE, MOE)
    tiny = {DENSE.name: TINY_DENSE.name, MOE.name: TINY_MOE.name}

    def small(cell: Cell) -> Cell:
        batch = shrunk(Batch(cell.name, "", cell.model, cell.rows), tiny[cell.model], _DIVISOR)
        return Cell(cell.name, cell.kind, batch.model, batch.rows)

    batches = tuple(shrunk(batch, tiny[batch.model], _DIVISOR) for batch in BATCHES)
    plan = Plan(
        tuple(small(cell) for cell in grid_cells()), batches, small(REFERENCE), settings,
        tuple(small(cell) for cell in LOADS),
    )  # fmt: skip
    return plan, (TINY_DENSE, TINY_MOE)


def identity(device: str, settings: Settings) -> dict[str, Any]:
    """What makes two slices parts of one run."""
    return {"format": FORMAT, "seed": settings.seed, "device": device}


def _engine(plan: Plan, shapes: Sequence[ModelShape], device: str) -> Engine:
    from benchmarks.gpu.torch_engine import TorchEngine

    needed = max(cell.kv_tokens for cell in (*plan.grid, plan.reference, *plan.loads))
    needed = max(needed, *(sum(new + context for new, context in batch.rows) for batch in plan.batches))
    return TorchEngine(shapes, device, plan.settings.seed, needed)


def _build(plan: Plan, shapes: Sequence[ModelShape], device: str, gpu: Gpu) -> Engine:
    from benchmarks.gpu.torch_engine import cuda_uuid

    engine = _engine(plan, shapes, device)
    if device == "cuda" and cuda_uuid() != gpu.uuid:
        raise ConfigurationError(
            f"CUDA works on {cuda_uuid()}, the meter reads {gpu.uuid}: set CUDA_VISIBLE_DEVICES={gpu.uuid}"
        )
    return engine


def _export(journal: Journal, plan: Plan, shapes: Sequence[ModelShape], out: Path) -> None:
    found = export(journal, plan, shapes, out)
    click.echo(
        f"{out}: {found.grid} of {found.grid_wanted} grid cells, {found.coalitions} of {found.coalitions_wanted} "
        f"sub-batches, {sum(map(len, visits_of(journal).values()))} visits"
    )


def _tell() -> Any:
    live = sys.stderr.isatty()
    shown = ""

    def tell(progress: Progress) -> None:
        nonlocal shown
        minutes, seconds = divmod(int(progress.left_s), 60)
        line = f"{minutes}:{seconds:02d} left  {progress.cells_done}/{progress.cells}  {progress.doing}"
        # On a pipe one line in ten seconds: a log that is cut at its end still says where the run stands.
        mark = line if live or not progress.cells else f"{minutes}:{seconds // 10}"
        if mark != shown:
            sys.stderr.write(f"\r\x1b[K{line}" if live else f"{line}\n")
            sys.stderr.flush()
        shown = mark

    return tell


if __name__ == "__main__":
    try:
        main(prog_name="python3 -m benchmarks.gpu")
    except WattledgerError as error:
        sys.exit(f"benchmarks.gpu: {error}")
