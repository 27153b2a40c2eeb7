"""A report says the same whether its hours are rolled up or not, whatever was replayed, revised or corrected."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from producers.grid.tables import annual_intensities, shipped_factors
from schemas.factors import Factor
from schemas.side_inputs import GridIntensity, Policy
from streams.answers.periods import Period
from streams.answers.report import make_report
from streams.answers.report_rollups import roll_up_reports, rolled_spans
from streams.answers.spans import HOUR_MS, Spans
from streams.batch import Batch
from streams.carbon.rollups import roll_up_carbon
from streams.carbon.store import store_factors
from streams.ledger.residency import write_residency
from streams.ledger.rows import batch_table, ledger_table, meter_table
from streams.ledger.sink import ClickHouseSink
from tests.ledger_fixture import ORIGIN_NS, Filled, fill_ledger
from wattledger.factors import meter_factors

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

MINUTE_NS = 60_000_000_000
HOUR = Period(datetime(2026, 9, 1, 9, tzinfo=UTC), datetime(2026, 9, 1, 10, tzinfo=UTC))
WIDER = Period(datetime(2026, 9, 1, 8, 58, 20, tzinfo=UTC), datetime(2026, 9, 1, 10, 0, 10, tzinfo=UTC))
PUE = Factor("pue", "berlin", ORIGIN_NS + 5 * MINUTE_NS, 1.2, 1.02, "site meter", "", "2026", 5)
ODD_PUE = replace(
    PUE, effective_from_ns=ORIGIN_NS + 5 * MINUTE_NS + 7_000_000_000, value=1.6, factor_version=6
)


def now(client: "Client") -> datetime:
    """After everything that is stored, and before everything stored later."""
    read = "SELECT now64(3, 'UTC')"
    moment: datetime = client.query(read).result_rows[0][0]
    while client.query(read).result_rows[0][0] <= moment:
        pass
    return moment.replace(tzinfo=UTC)


def must_equal(found: Any, expected: Any, where: str = "") -> None:
    """Integers and texts exactly; floats but for the order of their summands."""
    if isinstance(expected, dict):
        assert found.keys() == expected.keys(), where
        for key in expected:
            must_equal(found[key], expected[key], f"{where}.{key}")
    elif isinstance(expected, list | tuple):
        assert len(found) == len(expected), where
        for i, (one, other) in enumerate(zip(found, expected, strict=True)):
            must_equal(one, other, f"{where}[{i}]")
    elif isinstance(expected, float):
        assert found == pytest.approx(expected, rel=1e-12, abs=1e-9), where
    else:
        assert found == expected, where


def reports(client: "Client", period: Period, as_of: datetime) -> dict[str, dict[str, Any]]:
    """By tenant, all but the cut-off."""
    tenants = client.query(
        "SELECT tenant FROM transfers GROUP BY tenant ORDER BY count() DESC, tenant LIMIT 1"
    )
    found = {tenant: make_report(client, tenant, period, as_of).data() for (tenant,) in tenants.result_rows}
    assert len(found) == 1
    return {tenant: data | {"as_of": ""} for tenant, data in found.items()}


def revised(batch: Batch) -> Batch:
    """The same with a tenth more energy for every request."""
    lines = tuple(
        replace(one, energy_uj=np.rint(one.energy_uj * 1.1).astype(np.int64)) for one in batch.requests
    )
    return replace(batch, revision=batch.revision + 1, reason="asked", requests=lines)


def write(client: "Client", batches: Sequence[Batch]) -> None:
    tables = {"ledger": ledger_table(batches), "raw_meter": meter_table(batches)}
    ClickHouseSink(client).write(tables, batch_table(batches))


def roll_up(client: "Client") -> int:
    """Both jobs; returns the hours."""
    as_of = now(client)
    hours = len(roll_up_reports(client, as_of))
    assert len(roll_up_carbon(client, as_of)) == hours
    return hours


def is_rolled(client: "Client", as_of: datetime) -> bool:
    moment = as_of.strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]
    hours = rolled_spans(client, HOUR, moment)
    return bool(hours.reports) and bool(hours.carbon)


def test_a_report_is_the_same_from_rollups_as_from_rows(database: "Client") -> None:
    """One ledger for all of these, since filling it takes longer than asking."""
    filled = fill_ledger(database, duration_s=90.0, origin_ns=ORIGIN_NS + 4 * MINUTE_NS + 15_000_000_000)
    live = [
        GridIntensity("DE", ORIGIN_NS + first * MINUTE_NS, ORIGIN_NS + (first + 5) * MINUTE_NS, g, "location",
                      "test", False, spread=1.05, factor_version=1)
        for first, g in ((0, 300.0), (5, 450.0))
    ]  # fmt: skip
    store_factors(database, [*annual_intensities(), *live], [*shipped_factors(), *meter_factors(), PUE])
    move_idle_energy(database, filled)
    cut = now(database)
    first, wider = reports(database, HOUR, cut), reports(database, WIDER, cut)
    grams_are_those_of_the_views(database, first, cut)

    write(database, filled.batches[::2])  # a replay
    assert not is_rolled(database, now(database))
    assert roll_up(database) == 1
    a_second_job_at_once(database)
    rolled = now(database)
    assert is_rolled(database, rolled)
    must_equal(reports(database, HOUR, rolled), first)
    must_equal(reports(database, WIDER, rolled), wider)

    store_factors(database, [], [ODD_PUE])
    odd = now(database)
    found = reports(database, HOUR, odd)
    assert all(found[tenant]["carbon"] != first[tenant]["carbon"] for tenant in first)
    grams_are_those_of_the_views(database, found, odd)

    write(database, [revised(batch) for batch in filled.batches[::3]])
    later = now(database)
    assert not is_rolled(database, later)
    by_rows = reports(database, HOUR, later)
    assert by_rows != found
    assert roll_up(database) == 1
    again = now(database)
    assert is_rolled(database, again)
    must_equal(reports(database, HOUR, again), by_rows)
    rolled_hours_need_no_rows(database, rolled, first)


def move_idle_energy(client: "Client", filled: Filled) -> None:
    filled.side.add_policy(Policy("idle", 1, {"policy": "residency"}))
    written = write_residency(
        client, ClickHouseSink(client), filled.side, from_ns=ORIGIN_NS, to_ns=ORIGIN_NS + 3600 * 10**9
    )
    assert sum(written) > 0


def a_second_job_at_once(client: "Client") -> None:
    for table in ("request_hours", "certainty_hours", "model_hours", "report_runs", "carbon_slots"):
        client.command(f"INSERT INTO {table} SELECT * FROM {table}")


def grams_are_those_of_the_views(client: "Client", found: dict[str, dict[str, Any]], as_of: datetime) -> None:
    """Of requests, cold starts and idle energy alike."""
    view = "tenant_carbon_between(start = '2026-09-01 09:00:00', end = '2026-09-01 10:00:00', as_of = '{}')".format(
        as_of.strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]
    )
    for tenant, data in found.items():
        assert data["residency_uj"] > 0
        assert data["cold_start_uj"] > 0
        said = client.query(
            "SELECT sum(location_g), sum(market_g), sum(embodied_g), sum(site_water_l + grid_water_l), "
            "toInt64(sum(without_intensity_uj)), toInt64(sum(without_embodied_uj)), "
            f"toInt64(sum(without_water_uj)) FROM {view} WHERE tenant = {{t:String}}",
            parameters={"t": tenant},
        ).result_rows[0]
        names = ("location_g", "market_g", "embodied_g", "water_l")
        whole = ("without_intensity_uj", "without_embodied_uj", "without_water_uj")
        assert [data["carbon"][name] for name in names] == pytest.approx(said[:4], rel=1e-9)
        assert [data["carbon"][name] for name in whole] == list(said[4:]) == [0, 0, 0]


def rolled_hours_need_no_rows(client: "Client", as_of: datetime, expected: dict[str, dict[str, Any]]) -> None:
    """But for what a load cost, of which there are few. An earlier cut-off still finds its run."""
    client.command("DELETE FROM ledger WHERE account = 'request'")
    for tenant, data in reports(client, HOUR, as_of).items():
        must_equal(data, expected[tenant])


def test_spans_leave_what_is_not_in_them() -> None:
    hours = Spans.merged((hour * HOUR_MS, (hour + 1) * HOUR_MS) for hour in (2, 3, 5))
    assert hours.bounds == ((2 * HOUR_MS, 4 * HOUR_MS), (5 * HOUR_MS, 6 * HOUR_MS))
    assert hours.without_hours([3 * HOUR_MS]).bounds == (
        (2 * HOUR_MS, 3 * HOUR_MS),
        (5 * HOUR_MS, 6 * HOUR_MS),
    )
    day = Period(datetime(1970, 1, 1, 1, 30, tzinfo=UTC), datetime(1970, 1, 1, 6, tzinfo=UTC))
    assert hours.left_of(day).bounds == ((3 * HOUR_MS // 2, 2 * HOUR_MS), (4 * HOUR_MS, 5 * HOUR_MS))
    assert Spans(()).left_of(day).bounds == ((3 * HOUR_MS // 2, 6 * HOUR_MS),)
