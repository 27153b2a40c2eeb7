"""Puts factors into the ledger's database: append-only, and never two figures for one moment by mistake."""

from bisect import bisect_left, insort
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

__all__ = ["overlapping", "refuse_overlaps", "store_factors"]

_Interval = tuple[int, int, str]
"""Start and end in Unix milliseconds, and the source."""

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
    """Raise DataError if an interval is one of `overlapping`."""
    for why in overlapping(client, intensities).values():
        raise DataError(why)


def overlapping(client: "Client", intensities: Sequence[GridIntensity]) -> dict[int, str]:
    """By number of an interval that must not be stored: what it overlaps without being a new version of it.

    A figure for 10:00-11:00 beside one for 10:30-11:30 leaves half an hour with two answers, and the later start
    would win unseen: the one on record, or given first, stands. Annual means may overlap: the newest year counts.
    Raises DatabaseUnavailable. One query per zone and basis; O(n log n) comparisons.
    """
    series: dict[tuple[str, str, str], list[tuple[int, GridIntensity]]] = defaultdict(list)
    for number, one in enumerate(intensities):
        if one.resolution == "interval":
            series[one.zone, one.basis, one.resolution].append((number, one))
    refused: dict[int, str] = {}
    for (zone, basis, resolution), new in series.items():
        asked = {
            "zone": zone,
            "basis": basis,
            "resolution": resolution,
            "from_ms": min(one.valid_from_ns for _, one in new) // 1_000_000,
            "to_ms": max(one.valid_to_ns for _, one in new) // 1_000_000,
        }
        known = sorted(
            (from_ms, to_ms, source) for from_ms, to_ms, source in rows_of(client, OVERLAPS, asked)
        )
        for number, one in new:
            mine = (one.valid_from_ns // 1_000_000, one.valid_to_ns // 1_000_000)
            other = _overlapped(known, mine)
            if other is None:
                insort(known, (*mine, one.source))
            else:
                refused[number] = (
                    f"zone {zone!r}, {basis}: [{mine[0]}, {mine[1]}) ms overlaps [{other[0]}, {other[1]}) of "
                    f"{other[2]!r} on record; give the same intervals to correct them"
                )
    return refused


def _overlapped(known: Sequence[_Interval], mine: tuple[int, int]) -> _Interval | None:
    """The first of `known`, ascending and apart from each other or equal, that `mine` overlaps and is not."""
    at = bisect_left(known, (mine[0], 0, ""))
    for other in known[max(at - 1, 0) :]:
        if other[0] >= mine[1]:
            return None
        if other[:2] != mine and other[1] > mine[0]:
            return other
    return None
