"""Grams appear where factors are on record, and nowhere else."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

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
    figures_are_those_of_the_views(database, whole)
    write_page(database, tmp_path / "after.html")
    assert "g CO₂e" in (tmp_path / "after.html").read_text(encoding="utf-8")


def figures_are_those_of_the_views(database: "Client", whole: Period) -> None:
    """Reports multiply one tenant's own rows; the views everybody's."""
    bounds = ", ".join(
        f"{name} = '{instant.strftime('%Y-%m-%d %H:%M:%S')}'"
        for name, instant in (
            ("start", whole.start),
            ("end", whole.end),
            ("as_of", datetime(2299, 1, 1, tzinfo=UTC)),
        )
    )
    tenants = database.query(
        "SELECT tenant FROM tenant_usage GROUP BY tenant ORDER BY sum(transferred_uj) DESC LIMIT 4"
    )
    for (tenant,) in tenants.result_rows:
        report = make_report(database, tenant, whole, datetime.now(UTC) + timedelta(seconds=1))
        carbon, certainty = report.carbon, report.certainty
        assert carbon is not None
        assert certainty is not None
        grams = database.query(
            "SELECT sum(location_g), sum(market_g), sum(embodied_g), sum(site_water_l + grid_water_l), "
            f"sum(without_intensity_uj) FROM tenant_carbon_between({bounds}) WHERE tenant = {{t:String}}",
            parameters={"t": tenant},
        ).result_rows[0]
        said = (
            carbon.location_g,
            carbon.market_g,
            carbon.embodied_g,
            carbon.water_l,
            carbon.without_intensity_uj,
        )
        assert said == pytest.approx(tuple(grams), rel=1e-9)
        widths = database.query(
            f"SELECT split_half_width_uj, meter_half_width_uj FROM tenant_certainty_between({bounds}) "
            "WHERE tenant = {t:String}",
            parameters={"t": tenant},
        ).result_rows[0]
        assert certainty.split_uj == pytest.approx(widths[0], rel=1e-6)
        assert certainty.meter_uj is not None


def test_energy_outside_every_period_has_no_report_of_carbon(database: "Client") -> None:
    fill_ledger(database, duration_s=90.0)
    store_shipped(database)
    empty = Period(datetime(2020, 1, 1, tzinfo=UTC), datetime(2020, 1, 2, tzinfo=UTC))
    report = make_report(database, "yarrow-health", empty, datetime.now(UTC))
    assert report.models == ()
    assert report.carbon is None or report.carbon.location_g is None
