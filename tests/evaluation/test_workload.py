"""Requests come from traces of four formats, told apart by their first line, or are drawn by a seed."""

import numpy as np
import pytest

from evaluation.workload import SAMPLES, Workload, load_workload, trace_format
from producers.simulation.presets import sample_path
from schemas.errors import ConfigurationError, DataError

CSV = "arrival_s,prompt_tokens,output_tokens,tenant\n0,5,3,a\n2,7,3,b\n4,9,3,a\n"


@pytest.mark.parametrize("name", sorted(SAMPLES))
def test_the_shipped_samples_load(name):
    requests = load_workload(Workload(name, requests=50), seed=1)
    assert len(requests) == 50
    assert requests.arrival_us[0] == 0


@pytest.mark.parametrize(
    ("text", "name"),
    [
        (CSV, "csv"),
        ("TIMESTAMP,ContextTokens,GeneratedTokens\n", "azure"),
        ('{"timestamp": 0}\n', "mooncake"),
        ("TIMESTAMP,ContextTokens\n", "azure"),
    ],
)
def test_the_format_is_told_from_the_first_line(tmp_path, text, name):
    path = tmp_path / "trace"
    path.write_text(text, encoding="utf-8")
    assert trace_format(path) == name


def test_a_file_of_no_known_format_is_answered_with_the_remedy(tmp_path):
    path = tmp_path / "trace"
    path.write_text("hello\n", encoding="utf-8")
    with pytest.raises(
        ConfigurationError, match=r"trace:1: cannot tell the format from 'hello'; name it with"
    ):
        trace_format(path)


def test_a_missing_trace_is_answered_with_the_samples():
    with pytest.raises(DataError, match=r"nowhere\.csv: no such trace; give a file, or one of sample:azure"):
        load_workload(Workload("nowhere.csv"), seed=1)


def test_pace_shortens_the_time_between_arrivals_and_changes_nothing_else(tmp_path):
    path = tmp_path / "own.csv"
    path.write_text(CSV, encoding="utf-8")
    slow, fast = (load_workload(Workload(str(path), pace=pace), seed=1) for pace in (1.0, 4.0))
    np.testing.assert_array_equal(fast.arrival_us * 4, slow.arrival_us)
    np.testing.assert_array_equal(fast.prompt_tokens, slow.prompt_tokens)
    assert fast.tenants == slow.tenants == ("a", "b")


def test_a_drawn_trace_is_the_same_for_the_same_seed():
    one, same, other = (load_workload(Workload("synthetic", requests=40), seed=s) for s in (1, 1, 2))
    np.testing.assert_array_equal(one.arrival_us, same.arrival_us)
    np.testing.assert_array_equal(one.prompt_tokens, same.prompt_tokens)
    assert not np.array_equal(one.prompt_tokens, other.prompt_tokens)


@pytest.mark.parametrize("prefix", ["client", "servegen"])
def test_servegen_files_are_found_under_either_name(tmp_path, prefix):
    for part in ("rates", "tokens"):
        text = sample_path(f"servegen_{part}.csv").read_text(encoding="utf-8")
        (tmp_path / f"{prefix}_{part}.csv").write_text(text, encoding="utf-8")
    requests = load_workload(Workload(str(tmp_path), requests=30), seed=1)
    same = load_workload(Workload("sample:servegen", requests=30), seed=1)
    np.testing.assert_array_equal(requests.prompt_tokens, same.prompt_tokens)


def test_a_directory_without_a_trace_is_answered_with_the_names_of_the_files(tmp_path):
    with pytest.raises(DataError, match=r"no client_rates\.csv with client_tokens\.csv; give the directory"):
        load_workload(Workload(str(tmp_path)), seed=1)
