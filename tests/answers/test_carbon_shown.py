"""Grams appear where factors are on record, and nowhere else."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from streams.answers.page import write_page
from streams.answers.periods import Period, covered
from streams.answers.report import make_report
from streams.answers.report_page import as_html
from tests.ledger_fixture import fill_ledger
from wattledger.factors import store_shipped

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client


def test_grams_appear_with_the_factors_and_sum_over_tenants(database: "Client", tmp_path: Path) -> None:
    fill_ledger(database, duration_s=90.0)
    whole = covered(database)
    assert whole is not None
    before = make_report(database, "yarrow-health", whole, datetime.now(UTC))
    assert before.carbon is None
    assert "so there are no grams" in as_html(before).decode()
    write_page(database, tmp_path / "before.html")
    assert "g CO₂e" not in (tmp_path / "before.html").read_text(encoding="utf-8")

    store_shipped(database)
    later = datetime.now(UTC) + timedelta(seconds=1)
    report = make_report(database, "yarrow-health", whole, later)
    assert report.carbon is not None
    assert report.carbon.location_g is not None
    assert report.carbon.location_g > 0
    assert report.carbon.without_intensity_uj == 0
    assert sum(report.carbon.uj_by_rung.values()) >= report.energy_uj
    assert json.loads(json.dumps(report.data()))["carbon"]["location_g"] == report.carbon.location_g
    assert "g CO₂e location-based" in as_html(report).decode()
    write_page(database, tmp_path / "after.html")
    assert "g CO₂e" in (tmp_path / "after.html").read_text(encoding="utf-8")


def test_energy_outside_every_period_has_no_report_of_carbon(database: "Client") -> None:
    fill_ledger(database, duration_s=90.0)
    store_shipped(database)
    empty = Period(datetime(2020, 1, 1, tzinfo=UTC), datetime(2020, 1, 2, tzinfo=UTC))
    report = make_report(database, "yarrow-health", empty, datetime.now(UTC))
    assert report.models == ()
    assert report.carbon is None or report.carbon.location_g is None
