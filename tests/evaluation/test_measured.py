"""Judging against measured sub-batches, on synthetic data whose truth is known: nothing here was measured."""

import json
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from evaluation.measured import evaluate_measured
from evaluation.measured_data import read_measured
from evaluation.measured_fit import fit_grid
from evaluation.measured_games import draws, measured_game, shapley_matrix, table_game
from evaluation.measured_methods import our_half_widths
from evaluation.measured_report import write_measured
from schemas.errors import ConfigurationError, DataError
from streams.attribution import IterationRows, attribute_trace, shapley
from tests.evaluation.measured_synthetic import BATCHES, MIXTURE, MODEL, TRUTH, change, energy, write_data
from wattledger.commands.evaluate import command


@pytest.fixture(scope="module")
def clean(tmp_path_factory):
    """No noise, nothing that the model lacks: every error is the estimators' own."""
    return evaluate_measured(read_measured(write_data(tmp_path_factory.mktemp("clean"))), seed=1)


@pytest.fixture(scope="module")
def noisy(tmp_path_factory):
    directory = write_data(tmp_path_factory.mktemp("noisy"), noise=0.005, half_width=0.0082)
    return evaluate_measured(read_measured(directory), seed=1)


def overall(found, method):
    return next(r for r in found.methods if r.method == method and r.batch == "all")


@given(st.lists(st.floats(0.1, 9.0), min_size=7, max_size=7))
def test_the_matrix_gives_the_mean_marginal_over_all_orders(values):
    v = np.array([0.0, *values])
    expected = np.zeros(3)
    for order in permutations(range(3)):
        mask = 0
        for player in order:
            expected[player] += (v[mask | 1 << player] - v[mask]) / 6
            mask |= 1 << player
    assert shapley_matrix(3) @ v == pytest.approx(expected)


def test_the_matrix_agrees_with_the_librarys_enumeration_on_eight_players():
    v = np.concatenate([[0.0], np.random.default_rng(2).random(255)])
    assert shapley_matrix(8) @ v == pytest.approx(shapley.exact(lambda members: table_game(v, members), 8))


def test_a_games_half_widths_are_those_of_its_draws(tmp_path):
    data = read_measured(write_data(tmp_path, half_width=0.02))
    game = measured_game(data.batches[1])
    values, _ = draws(game, 20_000, np.random.default_rng(3))
    inside = np.mean(np.abs(values - game.shapley_j) <= game.half_widths_j, axis=0)
    assert inside == pytest.approx(np.full(5, 0.9), abs=0.01)


def test_the_measured_values_are_the_closed_form_of_the_truth(clean):
    for batch in clean.batches:
        model, rows = BATCHES[batch.batch]
        assert batch.energy_j == pytest.approx(energy(model, rows))
        assert sum(batch.shapley_j) == pytest.approx(batch.energy_j)


def test_a_model_with_the_right_terms_is_found_and_our_shares_are_exact(clean):
    assert all(model.held_out_median_percent < 0.1 for model in clean.models)
    assert overall(clean, "shapley").mean_percent < 0.1
    assert all(target.met for target in clean.targets)


def test_the_published_methods_error_is_its_estimators_not_the_models(clean):
    """Distance of 200 permutations to its own game's exact values, within a fair factor of theory."""
    found = overall(clean, "truncated")
    assert found.model_percent < 0.1
    assert found.model_share < 0.1
    assert 2.0 < found.estimator_percent < 15.0
    assert overall(clean, "shapley").estimator_percent < 0.1


def test_other_methods_are_what_their_names_say(clean):
    model, rows = BATCHES["mixed-5"]
    batch = next(b for b in clean.batches if b.batch == "mixed-5")
    truth = np.array(batch.shapley_j) / batch.energy_j
    expected = {
        "request": np.full(5, 0.2),
        "time": np.full(5, 0.2),
        "token": np.array([1, 1, 1, 40, 200]) / 243,
        "leave_one_out": np.array(
            [1 - energy(model, rows[:i] + rows[i + 1 :]) / energy(model, rows) for i in range(5)]
        ),
    }
    for method, shares in expected.items():
        result = next(r for r in clean.methods if r.method == method and r.batch == "mixed-5")
        assert result.mean_percent == pytest.approx(100 * np.mean(np.abs(shares - truth) / truth))
    leave_one_out = next(r for r in clean.methods if r.method == "leave_one_out" and r.batch == "mixed-5")
    assert leave_one_out.unassigned_percent == pytest.approx(100 * (1 - expected["leave_one_out"].sum()))
    assert overall(clean, "token").model_percent is None


def test_noise_widens_the_distance_and_the_floor_says_how_much_is_noise(clean, noisy):
    ours = overall(noisy, "shapley")
    assert ours.low_percent < ours.mean_percent < ours.high_percent
    assert overall(clean, "shapley").high_percent < ours.high_percent
    floor = np.mean([b.floor_percent for b in noisy.batches])
    assert 0.2 * floor < ours.mean_percent < 3 * floor


def test_what_the_model_lacks_is_the_models_part(tmp_path):
    found = evaluate_measured(read_measured(write_data(tmp_path, twist=0.03)), seed=1)
    ours = overall(found, "shapley")
    assert ours.model_percent > 1.0
    assert ours.model_share > 0.99
    assert max(b.model_worst_percent for b in found.batches) > 1.0


def test_nine_intervals_in_ten_hold_the_measured_value_over_many_data_sets(tmp_path):
    covered = []
    for seed in range(3):
        data = read_measured(write_data(tmp_path / str(seed), noise=0.01, half_width=0.01645, seed=seed))
        fits = {
            name: fit_grid(model, [cell for cell in data.cells if cell.model == name], data.gpu_model)
            for name, model in data.models.items()
        }
        for batch in data.batches:
            fit = fits[batch.model]
            game = measured_game(batch)
            split = attribute_trace(
                IterationRows(batch.new_tokens, batch.context_tokens).trace(), fit.energy, seed=1
            )
            gap = split.request_j / split.iteration_j[0] - game.shapley_j / game.total_j
            both = np.hypot(our_half_widths(batch, fit), game.half_widths_j / game.total_j)
            covered += (np.abs(gap) <= both).tolist()
    assert 0.8 <= np.mean(covered) <= 1.0


def test_the_same_data_and_seed_give_the_same_figures(tmp_path, noisy):
    directory = write_data(tmp_path, noise=0.005, half_width=0.0082)
    assert evaluate_measured(read_measured(directory), seed=1) == noisy


def test_the_drift_is_that_of_the_reference(clean):
    assert clean.drift_percent == pytest.approx(1.0)


def test_the_mixtures_own_fraction_reaches_its_fit(clean):
    mixture = next(m for m in clean.models if m.model == MIXTURE)
    assert "experts" in mixture.terms
    assert "experts" not in next(m for m in clean.models if m.model == MODEL).terms
    assert TRUTH[MIXTURE].expert_fraction == 8 / 64


class TestBadInput:
    """What cannot be trusted is named."""

    @pytest.fixture
    def data(self, tmp_path) -> Path:
        return write_data(tmp_path)

    def test_nothing_measured_says_what_to_run(self, tmp_path):
        with pytest.raises(ConfigurationError, match=r"no measured data set.*benchmarks\.gpu slice"):
            read_measured(tmp_path / "none")

    def test_a_batch_without_all_of_its_sub_batches(self, data):
        change(
            data / "coalitions.csv", drop=lambda row: row["batch"] == "mixed-5" and row["mask"] in ("5", "9")
        )
        with pytest.raises(DataError, match=r"mixed-5 lacks 2 of 31 sub-batches, such as mask 5"):
            read_measured(data)

    def test_a_sub_batch_that_is_there_twice(self, data):
        text = (data / "coalitions.csv").read_text().splitlines()
        (data / "coalitions.csv").write_text("\n".join([*text, text[1]]) + "\n")
        with pytest.raises(DataError, match=r"sub-batch 1 of decode-4 is there twice"):
            read_measured(data)

    def test_a_sub_batch_of_nobody(self, data):
        change(data / "requests.csv", drop=lambda row: row["batch"] == "moe-3")
        with pytest.raises(
            DataError, match=r"coalitions.csv:\d+: sub-batch 1 of 'moe-3' is not in requests.csv"
        ):
            read_measured(data)

    def test_no_grid_for_a_measured_model(self, data):
        change(data / "grid.csv", drop=lambda row: row["model"] == MIXTURE)
        with pytest.raises(DataError, match=f"no cell of {MIXTURE}"):
            evaluate_measured(read_measured(data), seed=1)

    def test_a_grid_too_small_to_fit(self, data):
        keep = f"grid/{MIXTURE}/8/128/0"
        change(data / "grid.csv", drop=lambda row: row["model"] == MIXTURE and row["cell"] != keep)
        with pytest.raises(DataError, match=r"cells of synthetic-moe do not determine an energy model"):
            evaluate_measured(read_measured(data), seed=1)

    def test_a_column_in_another_unit_by_name(self, data):
        change(data / "grid.csv", rename={"energy_j": "energy_mj"})
        with pytest.raises(DataError, match=r"grid.csv:1: no column energy_j among .*energy_mj"):
            read_measured(data)

    def test_a_column_in_another_unit_by_value(self, data):
        def in_millijoules(row):
            row["energy_j"] = 1000 * float(row["energy_j"])

        change(data / "coalitions.csv", edit=in_millijoules)
        with pytest.raises(DataError, match=r"coalitions.csv:2: energy_j = .* in another unit"):
            read_measured(data)

    def test_a_run_in_another_unit_or_format(self, data):
        run = json.loads((data / "run.json").read_text())
        (data / "run.json").write_text(json.dumps({**run, "unit_of_energy": "mJ"}))
        with pytest.raises(DataError, match=r"unit_of_energy is 'mJ', 'J' is needed"):
            read_measured(data)

    @pytest.mark.parametrize("value", ["nan", "inf", "", "about 3"])
    def test_what_is_no_number(self, data, value):
        change(data / "grid.csv", edit=lambda row: row.update(half_width_j=value))
        with pytest.raises(DataError, match=r"grid.csv:2: half_width_j = .*finite number"):
            read_measured(data)

    def test_an_iteration_for_nothing(self, data):
        change(data / "coalitions.csv", edit=lambda row: row.update(energy_j=0))
        with pytest.raises(DataError, match="costs more than 0 J"):
            read_measured(data)

    def test_a_line_that_is_cut_short(self, data):
        text = (data / "grid.csv").read_text()
        (data / "grid.csv").write_text(text[: len(text) - 30])
        with pytest.raises(DataError, match="cut short"):
            read_measured(data)


class TestCommand:
    """`wattledger evaluate --measured`."""

    def test_tables_page_and_files(self, tmp_path):
        data, out = write_data(tmp_path / "data"), tmp_path / "out"
        done = CliRunner().invoke(
            command, ["--measured", str(data), "--out", str(out)], catch_exceptions=False
        )
        assert done.exit_code == 0
        for words in (
            "Distance to the measured Shapley value",
            "truncated Shapley, K = 200",
            "held out",
            "Targets",
        ):
            assert words in done.output
        page = (out / "measured.html").read_text()
        assert page.count("<svg") == 2
        assert {path.name for path in out.iterdir()} >= {"measured.json", "measured_methods.csv"}

    def test_json_is_the_whole_result(self, tmp_path):
        data, out = write_data(tmp_path / "data"), tmp_path / "out"
        done = CliRunner().invoke(
            command, ["--measured", str(data), "--out", str(out), "--json"], catch_exceptions=False
        )
        found = json.loads(done.output)
        assert found["measured"] == json.loads((out / "measured.json").read_text())
        assert found["measured"]["coverage"]["requests"] == 12

    def test_absent_data_say_what_to_run(self, tmp_path):
        done = CliRunner().invoke(command, ["--measured", str(tmp_path / "none")])
        assert isinstance(done.exception, ConfigurationError)


def test_written_files_are_those_of_the_tables(tmp_path, noisy):
    paths = write_measured(noisy, tmp_path)
    assert all(path.is_file() for path in paths)
