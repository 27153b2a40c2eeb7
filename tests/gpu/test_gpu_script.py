"""The whole script on a scripted GPU behind the real NVML binding: known costs go in, the data set has them."""

import csv
import json
from itertools import combinations
from math import factorial
from pathlib import Path

import pytest

from tests.meters import nvml_stub
from tests.meters.nvml_stub import NvmlStub

RUN = """
import json, sys
from dataclasses import replace
from pathlib import Path
if sys.argv[2] == "ctypes":
    sys.modules["pynvml"] = None
from benchmarks.gpu.cells import REFERENCE
from benchmarks.gpu.dataset import export
from benchmarks.gpu.journal import open_journal
from benchmarks.gpu.nvml import open_gpu
from benchmarks.gpu.settings import Settings
from benchmarks.gpu.shapes import DENSE
from benchmarks.gpu.slices import Plan, run_slice
from schemas.errors import WattledgerError
from tests.gpu.world import BATCHES, GRID, ScriptedEngine, World, cost
out = Path(sys.argv[1])
slices = [float(word) for word in sys.argv[3].split(",")]
settings = Settings(fact_s=2.0, warm_s=2.0, steady_s=1.0, margin_s=1.0, total_s=sum(slices))
world = World(idle_w=70.0, loaded_w=120.0, noise=float(sys.argv[4]))
for seconds in slices:
    journal = open_journal(out / "journal", {"format": 1, "seed": 1})
    plan = Plan(GRID, BATCHES, REFERENCE, replace(settings, slice_s=seconds))
    world.loaded = False
    gpu = open_gpu()
    run_slice(plan, journal, gpu, lambda: ScriptedEngine(world, cost), world)
found = export(journal, plan, (DENSE,), out / "data")
counts = [found.grid, found.grid_wanted, found.coalitions, found.coalitions_wanted]
print(json.dumps([*counts, world.time_s, gpu.library.__name__]))
"""


@pytest.fixture(scope="module")
def stub(tmp_path_factory: pytest.TempPathFactory) -> NvmlStub:
    built = nvml_stub.build(tmp_path_factory.mktemp("nvml"))
    built.write("uuid=GPU-a power_w=70")
    return built


def table(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file))


def shapley(values: dict[int, float], n: int) -> list[float]:
    """By the definition, apart from the library's enumeration."""
    found = []
    for i in range(n):
        total = 0.0
        for size in range(n):
            weight = factorial(size) * factorial(n - 1 - size) / factorial(n)
            for others in combinations([j for j in range(n) if j != i], size):
                mask = sum(1 << j for j in others)
                total += weight * (values[mask | 1 << i] - values[mask])
        found.append(total)
    return found


def known(batch) -> dict[int, float]:
    from benchmarks.gpu.cells import coalition_cells
    from tests.gpu.world import cost

    return {0: 0.0} | {cell.mask: cost(cell)[0] for cell in coalition_cells(batch)}


@pytest.fixture(scope="module")
def run(stub: NvmlStub, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list]:
    """Three slices through the binding, on a meter with noise."""
    out = tmp_path_factory.mktemp("run")
    return out, json.loads(stub.python(RUN, str(out), "binding", "25,25,60", "0.004"))


def test_slices_measure_everything_within_the_time(run: tuple[Path, list]) -> None:
    _, (grid, grid_wanted, coalitions, wanted, seconds, library) = run
    assert (grid, coalitions) == (grid_wanted, wanted) == (18, 15 + 7)
    assert seconds < 110 + 1
    assert library == "pynvml"


def test_the_measured_game_has_the_known_shapley_values(run: tuple[Path, list]) -> None:
    from tests.gpu.world import BATCHES

    rows = table(run[0] / "data" / "coalitions.csv")
    for batch in BATCHES:
        measured = {0: 0.0} | {int(r["mask"]): float(r["energy_j"]) for r in rows if r["batch"] == batch.name}
        truth = known(batch)
        n = len(batch.rows)
        assert shapley(measured, n) == pytest.approx(shapley(truth, n), rel=0.01)
        assert measured == pytest.approx(truth, rel=0.01)


def test_half_widths_hold_the_known_energies_about_nine_times_in_ten(run: tuple[Path, list]) -> None:
    from tests.gpu.world import BATCHES

    rows = table(run[0] / "data" / "coalitions.csv")
    inside = [
        abs(float(row["energy_j"]) - known(batch)[int(row["mask"])]) <= float(row["half_width_j"])
        for batch in BATCHES
        for row in rows
        if row["batch"] == batch.name
    ]
    assert sum(inside) / len(inside) >= 0.75
    assert all(float(row["half_width_j"]) <= 0.02 * float(row["energy_j"]) for row in rows)


def test_the_meters_facts_are_found(run: tuple[Path, list]) -> None:
    facts = {row["name"]: float(row["value"]) for row in table(run[0] / "data" / "meter.csv")}
    assert facts["idle_w"] == pytest.approx(70, rel=0.01)
    assert facts["loaded_idle_w"] == pytest.approx(120, rel=0.01)
    for load in ("light", "memory", "compute"):
        assert facts[f"{load}_step_s"] == pytest.approx(0.1, rel=0.05)
        assert facts[f"{load}_agreement"] == pytest.approx(1.0, abs=0.01)
        assert facts[f"{load}_response_s"] <= 0.25
        assert facts[f"{load}_resolution_mj"] == 1


def test_cells_are_drawn_in_random_order_and_the_reference_lies_between(run: tuple[Path, list]) -> None:
    visits = [row["cell"] for row in table(run[0] / "data" / "visits.csv")]
    grid = [name for name in visits if name.startswith("grid/")]
    assert visits[0] == "reference"
    assert visits.count("reference") >= 4
    assert grid != sorted(grid)


def test_repeats_go_where_a_share_gains_most(run: tuple[Path, list]) -> None:
    """The whole batch and single requests weigh most in a Shapley value."""
    rows = [r for r in table(run[0] / "data" / "coalitions.csv") if r["batch"] == "decode-4"]
    looks = {int(row["mask"]): int(row["visits"]) for row in rows}
    pairs = [looks[mask] for mask in looks if mask.bit_count() == 2]
    assert looks[15] > sum(pairs) / len(pairs)


def test_the_run_says_what_it_was(run: tuple[Path, list]) -> None:
    about = json.loads((run[0] / "data" / "run.json").read_text())
    assert about["licence"] == "CC-BY-4.0"
    assert [part["gpu"] for part in about["slices"]] == ["GPU-a"] * 3
    assert about["models"][0]["kv_bytes_per_token"] == 131_072
    assert "CC-BY-4.0" in (run[0] / "data" / "README.md").read_text()


def test_without_the_binding_the_few_calls_of_its_own_read_the_same(stub: NvmlStub, tmp_path: Path) -> None:
    found = json.loads(stub.python(RUN, str(tmp_path), "ctypes", "30", "0"))
    assert found[-1] == "benchmarks.gpu.ctypes_nvml"
    facts = {row["name"]: float(row["value"]) for row in table(tmp_path / "data" / "meter.csv")}
    assert facts["idle_w"] == pytest.approx(70, rel=0.01)
    assert facts["memory_agreement"] == pytest.approx(1.0, abs=0.01)


def refused(stub: NvmlStub, code: str, *arguments: str) -> str:
    """What a run said before it stopped with a named error."""
    wrapped = "import sys\nfrom schemas.errors import WattledgerError\ntry:\n    exec(sys.argv[1])\n"
    wrapped += "except WattledgerError as error:\n    print(type(error).__name__, error)\n"
    return stub.python(wrapped.replace("sys.argv[1]", repr(code)), *arguments)


def test_a_gpu_without_a_counter_is_named(stub: NvmlStub) -> None:
    stub.write("uuid=GPU-old counter=0 power_w=50")
    try:
        said = refused(stub, "from benchmarks.gpu.nvml import open_gpu; open_gpu().energy_mj()")
    finally:
        stub.write("uuid=GPU-a power_w=70")
    assert said.startswith("MeterError GPU GPU-old")
    assert "no energy counter" in said


def test_among_several_gpus_one_must_be_named(stub: NvmlStub) -> None:
    stub.write("uuid=GPU-a power_w=70", "uuid=GPU-b power_w=70")
    try:
        said = refused(stub, "from benchmarks.gpu.nvml import open_gpu; open_gpu()")
    finally:
        stub.write("uuid=GPU-a power_w=70")
    assert "GPU-a, GPU-b; name one of them with --gpu" in said


def test_a_cell_that_fails_is_noted_and_the_others_go_on(stub: NvmlStub, tmp_path: Path) -> None:
    broken = (
        "def broken(cell):\n    if cell.name == GRID[3].name:\n        raise RuntimeError('out of memory')\n"
    )
    code = RUN.replace("out = Path", f"{broken}    return cost(cell)\nout = Path")
    code = code.replace("world, cost)", "world, broken)")
    found = json.loads(stub.python(code, str(tmp_path), "binding", "110", "0"))
    assert found[:4] == [17, 18, 22, 22]
    noted = [json.loads(line) for line in (tmp_path / "journal" / "journal.jsonl").read_text().splitlines()]
    (failure,) = [line for line in noted if line["kind"] == "failure"]
    assert failure["error"] == "RuntimeError: out of memory"


def test_a_run_does_not_go_on_with_another_card_or_beyond_its_time(
    stub: NvmlStub, run: tuple[Path, list], tmp_path: Path
) -> None:
    spent = refused(
        stub, RUN.replace("total_s=sum(slices)", "total_s=100.0"), str(run[0]), "binding", "25", "0"
    )
    assert "the run has used its 100 s" in spent
    stub.write("uuid=GPU-b power_w=70")
    try:
        other = refused(stub, RUN.replace("sum(slices)", "900.0"), str(run[0]), "binding", "25", "0")
    finally:
        stub.write("uuid=GPU-a power_w=70")
    assert "begun on GPU GPU-a, here is GPU-b" in other
