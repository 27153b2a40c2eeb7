"""Every panel's query answers on a real ledger, and the shipped files are what the declarations say."""

import json

import pytest

from streams.answers.query import single_reading_statement
from tests.answers.conftest import Ledger
from tools.dashboards import DASHBOARDS, FOLDER, Dashboard, Panel, document

PANELS = [(dashboard, panel) for dashboard in DASHBOARDS for panel in dashboard.panels]
MAY_BE_EMPTY = {"Refused", "Late frames", "Revised batches"}


@pytest.mark.parametrize(
    ("dashboard", "panel"), PANELS, ids=[f"{dashboard.uid}: {panel.title}" for dashboard, panel in PANELS]
)
def test_every_panel_has_an_answer(ledger: Ledger, dashboard: Dashboard, panel: Panel) -> None:
    target = next(one for one in document(dashboard)["panels"] if one["title"] == panel.title)["targets"][0]
    sql = single_reading_statement(target["rawSql"])
    # What Grafana's ClickHouse plug-in puts in place of its macros and variables.
    for macro, instant in (("$__fromTime", ledger.period.start), ("$__toTime", ledger.period.end)):
        sql = sql.replace(macro, f"toDateTime('{instant.strftime('%Y-%m-%d %H:%M:%S')}', 'UTC')")
    answer = ledger.client.query(sql.replace("${tenant}", "yarrow-health"))
    assert answer.result_rows or panel.title in MAY_BE_EMPTY
    if panel.kind == "timeseries" and answer.result_rows:
        assert answer.column_names[0] == "time"


@pytest.mark.parametrize("dashboard", DASHBOARDS, ids=[dashboard.uid for dashboard in DASHBOARDS])
def test_the_shipped_file_is_what_is_declared(dashboard: Dashboard) -> None:
    shipped = json.loads((FOLDER / f"{dashboard.uid}.json").read_text(encoding="utf-8"))
    assert shipped == document(dashboard), "run `python -m tools.dashboards`"
    assert {path.stem for path in FOLDER.glob("*.json")} == {one.uid for one in DASHBOARDS}


def test_panels_fill_the_grid_without_overlap() -> None:
    for dashboard in DASHBOARDS:
        cells = [
            (x, y)
            for panel in document(dashboard)["panels"]
            for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
            for y in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
        ]
        assert len(cells) == len(set(cells))
        assert max(x for x, _ in cells) < 24
