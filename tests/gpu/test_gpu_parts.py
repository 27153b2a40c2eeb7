"""The parts of the measuring script: counter arithmetic, journal, order of cells, combined visits."""

import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.gpu.cells import BATCHES, Batch, coalition_cells, grid_cells
from benchmarks.gpu.combine import between_visits, combined
from benchmarks.gpu.counter import (
    Steps,
    change_times,
    counter_power,
    resolution_mj,
    response_s,
    student_95,
)
from benchmarks.gpu.journal import open_journal
from benchmarks.gpu.planner import first_round, neighbours, next_cell
from benchmarks.gpu.settings import Settings
from schemas.errors import ConfigurationError


def visit(energy_j: float, half_width_j: float = 0.0) -> dict[str, float]:
    return {
        "energy_j": energy_j, "half_width_j": half_width_j, "period_s": 0.01, "power_w": 100 * energy_j,
        "iterations": 10, "temperature_c": None, "sm_clock_mhz": None, "throttle_reasons": None,
    }  # fmt: skip


@given(
    watts=st.floats(50, 700),
    step_ms=st.integers(20, 150),
    poll_ms=st.integers(1, 7),
    offset_ms=st.integers(0, 100),
)
def test_power_between_changes_is_the_power_that_was_drawn(watts, step_ms, poll_ms, offset_ms):
    times_ms = np.arange(offset_ms, offset_ms + 20 * step_ms, poll_ms)
    counter = [int(watts * (t // step_ms) * step_ms) for t in times_ms]
    power = counter_power(change_times((times_ms / 1000).tolist(), counter))
    # A change is known to half a poll at either end.
    assert power.watts == pytest.approx(watts, rel=1.1 * poll_ms / (step_ms * power.steps) + 1e-3)
    assert power.steps >= 17


def test_a_counter_that_hardly_moves_has_no_power():
    assert counter_power(change_times([0.0, 0.1, 0.2], [5, 5, 6])) is None


def test_the_counters_unit_divides_every_increase():
    assert resolution_mj([1000, 1000, 1120, 1200]) == 40


@pytest.mark.parametrize(("freedom", "value"), [(1, 6.314), (2, 2.920), (3, 2.353), (5, 2.015), (30, 1.697)])
def test_students_t_is_that_of_the_tables(freedom, value):
    assert student_95(freedom) == pytest.approx(value, rel=0.006)


def test_the_response_of_a_trailing_mean_is_nine_tenths_of_its_length():
    times = np.arange(-20, 41) / 10.0
    # Power goes from 100 to 600 W at 0; the sensor shows the mean of the last second.
    shown_w = 100 + 500 * np.clip(times[1:], 0.0, 1.0)
    steps = Steps(times, np.concatenate([[0.0], np.cumsum(0.1 * shown_w)]), np.full(times.size, 0.001))
    assert response_s(steps, 0.0) == pytest.approx(0.9, abs=0.11)


def test_a_torn_last_line_is_dropped_and_the_journal_goes_on(tmp_path: Path):
    journal = open_journal(tmp_path, {"seed": 1})
    journal.add("visit", {"cell": "a"})
    with journal.path.open("a") as file:
        file.write('{"kind": "visit", "ce')
    again = open_journal(tmp_path, {"seed": 1})
    again.add("visit", {"cell": "b"})
    lines = [json.loads(line) for line in journal.path.read_text().splitlines()]
    assert [line.get("cell") for line in lines] == [None, "a", "b"]


def test_another_runs_journal_is_refused(tmp_path: Path):
    open_journal(tmp_path, {"seed": 1, "format": 1})
    with pytest.raises(ConfigurationError, match="another seed"):
        open_journal(tmp_path, {"seed": 2, "format": 1})


def test_the_batches_are_what_is_promised():
    sizes = sorted(len(batch.rows) for batch in BATCHES)
    assert sizes == [6, 6, 6, 6, 8, 8]
    assert sum(len(coalition_cells(batch)) for batch in BATCHES) == 2 * 255 + 4 * 63


def test_the_first_round_visits_every_cell_once_in_an_order_that_the_seed_decides():
    one, same, other = (first_round(grid_cells(), BATCHES, seed) for seed in (1, 1, 2))
    names = [cell.name for cell in one]
    assert len(set(names)) == len(names) == len(grid_cells()) + 762
    assert one == same
    assert one != other


def test_neighbouring_sub_batches_differ_by_one_request_and_the_chunk_changes_once():
    cells = [cell for cell in first_round((), BATCHES, 1) if cell.batch == "mixed-8"]
    assert all(neighbours(one, other) for one, other in pairwise(cells))
    assert sum((one.mask ^ other.mask) >> 7 & 1 for one, other in pairwise(cells)) == 1


def test_a_look_goes_to_what_moves_the_shares_most():
    """Two players: the pair and both singletons weigh a half each, so the noisiest for its stake is taken."""
    cells = list(coalition_cells(Batch("b-2", "", "m", ((1, 1), (1, 2)))))
    visits = {
        cell.name: [visit(energy, 0.02)] * 2 for cell, energy in zip(cells, (10.0, 4.0, 12.0), strict=True)
    }
    visits[cells[0].name] = [visit(10.0, 0.18)] * 2
    assert next_cell(cells, visits, replace(Settings(), prior_scatter=1e-6)) == cells[0]


def test_a_cell_beyond_the_target_is_looked_at_before_all_others():
    batch = Batch("b-2", "", "m", ((1, 1), (1, 2)))
    cells = list(coalition_cells(batch))
    visits = {cell.name: [visit(10.0, 0.01)] for cell in cells}
    visits[cells[1].name] = [visit(10.0, 0.5)]
    assert next_cell(cells, visits, Settings()) == cells[1]


def test_scatter_between_visits_widens_what_one_window_thought():
    rng = np.random.default_rng(3)
    visits = {str(i): [visit(10 * (1 + 0.02 * e), 0.01) for e in rng.standard_normal(2)] for i in range(400)}
    scatter = between_visits(visits, prior=0.5)
    assert scatter == pytest.approx(0.02, rel=0.1)
    figures = [combined(seen, scatter) for seen in visits.values()]
    covered = np.mean([abs(figure.energy_j - 10) <= figure.half_width_j for figure in figures])
    assert 0.85 <= covered <= 0.95
