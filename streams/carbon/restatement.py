"""What other factors would change in a period, by tenant, before anyone decides: the ledger's joules stay.

For every zone, site and GPU in the period, the factors before and after are resolved into steps of time, with the
ladder's own arithmetic; the database multiplies its energy with both.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from schemas.errors import DataError
from streams.carbon.in_force import Factors
from streams.carbon.ladder import Intensities
from streams.carbon.restatement_queries import CHANGES, PLACES
from streams.ledger.query import rows_of

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

__all__ = ["Change", "Known", "Place", "Steps", "places", "restated", "steps", "timestamp"]

DAY_NS: Final = 86_400 * 1_000_000_000
"""Asked for a day at a time: its steps fit one query."""
FUTURE: Final = "2299-12-31 23:59:59.999"


@dataclass(frozen=True, slots=True)
class Known:
    """All factors, as known at one time."""

    intensities: Intensities
    factors: Factors


@dataclass(frozen=True, slots=True)
class Place:
    """What factors depend on beside time."""

    zone: str
    site: str
    gpu: str


@dataclass(frozen=True, slots=True)
class Steps:
    """Factors of one place from one instant on; nan where nothing is known."""

    place: Place
    from_ns: int
    location_before: float
    location_after: float
    market_before: float
    market_after: float
    pue_before: float
    pue_after: float
    embodied_ratio: float


@dataclass(frozen=True, slots=True)
class Change:
    """One tenant over the period; grams, operational ones with PUE. `tenant` is empty for what has none."""

    tenant: str
    energy_uj: int
    location_before_g: float
    location_after_g: float
    market_before_g: float
    market_after_g: float
    embodied_before_g: float
    embodied_after_g: float

    @property
    def changes(self) -> bool:
        """Whether any figure differs by more than rounding, or becomes known, or unknown."""
        pairs = (
            (self.location_before_g, self.location_after_g),
            (self.market_before_g, self.market_after_g),
            (self.embodied_before_g, self.embodied_after_g),
        )
        return any(_differ(before, after) for before, after in pairs)


def _differ(before: float, after: float) -> bool:
    if math.isnan(before) or math.isnan(after):
        return math.isnan(before) != math.isnan(after)
    return not math.isclose(before, after, rel_tol=1e-9, abs_tol=1e-12)


def steps(place: Place, before: Known, after: Known, from_ns: int, to_ns: int) -> Iterator[Steps]:
    """Every stretch of [from, to) over which no factor of `place` changes, neighbours that agree made one."""
    edges = {from_ns}
    for known in (before, after):
        edges.update(known.intensities.edges_ns(place.zone))
        edges |= known.factors.edges_ns("pue", place.site)
        for kind in ("embodied_gpu", "embodied_host", "lifetime"):
            edges |= known.factors.edges_ns(kind, place.gpu)
    last: tuple[float, ...] | None = None
    for at_ns in sorted(edge for edge in edges if from_ns <= edge < to_ns):
        embodied = [_embodied(known.factors, place.gpu, at_ns) for known in (before, after)]
        found = (
            *(
                _g_per_kwh(known, place.zone, basis, at_ns)
                for basis in ("location", "market")
                for known in (before, after)
            ),
            *(known.factors.value("pue", place.site, at_ns) for known in (before, after)),
            embodied[1] / embodied[0] if embodied[0] > 0 else math.nan,
        )
        if last is None or any(_differ(*pair) for pair in zip(last, found, strict=True)):
            yield Steps(place, at_ns, *found)
        last = found


def _g_per_kwh(known: Known, zone: str, basis: str, at_ns: int) -> float:
    rung = known.intensities.at(zone, basis, at_ns)
    if rung.intensity is None and basis == "market":
        rung = known.intensities.at(zone, "location", at_ns)
    return rung.intensity.g_per_kwh if rung.intensity else math.nan


def _embodied(factors: Factors, gpu: str, at_ns: int) -> float:
    """Grams per GPU and second, up to a constant."""
    kg = factors.value("embodied_gpu", gpu, at_ns) + factors.value("embodied_host", gpu, at_ns)
    return kg / factors.value("lifetime", gpu, at_ns)


def places(client: "Client", start: str, end: str, zone: str = "", as_of: str = FUTURE) -> list[Place]:
    """Where anything ran in [start, end); of one zone if it is named. DataError where nothing did."""
    asked = {"start": start, "end": end, "as_of": as_of, "zone": zone}
    found = [Place(*row) for row in rows_of(client, PLACES, asked)]
    if not found:
        where = f"in zone {zone!r}" if zone else "anywhere"
        raise DataError(f"no batch is on record {where} from {start} to {end}: check the period and the zone")
    return found


def restated(
    client: "Client", start_ns: int, end_ns: int, found: Iterable[Place], before: Known, after: Known
) -> list[Change]:
    """By tenant, the largest change first. Raises DatabaseUnavailable; changes nothing."""
    of_tenant: dict[str, list[float]] = {}
    chosen = list(found)
    for day_ns in range(start_ns, end_ns, DAY_NS):
        to_ns = min(day_ns + DAY_NS, end_ns)
        # Loads up to 31 days earlier are charged within the day: their factors are needed as well.
        earlier_ns = day_ns - 31 * DAY_NS
        table = [one for place in chosen for one in steps(place, before, after, earlier_ns, to_ns)]
        for tenant, *figures in rows_of(client, CHANGES, _asked(table, day_ns, to_ns)):
            sums = of_tenant.setdefault(tenant, [0.0] * 7)
            of_tenant[tenant] = [a + float(b) for a, b in zip(sums, figures, strict=True)]
    changes = [Change(tenant, round(uj), *grams) for tenant, (uj, *grams) in of_tenant.items()]
    return sorted(changes, key=lambda one: (-abs(one.location_after_g - one.location_before_g), one.tenant))


def _asked(table: Sequence[Steps], start_ns: int, end_ns: int) -> dict[str, object]:
    figures = [field.name for field in fields(Steps) if field.name not in ("place", "from_ns")]
    return {
        "start": timestamp(start_ns),
        "end": timestamp(end_ns),
        "as_of": FUTURE,
        "zones": [one.place.zone for one in table],
        "sites": [one.place.site for one in table],
        "gpus": [one.place.gpu for one in table],
        "from_ms": [one.from_ns // 1_000_000 for one in table],
        **{name: [getattr(one, name) for one in table] for name in figures},
    }


def timestamp(at_ns: int) -> str:
    """As ClickHouse reads a DateTime64(3, 'UTC')."""
    return datetime.fromtimestamp(at_ns // 1_000_000 / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]
