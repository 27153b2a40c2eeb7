"""Electricity Maps, API version 3: average carbon intensity of consumption, location-based.

Documented at portal.electricitymaps.com: `GET /v3/carbon-intensity/past-range?zone=&start=&end=` with the header
`auth-token` answers {zone, data: [{zone, carbonIntensity, datetime, updatedAt, emissionFactorType, isEstimated,
estimationMethod}], temporalGranularity}; `/latest` one such object, `/history` a list under `history`. `datetime`
is the start of validity, carbonIntensity is gCO2eq/kWh, direct or lifecycle.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import urlencode

from producers.grid.answers import number, objects, parse_json
from producers.grid.checks import checked
from producers.grid.contract import Fetch
from producers.grid.times import instant_ns
from schemas.errors import SourceError
from schemas.side_inputs import GridIntensity

__all__ = ["ElectricityMaps", "parse_electricity_maps"]

BASE: Final = "https://api.electricitymaps.com"
GRANULARITIES: Final = {"5_minutes": 300, "15_minutes": 900, "hourly": 3600}
"""Seconds of validity; an answer without the field is hourly, as the API was before it."""
SPREAD_MEASURED: Final = 1.05
SPREAD_ESTIMATED: Final = 1.15
"""Geometric deviations of this project's choosing: emission factors of the sources, and an estimated mix on top."""


def parse_electricity_maps(body: bytes, now_ns: int) -> Sequence[GridIntensity]:
    """An answer of /latest, /history or /past-range; SourceError for anything else."""
    where = "Electricity Maps"
    found = parse_json(body, where)
    if "error" in found or "message" in found:
        raise SourceError(f"{where}: {found.get('error') or found.get('message')}")
    granularity = str(found.get("temporalGranularity", "hourly"))
    if granularity not in GRANULARITIES:
        raise SourceError(
            f"{where}: temporalGranularity {granularity!r} is not one of {', '.join(GRANULARITIES)}"
        )
    field = next((name for name in ("data", "history") if name in found), None)
    points = [found] if field is None else objects(found, field, where)
    return checked(
        (_intensity(point, found, GRANULARITIES[granularity], now_ns, where) for point in points), where
    )


def _intensity(
    point: Mapping[str, Any], answer: Mapping[str, Any], seconds: int, now_ns: int, where: str
) -> GridIntensity:
    zone = point.get("zone", answer.get("zone"))
    if not isinstance(zone, str) or not zone:
        raise SourceError(f"{where}: zone is {zone!r}; a zone key such as DE is documented")
    start_ns = instant_ns(point.get("datetime"), f"{where}: datetime")
    updated_ns = instant_ns(point["updatedAt"], f"{where}: updatedAt") if "updatedAt" in point else now_ns
    estimated = bool(point.get("isEstimated", False))
    kind = str(point.get("emissionFactorType", "lifecycle"))
    end_ns = start_ns + seconds * 1_000_000_000
    return GridIntensity(
        zone=zone,
        valid_from_ns=start_ns,
        valid_to_ns=end_ns,
        g_per_kwh=number(point, "carbonIntensity", where),
        basis="location",
        source=f"Electricity Maps v3, {kind}"
        + (f", {point['estimationMethod']}" if point.get("estimationMethod") else ""),
        estimated=estimated,
        lag_s=(updated_ns - end_ns) / 1e9,
        spread=SPREAD_ESTIMATED if estimated else SPREAD_MEASURED,
        factor_version=max(updated_ns // 1_000_000, 1),
    )


@dataclass(frozen=True, slots=True)
class ElectricityMaps:
    """The API with a token."""

    token: str
    fetch: Fetch
    name: str = "electricity-maps"
    base: str = BASE

    def intensities(self, zone: str, from_ns: int, to_ns: int, now_ns: int) -> Sequence[GridIntensity]:
        """See `Source`."""
        start, end = (datetime.fromtimestamp(ns / 1e9, UTC).isoformat() for ns in (from_ns, to_ns))
        query = urlencode({"zone": zone, "start": start, "end": end})
        body = self.fetch(f"{self.base}/v3/carbon-intensity/past-range?{query}", {"auth-token": self.token})
        return parse_electricity_maps(body, now_ns)
