"""WattTime, API version 3: marginal emissions, marked as such and never part of a statement's sum.

Documented at docs.watttime.org: `GET /login` with basic authentication answers {token}; `GET /v3/historical?
region=&start=&end=&signal_type=co2_moer` with a bearer token answers {data: [{point_time, value, last_updated}],
meta: {data_point_period_seconds, region, signal_type, units, warnings}}; units are `lbs_co2_per_mwh`.
"""

from base64 import b64encode
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

__all__ = ["WattTime", "parse_watttime"]

BASE: Final = "https://api.watttime.org"
G_PER_KWH: Final = {"lbs_co2_per_mwh": 0.45359237, "g_co2_per_kwh": 1.0, "kg_co2_per_mwh": 1.0}
"""Grams per kilowatt-hour of one of each unit."""
SPREAD: Final = 1.3
"""Geometric deviation of this project's choosing: which station answers one more kilowatt-hour is modelled."""


def parse_watttime(body: bytes, zone: str, now_ns: int) -> Sequence[GridIntensity]:
    """An answer of /v3/historical for the region that is our `zone`; SourceError for anything else."""
    where = "WattTime"
    found = parse_json(body, where)
    if "error" in found or "meta" not in found:
        raise SourceError(f"{where}: {found.get('message') or found.get('error') or 'no meta in the answer'}")
    meta: Mapping[str, Any] = found["meta"]
    unit = meta.get("units")
    if meta.get("signal_type") != "co2_moer" or unit not in G_PER_KWH:
        raise SourceError(
            f"{where}: signal {meta.get('signal_type')!r} in {unit!r}; co2_moer in one of {', '.join(G_PER_KWH)} "
            "is needed"
        )
    period_ns = round(number(meta, "data_point_period_seconds", where) * 1e9)
    if period_ns <= 0:
        raise SourceError(f"{where}: data_point_period_seconds {period_ns / 1e9:g} must be above 0")

    def intensity(point: Mapping[str, Any]) -> GridIntensity:
        start_ns = instant_ns(point.get("point_time"), f"{where}: point_time")
        said = point.get("last_updated")
        said_ns = instant_ns(said, f"{where}: last_updated") if said else now_ns
        return GridIntensity(
            zone=zone,
            valid_from_ns=start_ns,
            valid_to_ns=start_ns + period_ns,
            g_per_kwh=number(point, "value", where) * G_PER_KWH[unit],
            basis="marginal",
            source=f"WattTime v3 co2_moer, region {meta.get('region')}",
            estimated=True,
            lag_s=(said_ns - start_ns - period_ns) / 1e9,
            spread=SPREAD,
            factor_version=max(said_ns // 1_000_000, 1),
        )

    return checked((intensity(point) for point in objects(found, "data", where)), where)


@dataclass(frozen=True, slots=True)
class WattTime:
    """The API with an account; `regions` names WattTime's region of each zone of ours."""

    user: str
    password: str
    fetch: Fetch
    regions: Mapping[str, str]
    name: str = "watttime"
    base: str = BASE

    def intensities(self, zone: str, from_ns: int, to_ns: int, now_ns: int) -> Sequence[GridIntensity]:
        """See `Source`; a login for each call, since tokens last half an hour."""
        login = b64encode(f"{self.user}:{self.password}".encode()).decode()
        answer = parse_json(
            self.fetch(f"{self.base}/login", {"Authorization": f"Basic {login}"}), "WattTime login"
        )
        token = answer.get("token")
        if not isinstance(token, str) or not token:
            raise SourceError("WattTime login: no token in the answer; check user and password")
        start, end = (datetime.fromtimestamp(ns / 1e9, UTC).isoformat() for ns in (from_ns, to_ns))
        region = self.regions.get(zone, zone)
        query = urlencode({"region": region, "start": start, "end": end, "signal_type": "co2_moer"})
        body = self.fetch(f"{self.base}/v3/historical?{query}", {"Authorization": f"Bearer {token}"})
        return parse_watttime(body, zone, now_ns)
