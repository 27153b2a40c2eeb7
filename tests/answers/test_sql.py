"""Questions in SQL: the cookbook runs, views explain themselves, and nothing can be changed by asking."""

import json
import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from schemas.errors import DataError
from streams.answers.query import ask, single_reading_statement
from tests.answers.conftest import Ledger
from wattledger.commands.sql import command

COOKBOOK = (Path(__file__).parents[2] / "docs" / "sql.md").read_text(encoding="utf-8")
QUESTIONS = re.findall(r"^### (.+?)\n.*?```sql\n(.*?)```", COOKBOOK, re.DOTALL | re.MULTILINE)
MAY_BE_EMPTY = {"How much carbon, by tenant and basis?", "What was refused, and why?"}
VIEWS = (
    "receipts", "tenant_usage", "engine_efficiency", "books", "idle_and_cold", "what_token_billing_gets_wrong",
    "batch_intensity", "intensity_in_force",
)  # fmt: skip


def test_the_cookbook_has_at_least_twenty_questions() -> None:
    assert len(QUESTIONS) >= 20
    assert len(QUESTIONS) == COOKBOOK.count("```sql")


@pytest.mark.parametrize(("question", "query"), QUESTIONS, ids=[question for question, _ in QUESTIONS])
def test_every_question_of_the_cookbook_has_an_answer(ledger: Ledger, question: str, query: str) -> None:
    rows = [json.loads(line) for line in b"".join(ask(ledger.client, query, "JSONEachRow")).splitlines()]
    assert rows or question in MAY_BE_EMPTY


@pytest.mark.parametrize("view", VIEWS)
def test_every_column_of_a_view_says_what_it_is(ledger: Ledger, view: str) -> None:
    columns = ledger.client.query(
        "SELECT name, comment FROM system.columns WHERE database = currentDatabase() AND table = {view:String}",
        parameters={"view": view},
    ).result_rows
    assert columns
    assert [name for name, comment in columns if not comment] == []


@pytest.mark.parametrize(
    ("view", "column"),
    [
        ("receipts", "energy_uj"),
        ("tenant_usage", "energy_uj"),
        ("what_token_billing_gets_wrong", "energy_uj"),
    ],
)
def test_views_sum_to_what_was_booked(ledger: Ledger, view: str, column: str) -> None:
    booked_uj = sum(batch.account_uj("request") for batch in ledger.filled.batches)
    assert ledger.client.query(f"SELECT sum({column}) FROM {view}").result_rows == [(booked_uj,)]


def test_what_requests_received_is_what_left_the_cold_start_account(ledger: Ledger) -> None:
    totals = ledger.client.query(
        "SELECT (SELECT sum(cold_start_uj) FROM receipts), (SELECT sum(transferred_uj) FROM tenant_usage), "
        "(SELECT sum(moved_uj) FROM idle_and_cold), (SELECT sum(claimed_uj) FROM cold_start_balance)"
    ).result_rows[0]
    assert totals[0] > 0
    assert len(set(totals)) == 1


@pytest.mark.parametrize(
    "sql",
    [
        "DROP TABLE ledger",
        "INSERT INTO ledger (tenant) VALUES ('x')",
        "ALTER TABLE ledger DELETE WHERE 1",
        "SELECT 1; DROP TABLE ledger",
        "/* SELECT */ TRUNCATE TABLE ledger",
        "SET readonly = 0",
        "SELECT 1 SETTINGS readonly = 0",
        "WITH 1 AS x INSERT INTO ledger (ordinal) SELECT x",
        "EXPLAIN SELECT 1; DROP TABLE ledger",
        "",
        "-- nothing",
    ],
)
def test_what_is_no_single_question_is_refused(ledger: Ledger, sql: str) -> None:
    before = ledger.client.command("SELECT count() FROM ledger")
    with pytest.raises(DataError):
        b"".join(ask(ledger.client, sql, "TSV"))
    assert ledger.client.command("SELECT count() FROM ledger") == before


@pytest.mark.parametrize(
    "sql",
    ["SELECT ';' AS a", 'SELECT 1 AS "a;b"', "SELECT 1 -- and; so on", "WITH 1 AS x SELECT x;", "(SELECT 1)"],
)
def test_a_semicolon_in_a_text_or_comment_ends_nothing(sql: str) -> None:
    assert single_reading_statement(sql) == sql.rstrip(";")


def test_a_wrong_query_is_answered_with_the_databases_reason(ledger: Ledger) -> None:
    with pytest.raises(DataError, match="nonsense"):
        b"".join(ask(ledger.client, "SELECT nonsense FROM ledger", "TSV"))


def test_the_command_answers_in_json_and_lists_what_there_is(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WATTLEDGER_CLICKHOUSE", ledger.dsn)
    answer = CliRunner().invoke(command, ["--json", "SELECT 1 + 1 AS two"])
    assert json.loads(answer.output) == {"two": 2}
    piped = CliRunner().invoke(command, ["--format", "csv"], input="SELECT 1 AS a")
    assert piped.output == '"a"\n1\n'
    listed = CliRunner().invoke(command, ["--tables"])
    assert listed.exit_code == 0
    assert re.search(r"^receipts +One row per request", listed.output, re.MULTILINE)
