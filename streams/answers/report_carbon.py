"""Grams and litres of one tenant's energy over a period, and of the whole fleet's requests.

The database adds energy up by place and window, over the tenant's rows only; the factors are few and are multiplied
here (streams/carbon/grams.py). A tenant's month takes as long as its own rows, not everybody's.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from streams.answers.report_queries import AS_OF, IN_PERIOD, tenant_batches
from streams.carbon.grams import Grams, Held, value
from streams.carbon.in_force import Factors
from streams.carbon.ladder import Intensities
from streams.carbon.restatement import Known
from streams.carbon.rows import read_factors, read_intensities

if TYPE_CHECKING:
    import pyarrow as pa
    from clickhouse_connect.driver.client import Client

__all__ = ["Carbon", "fleet_carbon", "tenant_carbon"]

Floats = NDArray[np.float64]

# Accelerator-seconds, as the view `ledger_carbon_between` charges them: the batch's requests hold what the batch
# was busy, in proportion to their time; where nothing else was booked they hold the whole window.
HELD_S: Final = """
    least(batch.held, if(batch.busy_ns > 0, batch.busy_ns, batch.window_ns)) AS served_ns,
    batch.gpus / 1e9 * {share}
"""
REQUEST_SHARE: Final = """
    if(batch.held = 0, 0., toFloat64(if(batch.other_uj > 0, served_ns, batch.window_ns)) * line.held_ns
        / batch.held)
"""
LOAD_SHARE: Final = """
    if(batch.other_uj = 0, 0., toFloat64(batch.window_ns - served_ns) * line.energy_uj / batch.other_uj)
"""
BATCH: Final = """
    event_time, batch_id, revision, inputs, zone, site, gpu_model, gpus, busy_ns, end_ns - start_ns AS window_ns,
    if(held_ns > 0 OR batch_size = 0, held_ns, busy_ns) AS held,
    idle_uj + cold_start_uj + overhead_uj + unobserved_uj AS other_uj
"""
JOINED: Final = """
    ON line.event_time = batch.event_time AND line.batch_id = batch.batch_id AND line.revision = batch.revision
    AND line.inputs = batch.inputs
"""

HELD: Final = f"""
SELECT zone, site, gpu_model, at_ms, sum(uj) AS energy_uj, sum(host) AS host_uj, sum(held) AS gpu_s
FROM (
    SELECT
        batch.zone AS zone, batch.site AS site, batch.gpu_model AS gpu_model,
        toUnixTimestamp64Milli(line.event_time) AS at_ms, line.energy_uj AS uj, line.host_uj AS host,
        {HELD_S.format(share=REQUEST_SHARE)} AS held
    FROM (
        SELECT event_time, batch_id, revision, inputs, energy_uj, host_uj, held_ns
        FROM ledger FINAL
        WHERE tenant = {{tenant:String}} AND account = 'request' AND {IN_PERIOD} AND stored_at <= {AS_OF}
    ) AS line
    INNER JOIN {tenant_batches(BATCH)} AS batch {JOINED}
)
GROUP BY zone, site, gpu_model, at_ms
ORDER BY zone, site, gpu_model, at_ms
"""  # noqa: S608 - constants of this module

MOVED: Final = f"""
SELECT load_id, sum(toInt128(energy_uj))
FROM transfers_as_of(as_of = {AS_OF})
WHERE side = 'to' AND tenant = {{tenant:String}} AND kind = 'cold_start' AND {IN_PERIOD}
GROUP BY load_id
ORDER BY load_id
"""  # noqa: S608

LOADED: Final = f"""
SELECT load_id, zone, site, gpu_model, at_ms, uj AS energy_uj, host AS host_uj, held AS gpu_s
FROM (
    SELECT
        line.load_id AS load_id, batch.zone AS zone, batch.site AS site, batch.gpu_model AS gpu_model,
        toUnixTimestamp64Milli(line.event_time) AS at_ms, line.energy_uj AS uj, line.host_uj AS host,
        {HELD_S.format(share=LOAD_SHARE)} AS held
    FROM (
        SELECT event_time, batch_id, revision, inputs, load_id, energy_uj, host_uj, held_ns
        FROM ledger FINAL
        WHERE tenant = '' AND account = 'cold_start' AND load_id IN {{loads:Array(String)}} AND stored_at <= {AS_OF}
            AND event_time >= fromUnixTimestamp64Milli({{from_ms:Int64}}, 'UTC') - INTERVAL 31 DAY
            AND event_time < fromUnixTimestamp64Milli({{to_ms:Int64}}, 'UTC')
    ) AS line
    INNER JOIN (
        SELECT {BATCH} FROM batches_as_of(as_of = {AS_OF}) WHERE cold_start_uj > 0
            AND event_time >= fromUnixTimestamp64Milli({{from_ms:Int64}}, 'UTC') - INTERVAL 31 DAY
            AND event_time < fromUnixTimestamp64Milli({{to_ms:Int64}}, 'UTC')
    ) AS batch {JOINED}
)
ORDER BY load_id, at_ms, zone, site, gpu_model
"""  # noqa: S608

FLEET: Final = f"""
SELECT
    batch.zone AS zone, batch.site AS site, batch.gpu_model AS gpu_model,
    toUnixTimestamp64Milli(line.event_time) AS at_ms, sum(line.energy_uj) AS energy_uj,
    sum(line.host_uj) AS host_uj, nan AS gpu_s
FROM current_ledger AS line
INNER JOIN current_batches AS batch {JOINED}
WHERE line.account = 'request' AND {IN_PERIOD.replace("event_time", "line.event_time")}
    AND {IN_PERIOD.replace("event_time", "batch.event_time")}
GROUP BY zone, site, gpu_model, at_ms
ORDER BY zone, site, gpu_model, at_ms
"""  # noqa: S608

EVER: Final = "2299-12-31 23:59:59.999"


@dataclass(frozen=True, slots=True)
class Carbon:
    """Grams and litres of the energy for which factors are on record; None where there are none for any of it."""

    location_g: float | None
    """Accelerators and host times PUE, location-based."""
    market_g: float | None
    embodied_g: float | None
    """Manufacturing, by the time held."""
    water_l: float | None
    """Evaporated on site and by power stations."""
    without_intensity_uj: int
    """Energy that the grams leave out for want of a factor: it has no grams, never zero grams."""
    without_embodied_uj: int
    without_water_uj: int
    uj_by_rung: dict[str, int]
    """How near to its time and place the intensity is: live, recent, last_week, annual, country."""


def tenant_carbon(client: "Client", parameters: dict[str, Any]) -> Carbon | None:
    """Of a tenant's requests and of what was moved to them; `parameters` are tenant, from_ms, to_ms and as_of.

    None where no carbon intensity is on record at all. Energy moved by residency has no grams of its own: idle
    accelerators are the provider's.
    """
    if not client.command("SELECT count() FROM grid_intensity"):
        return None
    table = client.query_arrow(HELD, parameters=parameters, use_strings=True)
    moved = {str(load): int(uj) for load, uj in client.query(MOVED, parameters=parameters).result_rows}
    loaded = client.query_arrow(LOADED, parameters=parameters | {"loads": list(moved)}, use_strings=True)
    known = _known(client, [table, loaded], parameters)
    energy_uj = np.concatenate([_ints(table, "energy_uj"), np.asarray(list(moved.values()), np.int64)])
    own = value(_held(table), known)
    parts = _moved_parts(loaded, value(_held(loaded), known), moved)
    return _carbon(energy_uj, own, parts)


def fleet_carbon(client: "Client", parameters: dict[str, Any]) -> Carbon | None:
    """Of all tenants' requests, as last booked; without manufacturing. `parameters` are from_ms and to_ms."""
    if not client.command("SELECT count() FROM grid_intensity"):
        return None
    table = client.query_arrow(FLEET, parameters=parameters, use_strings=True)
    known = _known(client, [table], parameters | {"as_of": EVER})
    return _carbon(_ints(table, "energy_uj"), value(_held(table), known), np.zeros((5, 0)))


def _known(client: "Client", tables: "Sequence[pa.Table]", parameters: dict[str, Any]) -> Known:
    zones = {zone for table in tables for zone in table.column("zone").unique().to_pylist()}
    zones |= {zone.partition("-")[0] for zone in zones}
    as_of, month_ms = parameters["as_of"], 31 * 86_400_000
    from_ms = parameters["from_ms"] - month_ms
    intensities = read_intensities(client, zones, parameters["to_ms"], as_of, from_ms=from_ms)
    return Known(Intensities(intensities), Factors(read_factors(client, as_of)))


def _ints(table: "pa.Table", name: str) -> NDArray[np.int64]:
    return np.asarray(table.column(name).to_numpy(zero_copy_only=False), np.int64)


def _held(table: "pa.Table") -> Held:
    return Held(
        zones=table.column("zone").to_pylist(),
        sites=table.column("site").to_pylist(),
        gpu_models=table.column("gpu_model").to_pylist(),
        at_ns=_ints(table, "at_ms") * 1_000_000,
        energy_j=_ints(table, "energy_uj") / 1e6,
        host_j=_ints(table, "host_uj") / 1e6,
        gpu_s=np.asarray(table.column("gpu_s").to_numpy(zero_copy_only=False), np.float64),
    )


def _figures(grams: Grams) -> Floats:
    """By kind, (5, N)."""
    return np.stack(
        [grams.location_g, grams.market_g, grams.embodied_g, grams.site_water_l, grams.grid_water_l]
    )


def _moved_parts(loaded: "pa.Table", grams: Grams, moved: dict[str, int]) -> Floats:
    """(5, L) grams of each load in proportion to what of its energy was moved; nan where it is not on record."""
    figures, load_ids = _figures(grams), np.asarray(loaded.column("load_id").to_pylist(), dtype=str)
    energy_uj = _ints(loaded, "energy_uj")
    parts = np.full((len(figures), len(moved)), math.nan)
    for i, (load_id, uj) in enumerate(moved.items()):
        mine = load_ids == load_id
        if total_uj := int(energy_uj[mine].sum()):
            parts[:, i] = uj / total_uj * figures[:, mine].sum(axis=1)
    return parts


def _carbon(energy_uj: NDArray[np.int64], own: Grams, moved: Floats) -> Carbon:
    figures = np.concatenate([_figures(own), moved], axis=1)
    known = np.isfinite(figures)
    known[1] = known[0]
    wet = known[3] & known[4]
    sums = [float(figures[i, known[i]].sum()) for i in range(5)]
    rungs, place = np.unique(own.rungs, return_inverse=True)
    by_rung = [int(energy_uj[: len(own.rungs)][place == i].sum()) for i in range(len(rungs))]
    return Carbon(
        location_g=sums[0] if known[0].any() else None,
        market_g=sums[1] if known[0].any() else None,
        embodied_g=sums[2] if known[2].any() else None,
        water_l=sums[3] + sums[4] if wet.any() else None,
        without_intensity_uj=int(energy_uj[~known[0]].sum()),
        without_embodied_uj=int(energy_uj[~known[2]].sum()),
        without_water_uj=int(energy_uj[~wet].sum()),
        uj_by_rung={str(rung): uj for rung, uj in zip(rungs, by_rung, strict=True)},
    )
