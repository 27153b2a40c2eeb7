"""Reports say what the ledger says, in every format, and a statement never changes."""

import csv
import io
import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING

import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from schemas.errors import DataError
from streams.answers.fleet_totals import fleet_totals
from streams.answers.focus import COLUMNS, METHOD_ID, focus_rows
from streams.answers.periods import Period
from streams.answers.registry import add_tenant
from streams.answers.report import Report, make_report
from streams.answers.report_files import as_csv, as_json, as_parquet, neutralised
from streams.answers.report_page import as_html
from streams.answers.report_rollups import roll_up_reports
from streams.answers.statements import find_statement, issue_statement
from streams.answers.summary import tenant_rows
from streams.ledger.sink import ClickHouseSink
from tests.answers.conftest import Ledger
from tests.ledger_rows import ORIGIN_NS, Request, Window, write
from wattledger.commands.report import command

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

TENANT = "yarrow-health"
ORIGIN = datetime.fromtimestamp(ORIGIN_NS / 1e9, UTC)


@pytest.fixture(scope="module")
def report(ledger: Ledger) -> Report:
    return make_report(ledger.client, TENANT, ledger.period, datetime.now(UTC))


def test_a_report_agrees_with_the_table_of_tenants(ledger: Ledger, report: Report) -> None:
    row = next(
        row
        for row in tenant_rows(ledger.client, ledger.period.start, ledger.period.end)
        if row.tenant == TENANT
    )
    assert report.energy_uj == row.energy_uj
    assert report.cold_start_uj == row.cold_start_uj
    assert sum(line.requests for line in report.models) == row.requests
    assert sum(line.emitted_tokens for line in report.models) == row.emitted_tokens
    assert sum(line.token_price_uj for line in report.models) == pytest.approx(row.token_price_uj)


def test_its_hours_and_models_sum_to_the_same(report: Report) -> None:
    assert sum(line.energy_uj for line in report.hours) == report.energy_uj
    assert report.percentiles_uj["p50"] <= report.percentiles_uj["p99"] <= report.percentiles_uj["max"]


def test_using_less_saves_something_and_never_more_than_was_drawn(report: Report) -> None:
    for line in report.models:
        assert 0 < line.saved_by_halved_prompts_uj < line.energy_uj
        assert 0 < line.saved_by_shorter_answers_uj <= 0.2 * line.energy_uj


def test_what_is_settled_is_said_and_what_is_not_is_marked(ledger: Ledger, report: Report) -> None:
    assert report.preliminary == ""
    longer = Period(ledger.period.start, ledger.period.end + timedelta(hours=1))
    assert "sealed until" in make_report(ledger.client, TENANT, longer, datetime.now(UTC)).preliminary
    assert "Preliminary" in as_html(make_report(ledger.client, TENANT, longer, datetime.now(UTC))).decode()


def test_an_earlier_cut_off_sees_nothing_stored_later(ledger: Ledger) -> None:
    before = ledger.period.start - timedelta(days=365)
    assert make_report(ledger.client, TENANT, ledger.period, before).models == ()


@pytest.mark.parametrize("name", ["nobody", "", "x' OR 1=1 --", "yarrow-health'"])
def test_an_unknown_tenant_is_refused_by_name(ledger: Ledger, name: str) -> None:
    with pytest.raises(DataError, match="no tenant"):
        make_report(ledger.client, name, ledger.period, datetime.now(UTC))


def test_csv_and_parquet_and_json_carry_the_same_figures(report: Report) -> None:
    lines = list(csv.DictReader(io.StringIO(as_csv(report).decode())))
    table = pq.read_table(io.BytesIO(as_parquet(report))).to_pylist()
    document = json.loads(as_json(report))
    assert sum(int(line["energy_uj"]) for line in lines) == report.energy_uj
    assert sum(line["energy_uj"] for line in table) == report.energy_uj
    assert sum(line["energy_uj"] for line in document["models"]) == report.energy_uj
    assert as_json(report) == as_json(report)


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\tx", "\r=1"])
def test_a_cell_is_never_a_formula(text: str) -> None:
    assert neutralised(text) == f"'{text}"
    assert neutralised(-5) == -5
    assert neutralised("acme") == "acme"


def test_focus_rows_fill_the_columns_and_keep_the_rules(ledger: Ledger, report: Report) -> None:
    as_of = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S.000")
    fleet_uj = {
        model: figures[0] for model, figures in fleet_totals(ledger.client, ledger.period, as_of).items()
    }
    for row in focus_rows(report, fleet_uj):
        assert tuple(row) == COLUMNS
        assert row["ChargeClass"] is None
        assert row["ChargeCategory"] == "Usage"
        assert row["AllocatedMethodId"] == METHOD_ID
        assert row["AllocatedResourceId"]
        assert (
            row["BillingPeriodStart"]
            <= row["ChargePeriodStart"]
            < row["ChargePeriodEnd"]
            <= row["BillingPeriodEnd"]
        )
        assert row["ContractedCost"] == pytest.approx(row["ContractedUnitPrice"] * row["PricingQuantity"])
        element = json.loads(row["AllocatedMethodDetails"])["Elements"][0]
        assert element["UsageQuantity"] == row["PricingQuantity"]
        assert all(
            key.startswith("x_") or key in {"AllocatedRatio", "UsageUnit", "UsageQuantity"} for key in element
        )
    money = {name for name in COLUMNS if name.endswith(("Cost", "UnitPrice"))}
    assert all(isinstance(row[name], float) for row in focus_rows(report, fleet_uj) for name in money)


def test_allocated_ratios_of_an_origin_charge_sum_to_one_over_all_tenants(ledger: Ledger) -> None:
    as_of = datetime.now(UTC)
    totals = fleet_totals(ledger.client, ledger.period, as_of.strftime("%Y-%m-%d %H:%M:%S.000"))
    fleet_uj = {model: figures[0] for model, figures in totals.items()}
    ratios: dict[str, float] = {}
    for row in tenant_rows(ledger.client, ledger.period.start, ledger.period.end):
        report = make_report(ledger.client, row.tenant, ledger.period, as_of)
        for line in focus_rows(report, fleet_uj):
            ratio = json.loads(line["AllocatedMethodDetails"])["Elements"][0]["AllocatedRatio"]
            ratios[line["ResourceId"]] = ratios.get(line["ResourceId"], 0.0) + ratio
    assert set(ratios) == {f"model/{model}" for model in fleet_uj}
    assert all(total == pytest.approx(1.0, abs=1e-12) for total in ratios.values())


def window(number: int, energy_uj: int, *, revision: int = 0, tenant: str = "acme") -> Window:
    return Window(number, requests=(Request(number, energy_uj, tenant=tenant),), revision=revision)


def in_windows(first: int, last: int) -> Period:
    return Period(ORIGIN + timedelta(seconds=5 * first), ORIGIN + timedelta(seconds=5 * last))


def later() -> datetime:
    return datetime.now(UTC) + timedelta(minutes=11)


def test_a_tariff_prices_energy_to_a_millionth(database: "Client") -> None:
    add_tenant(database, "acme", price_per_kwh=0.25, currency="EUR")
    write(ClickHouseSink(database), window(0, 3_600_000_000_000))
    report = make_report(database, "acme", in_windows(0, 1), later())
    assert report.cost(report.energy_uj) == Decimal("0.250000")
    assert "0.250000" in as_html(report).decode()


def test_a_statement_gives_the_same_bytes_after_corrections_which_the_next_one_says(
    database: "Client",
) -> None:
    sink = ClickHouseSink(database)
    write(sink, window(0, 1000), window(1, 2000))
    first = issue_statement(database, "acme", in_windows(0, 1), later())
    write(sink, window(0, 1400, revision=1))
    assert find_statement(database, first.number) == first
    second = issue_statement(database, "acme", in_windows(1, 2), later())
    said = json.loads(second.data)
    assert said["corrections"] == [{"statement": first.number, "was_uj": 1000, "is_uj": 1400}]
    write(sink, window(2, 10))
    third = issue_statement(database, "acme", in_windows(2, 3), later())
    assert json.loads(third.data)["corrections"] == []
    assert find_statement(database, first.number) == first


def test_a_period_is_stated_once_and_only_when_settled(database: "Client") -> None:
    write(ClickHouseSink(database), window(0, 1000))
    with pytest.raises(DataError, match="no statement yet"):
        issue_statement(database, "acme", in_windows(0, 2), later())
    issue_statement(database, "acme", in_windows(0, 1), later())
    with pytest.raises(DataError, match="covers"):
        issue_statement(database, "acme", in_windows(0, 1), later())


def test_rows_of_the_last_ten_minutes_are_not_yet_stated(database: "Client") -> None:
    write(ClickHouseSink(database), window(0, 1000))
    with pytest.raises(DataError, match=r"no statement yet|no tenant"):
        issue_statement(database, "acme", in_windows(0, 1), datetime.now(UTC))


def test_a_report_over_rolled_up_hours_is_the_same(database: "Client") -> None:
    first = (-ORIGIN_NS % 3_600_000_000_000) // 5_000_000_000
    numbers = [first, first + 5, first + 719, first + 720, first + 721]
    write(ClickHouseSink(database), *(window(n, 100 + n, tenant="ab"[n % 2]) for n in numbers))
    period = in_windows(first - 3, first + 722)
    before = fleet_totals(database, period, "2299-01-01 00:00:00.000")
    rolled = roll_up_reports(database, datetime.now(UTC) + timedelta(milliseconds=20))
    assert rolled
    assert fleet_totals(database, period, "2299-01-01 00:00:00.000") == before


def test_the_command_writes_every_text_format_and_names_what_is_wrong(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WATTLEDGER_CLICKHOUSE", ledger.dsn)
    for output_format, begins in (
        ("json", "{"),
        ("csv", "tenant,"),
        ("focus", "AllocatedMethodDetails,"),
        ("html", "<!doctype"),
    ):
        done = CliRunner().invoke(command, ["--tenant", TENANT, "--format", output_format])
        assert done.exit_code == 0, done.output
        assert done.output.startswith(begins)
    wrong = CliRunner().invoke(command, ["--tenant", TENANT, "--from", "2026-10-01", "--to", "2026-09-01"])
    assert isinstance(wrong.exception, DataError)
    assert "is not before" in str(wrong.exception)
