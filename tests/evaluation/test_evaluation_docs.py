"""docs/evaluation.md shows tables that a command writes, and options that exist."""

import re
from pathlib import Path

import click
import pytest

from benchmarks.evaluate_docs import RUNS, TABLES, replaced
from evaluation.methods import ALL
from wattledger.commands.evaluate import command

TEXT = (Path(__file__).parents[2] / "docs" / "evaluation.md").read_text(encoding="utf-8")


def test_every_table_is_one_that_the_command_writes_and_none_is_empty():
    found = re.findall(r"<!-- table: (.*?) -->\n(.*?)<!-- end -->", TEXT, flags=re.DOTALL)
    known = {f"{run} {table}" for run in RUNS for table in TABLES}
    assert {name for name, _ in found} <= known
    assert {table for name, _ in found for table in TABLES if name.endswith(table)} == set(TABLES)
    assert all(body.count("\n") > 2 for _, body in found)


def test_a_table_is_replaced_and_nothing_else():
    text = "a\n<!-- table: x y -->\nold\n<!-- end -->\nb\n<!-- table: z -->\nkept\n<!-- end -->\n"
    assert replaced(text, "x y", "new") == text.replace("old", "new")
    assert replaced(text, "absent", "new") == text


def test_every_option_in_the_text_exists():
    known = {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)}
    assert set(re.findall(r"(?<=[ `])--[a-z-]+", TEXT)) <= known


@pytest.mark.parametrize("name", ALL)
def test_every_method_is_described(name):
    assert f"`{name.partition(':')[0]}" in TEXT


def test_the_help_shows_an_example():
    with click.Context(command) as context:
        assert "wattledger evaluate --quick" in command.get_help(context)
