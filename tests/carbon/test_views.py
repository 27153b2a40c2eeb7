"""Grams from the ledger: by event time and zone, with the rung said, reproducible, the same in SQL and Python."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import numpy as np
import pytest

from producers.grid.tables import annual_intensities, shipped_factors
from schemas.errors import DataError
from schemas.factors import Factor
from schemas.side_inputs import GridIntensity
from streams.carbon.in_force import Factors
from streams.carbon.ladder import Intensities
from streams.carbon.restatement import Known, places, restated, timestamp
from streams.carbon.rows import read_factors, read_intensities
from streams.carbon.store import refuse_overlaps, store_factors
from tests.ledger_fixture import ORIGIN_NS, fill_ledger
from wattledger.factors import meter_factors

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

MINUTE_NS = 60_000_000_000
WEEK_NS = 7 * 86_400_000_000_000
FUTURE = "2299-12-31 23:59:59.999"
PERIOD = f"start = '2026-09-01', end = '2026-09-02', as_of = '{FUTURE}'"
DAY_NS = 86_400_000_000_000


def interval(from_ns: int, minutes: float, g: float, *, version: int = 1, zone: str = "DE") -> GridIntensity:
    return GridIntensity(zone, from_ns, from_ns + round(minutes * MINUTE_NS), g, "location", "test", False,
                         spread=1.05, factor_version=version)  # fmt: skip


KNOWN = (
    interval(ORIGIN_NS, 1, 300.0),
    interval(ORIGIN_NS - WEEK_NS, 60, 320.0, zone="NO-NO2"),
)


@pytest.fixture
def filled(database: "Client") -> "Client":
    fill_ledger(database, duration_s=90.0)
    store_factors(database, [*annual_intensities(), *KNOWN], [*shipped_factors(), *meter_factors()])
    return database


def grams(client: "Client", as_of: str = FUTURE) -> dict[str, float]:
    query = (
        "SELECT tenant, sum(location_g) FROM tenant_carbon_between(start = '2026-09-01', end = '2026-09-02', "
        f"as_of = '{as_of}') GROUP BY tenant"
    )
    return dict(client.query(query).result_rows)


def test_carbon_end_to_end(filled: "Client") -> None:
    """One ledger for all of these, since filling it takes longer than asking."""
    the_ladder_in_sql_is_the_one_in_python(filled)
    both_boundaries_and_both_methods_stand_side_by_side(filled)
    water_is_the_sites_for_cooling_and_the_grids_for_what_it_generates(filled)
    embodied_carbon_is_charged_for_all_of_the_time_once(filled)
    transfers_move_grams_that_sum_to_zero(filled)
    factors_bring_their_own_uncertainty(filled)
    totals_know_what_is_common(filled)
    before = grams(filled)
    cut = filled.command("SELECT toString(max(stored_at)) FROM factors")
    what_is_shown_before_is_what_holds_after(filled)
    assert grams(filled, cut) == before, "an old statement is what it was"


def the_ladder_in_sql_is_the_one_in_python(client: "Client") -> None:
    rows = client.query(
        "SELECT zone, basis, toUnixTimestamp64Milli(event_time), rung, g_per_kwh "
        f"FROM zone_intensity_between({PERIOD})"
    ).result_rows
    known = Intensities(read_intensities(client, {row[0] for row in rows}, 2**42, FUTURE))
    for zone, basis, at_ms, rung, g_per_kwh in rows:
        found = known.at(zone, basis, at_ms * 1_000_000)
        assert rung == found.name
        assert found.intensity is None or g_per_kwh == found.intensity.g_per_kwh
    assert {row[3] for row in rows} == {"live", "recent", "last_week", "none"}, (
        "none: no market figure is on record"
    )


def both_boundaries_and_both_methods_stand_side_by_side(client: "Client") -> None:
    rows = client.query(
        "SELECT energy_uj, host_uj, pue, location_g_per_kwh, narrow_location_g, location_g, market_g, market_rung, "
        f"location_rung FROM ledger_carbon_between({PERIOD})"
    ).result_rows
    for energy, host, pue, g_per_kwh, narrow, location, market, market_rung, rung in rows:
        assert narrow == pytest.approx(energy / 3.6e12 * g_per_kwh)
        assert location == pytest.approx((energy + host) / 3.6e12 * pue * g_per_kwh)
        assert market == location
        assert market_rung == f"location:{rung}"


def water_is_the_sites_for_cooling_and_the_grids_for_what_it_generates(client: "Client") -> None:
    """A site publishes its own water at half time, and Germany's grid is known better than what ships."""
    half_ns = ORIGIN_NS + MINUTE_NS // 2
    published = [
        Factor("wue", "berlin", half_ns, 0.25, 1.0, "site meter", "", "2026", 5),
        Factor("grid_water", "DE", ORIGIN_NS - DAY_NS, 3.0, 1.0, "a study", "", "2026", 5),
    ]
    store_factors(client, [], published)
    at_plants = {one.scope: one.value for one in shipped_factors() if one.kind == "grid_water"} | {"DE": 3.0}
    rows = client.query(
        "SELECT site, zone, toUnixTimestamp64Milli(event_time) * 1000000, energy_uj + host_uj, pue, site_water_l, "
        f"grid_water_l FROM ledger_carbon_between({PERIOD})"
    ).result_rows
    for site, zone, at_ns, energy_uj, pue, on_site, at_the_plant in rows:
        wue = 0.25 if site == "berlin" and at_ns >= half_ns else 1.8
        country = zone.split("-")[0]
        assert on_site == pytest.approx(energy_uj / 3.6e12 * wue)
        assert at_the_plant == pytest.approx(
            energy_uj / 3.6e12 * pue * at_plants.get(country, at_plants["default"])
        )
    assert {(row[0] == "berlin", row[2] >= half_ns) for row in rows} == {
        (berlin, late) for berlin in (True, False) for late in (True, False)
    }
    assert len({row[1] for row in rows}) > 1


def embodied_carbon_is_charged_for_all_of_the_time_once(client: "Client") -> None:
    rows = client.query(
        "SELECT a.charged, b.window_ns / 1e9 * b.embodied_g_per_s "
        f"FROM (SELECT batch_id, sum(embodied_g) AS charged FROM ledger_carbon_between({PERIOD}) "
        f"GROUP BY batch_id) AS a INNER JOIN batch_factors_between({PERIOD}) AS b ON a.batch_id = b.batch_id"
    ).result_rows
    assert rows
    for charged, whole in rows:
        assert charged == pytest.approx(whole)


def transfers_move_grams_that_sum_to_zero(client: "Client") -> None:
    rows = client.query(
        f"SELECT sum(location_g), sum(embodied_g), sum(abs(location_g)) FROM transfer_carbon_between({PERIOD})"
    ).result_rows
    location, embodied, moved = rows[0]
    assert moved > 0
    assert abs(location) < 1e-9 * moved
    assert abs(embodied) < 1e-9


def factors_bring_their_own_uncertainty(client: "Client") -> None:
    rows = client.query(
        f"SELECT location_g, location_log_sd FROM tenant_carbon_between({PERIOD})"
    ).result_rows
    least, most = np.hypot(np.log([1.05, 1.15]), np.log(1.2))
    assert all(least - 1e-9 <= log_sd <= most + 1e-9 for location, log_sd in rows if location)


def totals_know_what_is_common(client: "Client") -> None:
    rows = client.query(
        "SELECT energy_uj, split_half_width_uj, meter_half_width_uj, half_width_uj "
        f"FROM tenant_certainty_between({PERIOD})"
    ).result_rows
    for energy, split, meter, whole in rows:
        assert 0 < meter < 0.051 * energy, "a GPU's 5 %, less where a tenant has several"
        assert meter > 0.5 * 0.05 * energy, "what a generation shares does not average out"
        assert whole == pytest.approx((split**2 + meter**2) ** 0.5)


def what_is_shown_before_is_what_holds_after(client: "Client") -> None:
    start_ns, end_ns = (round(datetime(2026, 9, day, tzinfo=UTC).timestamp()) * 10**9 for day in (1, 2))
    zones = ["DE", "NO", "NO-NO2"]
    corrected = [interval(ORIGIN_NS, 1, 500.0, version=2)]
    pue = [Factor("pue", "berlin", ORIGIN_NS + MINUTE_NS // 2, 1.2, 1.0, "site meter", "", "2026", 5)]
    before = Known(
        Intensities(read_intensities(client, zones, 2**42, FUTURE)), Factors(read_factors(client, FUTURE))
    )
    after = Known(
        Intensities([*read_intensities(client, zones, 2**42, FUTURE), *corrected]),
        Factors([*read_factors(client, FUTURE), *pue]),
    )
    found = places(client, timestamp(start_ns), timestamp(end_ns))
    changes = {one.tenant: one for one in restated(client, start_ns, end_ns, found, before, after)}
    now = grams(client)
    for tenant, location in now.items():
        assert changes[tenant].location_before_g == pytest.approx(location), tenant
    store_factors(client, corrected, pue)
    for tenant, location in grams(client).items():
        assert changes[tenant].location_after_g == pytest.approx(location), tenant
    assert grams(client) != now


def test_an_interval_that_overlaps_another_is_refused(database: "Client") -> None:
    store_factors(database, [interval(ORIGIN_NS, 60, 300.0)])
    refuse_overlaps(database, [interval(ORIGIN_NS, 60, 310.0, version=2)])
    with pytest.raises(DataError, match="overlaps"):
        refuse_overlaps(database, [interval(ORIGIN_NS + 30 * MINUTE_NS, 60, 310.0)])


def test_a_zone_nobody_knows_has_no_grams_and_no_zero(database: "Client") -> None:
    fill_ledger(database, duration_s=60.0)
    rows = database.query(
        f"SELECT without_intensity_uj, energy_uj + transferred_uj FROM tenant_carbon_between({PERIOD})"
    ).result_rows
    assert rows
    assert all(missing == energy for missing, energy in rows), "said, not hidden in a zero"
    query = f"SELECT countIf(isFinite(location_g)), count() FROM ledger_carbon_between({PERIOD})"
    assert database.query(query).result_rows[0][0] == 0
