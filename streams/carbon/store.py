"""Puts factors into the ledger's database: append-only, and never two figures for one moment by mistake."""

from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from schemas.errors import DataError
from schemas.factors import Factor
from schemas.side_inputs import GridIntensity
from streams.carbon.rows import factor_table, intensity_table
from streams.ledger.query import rows_of
from streams.ledger.sink import ClickHouseSink
from streams.ledger.tables import arrow_schema

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

__all__ = ["refuse_overlaps", "store_factors"]

OVERLAPS: Final = """
SELECT toUnixTimestamp64Milli(valid_from), toUnixTimestamp64Milli(valid_to), source
FROM grid_intensity
WHERE zone = {zone:String} AND basis = {basis:String} AND resolution = {resolution:String}
    AND valid_from < fromUnixTimestamp64Milli({to_ms:Int64}, 'UTC')
    AND valid_to > fromUnixTimestamp64Milli({from_ms:Int64}, 'UTC')
"""


def store_factors(
    client: "Client", intensities: Sequence[GridIntensity] = (), factors: Sequence[Factor] = ()
) -> None:
    """Insert them; the same version twice is one row. Raises DatabaseUnavailable: calling again is safe."""
    tables = {"grid_intensity": intensity_table(intensities), "factors": factor_table(factors)}
    ClickHouseSink(client).write(tables, arrow_schema("batches").empty_table())


def refuse_overlaps(client: "Client", intensities: Sequence[GridIntensity]) -> None:
    """Raise DataError if an interval overlaps one on record without being a new version of the same interval.

    A figure for 10:00-11:00 beside one for 10:30-11:30 leaves half an hour with two answers, and the later start
    would win unseen. Annual means may overlap: the newest year counts.
    """
    series: dict[tuple[str, str, str], list[GridIntensity]] = defaultdict(list)
    for one in intensities:
        if one.resolution == "interval":
            series[one.zone, one.basis, one.resolution].append(one)
    for (zone, basis, resolution), new in series.items():
        asked = {
            "zone": zone,
            "basis": basis,
            "resolution": resolution,
            "from_ms": min(one.valid_from_ns for one in new) // 1_000_000,
            "to_ms": max(one.valid_to_ns for one in new) // 1_000_000,
        }
        known = rows_of(client, OVERLAPS, asked)
        for one in new:
            mine = (one.valid_from_ns // 1_000_000, one.valid_to_ns // 1_000_000)
            for from_ms, to_ms, source in known:
                if (from_ms, to_ms) != mine and from_ms < mine[1] and mine[0] < to_ms:
                    raise DataError(
                        f"zone {zone!r}, {basis}: [{mine[0]}, {mine[1]}) ms overlaps [{from_ms}, {to_ms}) of "
                        f"{source!r} on record; give the same intervals to correct them"
                    )
