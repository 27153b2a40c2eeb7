"""Rollups say what the rows say: after duplicates, revisions and corrected factors, to a float's last digits."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from producers.grid.tables import annual_intensities, shipped_factors
from schemas.factors import Factor
from schemas.side_inputs import GridIntensity, Policy
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
FUTURE = "2299-12-31 23:59:59.999"


def hours(as_of: str = FUTURE) -> str:
    return f"start = '2026-09-01 09:00:00', end = '2026-09-01 10:00:00', as_of = '{as_of}'"


def intensity(minutes: tuple[int, int], g_per_kwh: float, version: int = 1) -> GridIntensity:
    from_ns, to_ns = (ORIGIN_NS + minute * MINUTE_NS for minute in minutes)
    return GridIntensity("DE", from_ns, to_ns, g_per_kwh, "location", "test", False, spread=1.05,
                         factor_version=version)  # fmt: skip


KNOWN = (intensity((0, 5), 300.0), intensity((5, 10), 450.0))
PUE = Factor("pue", "berlin", ORIGIN_NS + 5 * MINUTE_NS, 1.2, 1.02, "site meter", "", "2026", 5)


def rows(client: "Client", view: str, as_of: str = FUTURE) -> dict[tuple[Any, ...], dict[str, Any]]:
    """By tenant and model."""
    answer = client.query(f"SELECT * FROM {view}({hours(as_of)})")
    found = [dict(zip(answer.column_names, row, strict=True)) for row in answer.result_rows]
    return {(row["tenant"], row["model"]): row for row in found}


def must_equal(
    expected: dict[tuple[Any, ...], dict[str, Any]], found: dict[tuple[Any, ...], dict[str, Any]]
) -> None:
    """Integers exactly; floats but for the order of their summands."""
    assert expected.keys() == found.keys()
    assert expected
    for key, row in expected.items():
        for name, value in row.items():
            if isinstance(value, float):
                assert found[key][name] == pytest.approx(value, rel=1e-9, nan_ok=True), (key, name)
            else:
                assert found[key][name] == value, (key, name)


def now(client: "Client") -> datetime:
    """After everything that is stored."""
    moment: datetime = client.query("SELECT now64(3, 'UTC') + INTERVAL 1 SECOND").result_rows[0][0]
    return moment.replace(tzinfo=UTC)


def revised(batch: Batch) -> Batch:
    """The same with a tenth more energy for every request."""
    lines = tuple(
        replace(one, energy_uj=np.rint(one.energy_uj * 1.1).astype(np.int64)) for one in batch.requests
    )
    return replace(batch, revision=batch.revision + 1, reason="asked", requests=lines)


def write(client: "Client", batches: list[Batch]) -> None:
    tables = {"ledger": ledger_table(batches), "raw_meter": meter_table(batches)}
    ClickHouseSink(client).write(tables, batch_table(batches))


def test_rollups_equal_the_rows_they_are_made_of(database: "Client") -> None:
    """One ledger for all of these, since filling it takes longer than asking."""
    filled = fill_ledger(database, duration_s=90.0, origin_ns=ORIGIN_NS + 4 * MINUTE_NS + 15_000_000_000)
    store_factors(database, [*annual_intensities(), *KNOWN], [*shipped_factors(), *meter_factors(), PUE])
    idle_that_a_policy_moves_has_the_grams_of_its_hour(database, filled)
    assert open_hours(database) == 1
    assert len(roll_up_carbon(database, now(database))) == 1
    assert open_hours(database) == 0
    assert database.query("SELECT uniqExact(slot) FROM carbon_slots").result_rows == [(2,)]
    before = rows(database, "tenant_carbon_rolled_between")
    cut = database.command("SELECT toString(now64(3, 'UTC'))")
    a_second_job_at_once_and_corrected_figures_need_no_new_run(database)
    write(database, [revised(batch) for batch in filled.batches[::3]])
    assert len(roll_up_carbon(database, now(database))) == 1
    must_equal(rows(database, "tenant_carbon_between"), rows(database, "tenant_carbon_rolled_between"))
    must_equal(before, rows(database, "tenant_carbon_rolled_between", str(cut)))
    intervals_hold_their_figures(database)


def open_hours(client: "Client") -> int:
    return int(client.command(f"SELECT count() FROM carbon_hours_open_between({hours()})"))


def idle_that_a_policy_moves_has_the_grams_of_its_hour(client: "Client", filled: Filled) -> None:
    filled.side.add_policy(Policy("idle", 1, {"policy": "residency"}))
    hour_ns = 3600 * 10**9
    written = sum(
        write_residency(
            client, ClickHouseSink(client), filled.side, from_ns=ORIGIN_NS, to_ns=ORIGIN_NS + hour_ns
        )
    )
    assert written > 0
    moved = client.query(
        "SELECT sumIf(location_g, side = 'to'), sum(location_g), sumIf(energy_uj, side = 'to'), "
        "countIf(NOT isFinite(location_g + embodied_g)), sumIf(embodied_g, side = 'to') "
        f"FROM transfer_carbon_between({hours()}) WHERE kind = 'residency_idle'"
    ).result_rows[0]
    idle = client.query(
        f"SELECT sum(location_g), sum(energy_uj), sum(embodied_g) FROM ledger_carbon_between({hours()}) "
        "WHERE account = 'idle' AND engine_class != ''"
    ).result_rows[0]
    assert moved[3] == 0
    assert moved[2] == idle[1]
    assert moved[0] == pytest.approx(idle[0])
    assert moved[4] == pytest.approx(idle[2])
    assert abs(moved[1]) < 1e-9 * moved[0]


def a_second_job_at_once_and_corrected_figures_need_no_new_run(client: "Client") -> None:
    client.command("INSERT INTO carbon_slots SELECT * FROM carbon_slots")
    client.command("INSERT INTO carbon_runs SELECT * FROM carbon_runs")
    store_factors(client, [intensity((0, 5), 600.0, version=2)])
    assert roll_up_carbon(client, now(client)) == ()


def intervals_hold_their_figures(client: "Client") -> None:
    found = client.query(
        "SELECT location_low_g, location_g, location_high_g, market_low_g, market_g, market_high_g, "
        f"embodied_low_g, embodied_g, embodied_high_g, energy_log_sd FROM tenant_carbon_interval_between({hours()})"
    ).result_rows
    assert found
    for row in found:
        for low, figure, high in (row[0:3], row[3:6], row[6:9]):
            assert 0 < low < figure < high
            assert figure / low == pytest.approx(high / figure)
        assert 0.02 < row[9] < 0.5
    host, split, energy, whole, moved, moved_half = client.query(
        "SELECT sum(host_uj), sum(split_half_width_uj), sum(energy_uj), sum(host_half_width_uj), "
        f"sum(transferred_uj), sum(transferred_half_width_uj) FROM tenant_certainty_between({hours()})"
    ).result_rows[0]
    assert whole > 0.14 * host, "what RAPL does not see; of two sites it partly averages out"
    assert 0 < split < energy
    assert 0.045 * moved < moved_half < 0.051 * moved, "a card's 5 %: how a load is divided is exact"
