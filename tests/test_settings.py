"""Settings: variables over the file over defaults, and errors that name what is wrong."""

from pathlib import Path

import pytest

from schemas.errors import ConfigurationError
from wattledger.settings import load


def test_without_anything_the_database_is_embedded_in_the_working_directory(tmp_path: Path) -> None:
    found = load({}, directory=tmp_path)
    assert found.clickhouse == f"chdb://{tmp_path}/.wattledger/clickhouse"
    assert found.kafka is None


def test_a_variable_overrides_the_file_and_the_file_the_default(tmp_path: Path) -> None:
    (tmp_path / "wattledger.toml").write_text('kafka = "file:1"\nclickhouse = "http://file"\n')
    found = load({"WATTLEDGER_KAFKA": "env:2"}, directory=tmp_path)
    assert (found.kafka, found.clickhouse) == ("env:2", "http://file")


def test_an_empty_variable_is_none(tmp_path: Path) -> None:
    assert load({"WATTLEDGER_KAFKA": " "}, directory=tmp_path).kafka is None


@pytest.mark.parametrize(
    ("text", "named"),
    [("kafak = 'x'", "'kafak'"), ("kafka = 9092", "kafka = 9092"), ("kafka = ", "is not TOML")],
)
def test_a_mistake_in_the_file_is_named_with_the_file(tmp_path: Path, text: str, named: str) -> None:
    (tmp_path / "own.toml").write_text(text)
    with pytest.raises(ConfigurationError, match=named) as refused:
        load({"WATTLEDGER_CONFIG": str(tmp_path / "own.toml")}, directory=tmp_path)
    assert "own.toml" in str(refused.value)


def test_a_file_that_was_named_must_exist(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="no such file"):
        load({"WATTLEDGER_CONFIG": str(tmp_path / "absent.toml")}, directory=tmp_path)
    with pytest.raises(ConfigurationError, match="set WATTLEDGER_KAFKA"):
        load({}, directory=tmp_path).require_kafka()
