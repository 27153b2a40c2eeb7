"""A row that cannot be true is refused with file, line, column and remedy, whatever the format."""

from pathlib import Path

import pytest

from producers.simulation.traces import load_azure, load_csv, load_mooncake
from schemas.errors import DataError

CSV = "arrival_s,prompt_tokens,output_tokens,tenant\n0,5,3,a\n"
AZURE = "TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:17:03.97,4,10\n"


def refused(path: Path, text: str, load, line: int, column: str) -> None:
    path.write_text(text, encoding="utf-8")
    with pytest.raises(
        DataError, match=rf"{path.name}:{line}: column {column} .*(Correct|correct|sort|name)"
    ):
        load(path)


@pytest.mark.parametrize(
    ("row", "column"),
    [
        ("nan,5,3,a", "arrival_s"),
        ("inf,5,3,a", "arrival_s"),
        ("1e30,5,3,a", "arrival_s"),
        ("-1,5,3,a", "arrival_s"),
        ("1,5,99999999999999,a", "output_tokens"),
        ("1,1e3,3,a", "prompt_tokens"),
        ("1,5,3,", "tenant"),
    ],
)
def test_a_csv_of_ones_own(tmp_path, row, column):
    refused(tmp_path / "own.csv", CSV + row + "\n", load_csv, 3, column)


@pytest.mark.parametrize(
    ("row", "column"),
    [
        ("2023-11-16 18:17:02.97,4,10", "TIMESTAMP"),
        ("yesterday,4,10", "TIMESTAMP"),
        ("2063-11-16 18:17:04,4,10", "TIMESTAMP"),
        ("2023-11-16 18:17:04,-4,10", "ContextTokens"),
        ("2023-11-16 18:17:04,4,99999999999", "GeneratedTokens"),
    ],
)
def test_an_azure_trace(tmp_path, row, column):
    refused(tmp_path / "a.csv", AZURE + row + "\n", lambda p: load_azure(p, ["t"], seed=1), 3, column)


@pytest.mark.parametrize(
    ("record", "column"),
    [
        ('{"timestamp": 0, "input_length": 1.5, "output_length": 6, "hash_ids": []}', "input_length"),
        ('{"timestamp": 0, "input_length": true, "output_length": 6, "hash_ids": []}', "input_length"),
        ('{"timestamp": 0, "input_length": 1, "output_length": 0, "hash_ids": []}', "output_length"),
        ('{"timestamp": NaN, "input_length": 1, "output_length": 6, "hash_ids": []}', "timestamp"),
    ],
)
def test_a_mooncake_trace(tmp_path, record, column):
    refused(tmp_path / "m.jsonl", record + "\n", lambda p: load_mooncake(p, ["t"], seed=1), 1, column)
