"""The measurement's command line, as far as it goes without a GPU."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from benchmarks.gpu.__main__ import identity, main
from benchmarks.gpu.cells import BATCHES, coalition_cells
from benchmarks.gpu.journal import open_journal
from benchmarks.gpu.settings import Settings
from evaluation.measured_data import read_measured
from schemas.errors import ConfigurationError, DataError


def run(*arguments: str):
    return CliRunner().invoke(main, list(arguments), catch_exceptions=False)


@pytest.mark.parametrize("command", ["", "slice", "check", "export", "plan"])
def test_help_explains_itself(command):
    done = run(*command.split(), "--help")
    assert done.exit_code == 0
    assert len(done.output.splitlines()) > 5


def test_the_plan_names_models_batches_and_time():
    said = run("plan").output
    assert "dense-8b: 15.0 GB" in said
    assert all(f"batch {batch.name}" in said for batch in BATCHES)
    assert "24 minutes in slices of 8" in said


def test_without_a_journal_there_is_nothing_to_export(tmp_path):
    with pytest.raises(ConfigurationError, match="there is no journal"):
        run("export", "--journal", str(tmp_path / "none"), "--out", str(tmp_path / "data"))
    assert not (tmp_path / "data").exists()


def visited(journal: Path, left_out: int) -> None:
    """A journal in which every sub-batch but some cost what its tokens say."""
    book = open_journal(journal, identity("cuda", Settings()))
    book.add("slice", {"gpu": "GPU-a", "gpu_model": "Scripted"})
    cells = [cell for batch in BATCHES[:-1] for cell in coalition_cells(batch)]
    lines = []
    for cell in cells[left_out:]:
        joules = 3.0 + 0.1 * cell.new_tokens + 1e-5 * cell.kv_tokens
        visit = {
            "kind": "visit", "cell": cell.name, "slice": 1, "at_s": 0.0, "settle_s": 0.2, "energy_j": joules,
            "half_width_j": 0.01, "period_s": joules / 500, "power_w": 500.0, "steps": 5, "window_s": 0.5,
            "iterations": 40, "temperature_c": None, "sm_clock_mhz": None, "throttle_reasons": None,
        }  # fmt: skip
        lines.append(json.dumps(visit) + "\n")
    with book.path.open("a") as file:
        file.writelines(lines)


def test_an_exported_data_set_is_what_the_evaluation_reads(tmp_path):
    visited(tmp_path / "journal", left_out=0)
    done = run("export", "--journal", str(tmp_path / "journal"), "--out", str(tmp_path / "data"))
    assert "699 of 762 sub-batches" in done.output
    data = read_measured(tmp_path / "data")
    # What was not begun is not named; what was begun and is incomplete is refused, below.
    assert [len(batch.new_tokens) for batch in data.batches] == [8, 8, 6, 6, 6]
    assert data.batches[0].energy_j[-1] == pytest.approx(3.0 + 0.8 + 1e-5 * 41_708)
    assert json.loads((tmp_path / "data" / "run.json").read_text())["settings"]["target"] == 0.02


def test_an_unfinished_run_is_exported_and_refused_by_the_evaluation(tmp_path):
    visited(tmp_path / "journal", left_out=3)
    done = run("export", "--journal", str(tmp_path / "journal"), "--out", str(tmp_path / "data"))
    assert "696 of 762 sub-batches" in done.output
    with pytest.raises(DataError, match="decode-8 lacks 3 of 255 sub-batches, such as mask 1"):
        read_measured(tmp_path / "data")
