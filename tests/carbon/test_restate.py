"""`wattledger restate`: the difference by tenant first, then new versions; ledger and old statements stay."""

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

from streams.booking import book
from streams.ledger.rows import batch_table, ledger_table, meter_table
from streams.ledger.sink import ClickHouseSink
from streams.side_inputs import SideInputs
from streams.split import SplitRules
from streams.windows import Group, close_window
from tests.builders import GROUP, SECOND, T0, decode_frame, descriptor, energy_frame
from tests.rig.holding import hold
from wattledger.__main__ import cli
from wattledger.factors import store_shipped

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

PERIOD = ["--from", "2023-11-14T22:00Z", "--to", "2023-11-14T23:00Z", "--zone", "DE"]
CORRECTED = "zone,valid_from,valid_to,g_per_kwh,source\nDE,2023-11-14T22:00Z,2023-11-14T23:00Z,500,the grid\n"


def fill(client: "Client") -> None:
    """One window of two tenants in zone DE."""
    side, group = SideInputs(), Group(GROUP, 0)
    side.add_engine(descriptor())
    for number, start in enumerate(np.arange(0, 6, 0.5)):
        hold(group, decode_frame(start, start + 0.5, sequence=number), number, T0)
        hold(group, energy_frame(start, start + 0.5, sequence=number), number, T0)
    batches = [book(close_window(group, T0, T0 + 5 * SECOND), side, SplitRules())]
    tables = {"ledger": ledger_table(batches), "raw_meter": meter_table(batches)}
    ClickHouseSink(client).write(tables, batch_table(batches))
    store_shipped(client)


def restate(dsn: str, *options: str) -> Result:
    env = {**os.environ, "WATTLEDGER_CLICKHOUSE": dsn}
    return CliRunner().invoke(cli, ["restate", *PERIOD, *options], env=env)


def grams(client: "Client", as_of: str = "2299-12-31 23:59:59.999") -> dict[str, float]:
    query = (
        "SELECT tenant, location_g FROM tenant_carbon_between("
        f"start = '2023-11-14 22:00:00', end = '2023-11-14 23:00:00', as_of = '{as_of}')"
    )
    return dict(client.query(query).result_rows)


def counts(client: "Client") -> list[Any]:
    return [
        client.command(f"SELECT count() FROM {table}") for table in ("ledger", "batches", "grid_intensity")
    ]


def test_a_dry_run_shows_what_then_holds_and_old_statements_stay(
    database: "Client", dsn: str, tmp_path: Path
) -> None:
    fill(database)
    corrected = tmp_path / "corrected.csv"
    corrected.write_text(CORRECTED)
    before, rows = grams(database), counts(database)
    shown = restate(dsn, "--intensity", str(corrected), "--dry-run", "--json")
    assert shown.exit_code == 0, shown.output
    changes = {one["tenant"]: one for one in json.loads(shown.output)}
    assert {tenant: changes[tenant]["location_before_g"] for tenant in before} == pytest.approx(before)
    assert counts(database) == rows, "a dry run stores nothing"

    cut = str(database.command("SELECT toString(now64(3, 'UTC'))"))
    said = restate(dsn, "--intensity", str(corrected))
    assert said.exit_code == 0, said.output
    assert "stored as new factor versions" in said.output
    after = grams(database)
    assert {tenant: changes[tenant]["location_after_g"] for tenant in after} == pytest.approx(after)
    assert all(after[tenant] != pytest.approx(before[tenant]) for tenant in after)
    assert counts(database)[:2] == rows[:2], "no row of the ledger is written again"
    assert grams(database, cut) == pytest.approx(before)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("DE,2023-11-14T22:00Z,2023-11-14T23:00Z,2001,x", "2001"),
        ("DE,2023-11-14T22:00Z,2023-11-14T23:00Z,-1,x", "-1"),
        ("DE,2023-11-14T23:00Z,2023-11-14T22:00Z,300,x", "valid_to"),
    ],
)
def test_figures_that_cannot_be_are_refused_before_anything_is_asked(
    tmp_path: Path, line: str, said: str
) -> None:
    corrected = tmp_path / "corrected.csv"
    corrected.write_text(CORRECTED.splitlines()[0] + "\n" + line + "\n")
    refused = restate("http://127.0.0.1:9/nothing", "--intensity", str(corrected))
    assert refused.exit_code != 0
    assert said in f"{refused.output}{refused.exception}"
