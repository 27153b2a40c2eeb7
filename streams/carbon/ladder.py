"""Which carbon intensity stands for a moment: the nearest that is known, and how near that is.

live        the interval that holds the moment
recent      the newest interval before it, if it ended at most two hours earlier
last_week   the interval that held the moment seven days earlier
annual      the mean of the newest year that has begun, of the zone
country     the same of the country that the zone's name begins with
none        nothing: there are no grams, and never a zero

The view `zone_intensity_between` climbs the same ladder in SQL; a test holds the two against each other.
"""

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from schemas.side_inputs import GridIntensity

__all__ = ["NONE", "RUNGS", "Intensities", "Rung"]

RUNGS: Final = ("live", "recent", "last_week", "annual", "country", "none")
RECENT_NS: Final = 2 * 3600 * 1_000_000_000
"""A grid's mix changes over hours: what ended longer ago says less than the same hour of last week."""
WEEK_NS: Final = 7 * 86_400 * 1_000_000_000


@dataclass(frozen=True, slots=True)
class Rung:
    """What stands for a moment."""

    name: str
    """One of RUNGS."""
    intensity: GridIntensity | None
    """None for `none`."""


NONE: Final = Rung("none", None)


class Intensities:
    """Every version of every intensity, to be asked for one moment after another. Immutable once made."""

    def __init__(self, known: Iterable[GridIntensity]) -> None:
        series: dict[tuple[str, str, str], dict[int, GridIntensity]] = {}
        for one in known:
            starts = series.setdefault((one.zone, one.basis, one.resolution), {})
            held = starts.get(one.valid_from_ns)
            if held is None or _rank(one) < _rank(held):
                starts[one.valid_from_ns] = one
        self._series: dict[tuple[str, str, str], tuple[list[int], Sequence[GridIntensity]]] = {
            key: (sorted(starts), [starts[at] for at in sorted(starts)]) for key, starts in series.items()
        }

    def at(self, zone: str, basis: str, instant_ns: int) -> Rung:
        """The rung for one moment, in O(log n)."""
        latest = self._begun(zone, basis, "interval", instant_ns)
        if latest is not None and instant_ns < latest.valid_to_ns:
            return Rung("live", latest)
        if latest is not None and instant_ns < latest.valid_to_ns + RECENT_NS:
            return Rung("recent", latest)
        week_ago = self._begun(zone, basis, "interval", instant_ns - WEEK_NS)
        if week_ago is not None and instant_ns - WEEK_NS < week_ago.valid_to_ns:
            return Rung("last_week", week_ago)
        for name, place in (("annual", zone), ("country", zone.partition("-")[0])):
            year = self._begun(place, basis, "annual", instant_ns)
            if year is not None:
                return Rung(name, year)
        return NONE

    def edges_ns(self, zone: str) -> list[int]:
        """Instants at which the rung of `zone` may change, on any basis; ascending."""
        edges: set[int] = set()
        for (place, _, resolution), (starts, facts) in self._series.items():
            if place in (zone, zone.partition("-")[0]):
                ends = [one.valid_to_ns for one in facts]
                edges.update(starts, ends if resolution == "interval" else ())
                if resolution == "interval":
                    edges.update(end + RECENT_NS for end in ends)
                    edges.update(at + WEEK_NS for at in (*starts, *ends))
        return sorted(edges)

    def _begun(self, zone: str, basis: str, resolution: str, instant_ns: int) -> GridIntensity | None:
        starts, facts = self._series.get((zone, basis, resolution), ((), ()))
        at = bisect_right(starts, instant_ns)
        return facts[at - 1] if at else None


def _rank(one: GridIntensity) -> tuple[bool, int, str]:
    """Of two for the same interval the smaller counts: measured before estimated, then the higher version."""
    return one.estimated, -one.factor_version, one.source
