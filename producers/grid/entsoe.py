"""ENTSO-E Transparency Platform: actual generation per production type (A75), turned into an average intensity.

    g/kWh = Σ MW of a type × its lifecycle factor / Σ MW of types with a factor

Documented in the platform's API guide: `GET /api?documentType=A75&processType=A16&in_Domain=&periodStart=
&periodEnd=` answers a GL_MarketDocument of TimeSeries (inBiddingZone_Domain: generation; outBiddingZone_Domain:
consumption, such as pumping, left out), each with MktPSRType/psrType, and Periods of timeInterval, resolution and
Points (position, quantity in MW); with curveType A03 a position left out repeats the one before. What is wrong
comes as an Acknowledgement_MarketDocument with a Reason. Generation in the zone: imports are not seen.
"""

# Documents with a DTD are refused before they are parsed, so that no entity can be declared.
import xml.etree.ElementTree as ET
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final
from urllib.parse import urlencode

from producers.grid.checks import checked
from producers.grid.contract import Fetch
from producers.grid.times import instant_ns
from schemas.errors import SourceError
from schemas.side_inputs import GridIntensity

__all__ = ["Entsoe", "parse_entsoe"]

BASE: Final = "https://web-api.tp.entsoe.eu/api"
WHERE: Final = "ENTSO-E"
RESOLUTIONS_S: Final = {"PT15M": 900, "PT30M": 1800, "PT60M": 3600, "PT1H": 3600}
LIFECYCLE_G_PER_KWH: Final[Mapping[str, float]] = {
    "B01": 230.0, "B02": 820.0, "B03": 820.0, "B04": 490.0, "B05": 820.0, "B06": 650.0, "B07": 820.0,
    "B08": 820.0, "B09": 38.0, "B11": 24.0, "B12": 24.0, "B13": 17.0, "B14": 12.0, "B16": 48.0, "B18": 12.0,
    "B19": 11.0,
}  # fmt: skip
"""By production type: medians of IPCC AR5 WG3 Annex III, table A.III.2 (2014); lignite, peat, oil shale and gas
from coal as coal, oil 650 (Electricity Maps). Types without a figure there (B10 pumped storage, B15 other
renewable, B17 waste, B20 other) are left out of both sums."""
LEAST_KNOWN: Final = 0.8
"""Part of the generation that must have a factor; below, the figure would describe another grid."""
SPREAD: Final = 1.15
"""Geometric deviation of this project's choosing: factors are medians over plants, and imports are not seen."""
NO_DATA: Final = "999"


def parse_entsoe(body: bytes, zone: str, now_ns: int) -> Sequence[GridIntensity]:
    """Intensities of our `zone` in an answer; [] where the platform says that it has no data.

    Raises SourceError for HTML, for other documents, for a resolution or a unit that is not documented, and
    where less than 80 % of the generation is of a type with a factor.
    """
    root = _root(body)
    kind = _name(root)
    if kind == "Acknowledgement_MarketDocument":
        code, text = _text(root, "Reason/code"), _text(root, "Reason/text")
        if code == NO_DATA and "No matching data" in text:
            return []
        raise SourceError(f"{WHERE}: refused with {code}: {text}")
    if kind != "GL_MarketDocument":
        raise SourceError(f"{WHERE}: answered a {kind}; a GL_MarketDocument is documented")
    created_ns = instant_ns(_text(root, "createdDateTime"), f"{WHERE}: createdDateTime")
    megawatts: dict[tuple[int, int], dict[str, float]] = defaultdict(lambda: defaultdict(float))
    for series in _children(root, "TimeSeries"):
        if _find(series, "outBiddingZone_Domain.mRID") is not None:
            continue
        unit = _text(series, "quantity_Measure_Unit.name")
        if unit != "MAW":
            raise SourceError(f"{WHERE}: quantities in {unit!r}; MAW is documented")
        for interval, quantity in _points(series):
            megawatts[interval][_text(series, "MktPSRType/psrType")] += quantity
    found = [_intensity(zone, interval, mix, created_ns) for interval, mix in megawatts.items()]
    return checked([one for one in found if one.valid_from_ns < now_ns], WHERE)


def _intensity(
    zone: str, interval: tuple[int, int], mix: Mapping[str, float], created_ns: int
) -> GridIntensity:
    positive = {kind: max(megawatts, 0.0) for kind, megawatts in mix.items()}
    total = sum(positive.values())
    known = sum(megawatts for kind, megawatts in positive.items() if kind in LIFECYCLE_G_PER_KWH)
    if total <= 0 or known < LEAST_KNOWN * total:
        missing = ", ".join(sorted(kind for kind in positive if kind not in LIFECYCLE_G_PER_KWH)) or "nothing"
        raise SourceError(
            f"{WHERE}: zone {zone!r} at {interval[0]} ns: {known:g} of {total:g} MW have an emission factor "
            f"(without: {missing}); {LEAST_KNOWN:.0%} are needed"
        )
    grams = sum(
        LIFECYCLE_G_PER_KWH[kind] * mw for kind, mw in positive.items() if kind in LIFECYCLE_G_PER_KWH
    )
    return GridIntensity(
        zone=zone,
        valid_from_ns=interval[0],
        valid_to_ns=interval[1],
        g_per_kwh=grams / known,
        basis="location",
        source="ENTSO-E A75, IPCC AR5 lifecycle medians",
        estimated=False,
        lag_s=(created_ns - interval[1]) / 1e9,
        spread=SPREAD,
        factor_version=max(created_ns // 1_000_000, 1),
    )


def _points(series: ET.Element) -> Iterator[tuple[tuple[int, int], float]]:
    """((from, to) in Unix ns, MW) of every position; one that is left out repeats the one before (A03)."""
    repeats = _text(series, "curveType") == "A03"
    for period in _children(series, "Period"):
        resolution = _text(period, "resolution")
        if resolution not in RESOLUTIONS_S:
            raise SourceError(
                f"{WHERE}: resolution {resolution!r}; one of {', '.join(RESOLUTIONS_S)} is needed"
            )
        step_ns = RESOLUTIONS_S[resolution] * 1_000_000_000
        start_ns, end_ns = (
            instant_ns(_text(period, f"timeInterval/{edge}"), f"{WHERE}: {edge}") for edge in ("start", "end")
        )
        given: dict[int, float] = {}
        for point in _children(period, "Point"):
            given[int(_number(point, "position"))] = _number(point, "quantity")
        last: float | None = None
        for position in range(1, (end_ns - start_ns) // step_ns + 1):
            last = given.get(position, last if repeats else None)
            if last is not None:
                at_ns = start_ns + (position - 1) * step_ns
                yield (at_ns, at_ns + step_ns), last


def _root(body: bytes) -> ET.Element:
    beginning = body[:200].decode("utf-8", "replace")
    if b"<!DOCTYPE" in body[:2000] or b"<!ENTITY" in body:
        raise SourceError(f"{WHERE}: answered {beginning[:80]!r}, a document with a DTD (an error page?)")
    try:
        return ET.fromstring(body)  # noqa: S314 - see above
    except ET.ParseError as error:
        raise SourceError(f"{WHERE}: answered {beginning[:80]!r}, which is not XML ({error})") from error


def _name(element: ET.Element) -> str:
    return element.tag.rpartition("}")[2]


def _children(element: ET.Element, name: str) -> list[ET.Element]:
    return [child for child in element if _name(child) == name]


def _find(element: ET.Element, path: str) -> ET.Element | None:
    found: ET.Element | None = element
    for name in path.split("/"):
        found = next(iter(_children(found, name)), None) if found is not None else None
    return found


def _text(element: ET.Element, path: str) -> str:
    """The text at `path`; empty where there is none."""
    found = _find(element, path)
    return (found.text or "").strip() if found is not None else ""


def _number(element: ET.Element, path: str) -> float:
    text = _text(element, path)
    try:
        value = float(text)
    except ValueError as error:
        raise SourceError(f"{WHERE}: {path} is {text!r}; a number is documented") from error
    if not abs(value) < 1e7:
        raise SourceError(f"{WHERE}: {path} is {text!r}; no zone has 10 TW")
    return value


@dataclass(frozen=True, slots=True)
class Entsoe:
    """The API with a security token; `domains` names the EIC code of each zone of ours."""

    token: str
    fetch: Fetch
    domains: Mapping[str, str]
    name: str = "entso-e"
    base: str = BASE

    def intensities(self, zone: str, from_ns: int, to_ns: int, now_ns: int) -> Sequence[GridIntensity]:
        """See `Source`."""
        if zone not in self.domains:
            raise SourceError(
                f"{WHERE}: zone {zone!r} has no EIC code here; there are {', '.join(self.domains)}"
            )
        start, end = (datetime.fromtimestamp(ns / 1e9, UTC).strftime("%Y%m%d%H%M") for ns in (from_ns, to_ns))
        query = {"documentType": "A75", "processType": "A16", "in_Domain": self.domains[zone]}
        query |= {"periodStart": start, "periodEnd": end, "securityToken": self.token}
        return parse_entsoe(self.fetch(f"{self.base}?{urlencode(query)}", {}), zone, now_ns)
