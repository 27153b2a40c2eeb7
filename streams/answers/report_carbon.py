"""Grams and litres of one tenant's energy over a period, and of the whole fleet's requests.

The database adds energy up by place and window, over the tenant's rows and those of what was moved to it; the
factors are few and are multiplied here (streams/carbon/grams.py). What has grams, and how many, is what the view
`tenant_carbon_between` says: a test holds the two together. Hours that are rolled up come in slots of five minutes,
unless a factor changes inside one of the hour's slots.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from streams.answers import report_carbon_queries as queries
from streams.answers.periods import Period
from streams.answers.spans import HOUR_MS, Spans
from streams.carbon.grams import Grams, Held, edges_ns, value
from streams.carbon.in_force import Factors
from streams.carbon.ladder import Intensities
from streams.carbon.restatement import Known
from streams.carbon.rows import read_factors, read_intensities

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

__all__ = ["Carbon", "fleet_carbon", "tenant_carbon"]

Floats = NDArray[np.float64]

IDLE_HOURS: Final = "residency_idle"
"""Kind of transfer that moves an hour's idle energy; the others move a load's."""
SLOT_NS: Final = 300_000_000_000
"""Five minutes: what rollups add up."""
MONTH_MS: Final = 31 * 86_400_000
"""How long before its requests a load may lie, at most."""
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


def tenant_carbon(client: "Client", tenant: str, period: Period, as_of: str, rolled: Spans) -> Carbon | None:
    """Of a tenant's requests and of what was moved to it: its part of a load's grams, or of an idle hour's.

    rolled: the hours of `period` that carbon rollups hold. None where no carbon intensity is on record at all.
    """
    if not client.command("SELECT count() FROM grid_intensity"):
        return None
    asked = period.parameters | {"tenant": tenant, "as_of": as_of}
    moved = client.query(queries.MOVED, parameters=asked).result_rows
    loads, hours = (
        [load_id for kind, load_id, _ in moved if (kind == IDLE_HOURS) == idle] for idle in (False, True)
    )
    rolled = _steady(client, rolled, asked | {"owners": [tenant, *([""] if hours else [])]})
    left = rolled.left_of(period)
    own, others = [], []
    for spans, requests, idle in (
        (rolled, queries.HELD_ROLLED, queries.IDLE_ROLLED),
        (left, queries.HELD, queries.IDLE),
    ):
        if spans:
            own.append(_table(client, requests, asked | spans.parameters))
        if spans and hours:
            others.append(_table(client, idle, asked | spans.parameters | {"loads": hours}))
    if loads:
        others.append(_table(client, queries.LOADED, asked | {"loads": loads}))
    known = _known(client, _zones([*own, *others]), asked)
    parts = _moved_parts(others, known, {load_id: int(uj) for _, load_id, uj in moved})
    return _carbon(pa.concat_tables(own), known, parts, [int(uj) for *_, uj in moved])


def fleet_carbon(client: "Client", parameters: dict[str, Any]) -> Carbon | None:
    """Of all tenants' requests, as last booked; without manufacturing. `parameters` are from_ms and to_ms."""
    if not client.command("SELECT count() FROM grid_intensity"):
        return None
    table = _table(client, queries.FLEET, parameters)
    known = _known(client, _zones([table]), parameters | {"as_of": EVER})
    return _carbon(table, known, np.zeros((5, 0)), [])


def _steady(client: "Client", rolled: Spans, asked: dict[str, Any]) -> Spans:
    """The hours of `rolled` in which no factor of the places in question changes inside a slot."""
    if not rolled:
        return rolled
    places = client.query(queries.PLACES, parameters=asked | rolled.parameters).result_rows
    known = _known(client, {zone for zone, _, _ in places}, asked)
    edges = np.concatenate([np.zeros(0, np.int64), *(edges_ns(known, *place) for place in places)])
    odd_ms = edges[edges % SLOT_NS != 0] // 1_000_000
    return rolled.without_hours((odd_ms - odd_ms % HOUR_MS).tolist())


def _table(client: "Client", query: str, parameters: dict[str, Any]) -> pa.Table:
    return client.query_arrow(query, parameters=parameters, use_strings=True)


def _zones(tables: Sequence[pa.Table]) -> set[str]:
    return {zone for table in tables for zone in table.column("zone").unique().to_pylist()}


def _known(client: "Client", zones: set[str], asked: dict[str, Any]) -> Known:
    wanted = zones | {zone.partition("-")[0] for zone in zones}
    from_ms = asked["from_ms"] - MONTH_MS
    intensities = read_intensities(client, wanted, asked["to_ms"], asked["as_of"], from_ms=from_ms)
    return Known(Intensities(intensities), Factors(read_factors(client, asked["as_of"])))


def _ints(table: pa.Table, name: str) -> NDArray[np.int64]:
    return np.asarray(table.column(name).to_numpy(zero_copy_only=False), np.int64)


def _held(table: pa.Table) -> Held:
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


def _moved_parts(others: Sequence[pa.Table], known: Known, moved: dict[str, int]) -> Floats:
    """(5, L) grams of each load or idle hour in proportion to what of its energy was moved; nan where it is not on
    record.
    """
    parts = np.full((5, len(moved)), math.nan)
    if not others:
        return parts
    table = pa.concat_tables(others)
    figures, energy_uj = _figures(value(_held(table), known)), _ints(table, "energy_uj")
    load_ids = np.asarray(table.column("load_id").to_pylist(), dtype=str)
    for i, (load_id, uj) in enumerate(moved.items()):
        mine = load_ids == load_id
        if total_uj := int(energy_uj[mine].sum()):
            parts[:, i] = uj / total_uj * figures[:, mine].sum(axis=1)
    return parts


def _carbon(table: pa.Table, known_factors: Known, moved: Floats, moved_uj: Sequence[int]) -> Carbon:
    own = value(_held(table), known_factors)
    energy_uj = np.concatenate([_ints(table, "energy_uj"), np.asarray(moved_uj, np.int64)])
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
