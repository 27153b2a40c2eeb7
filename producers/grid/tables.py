"""Factors from files: intensities of one's own as CSV, and the annual tables that ship with the project."""

import csv
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Final, TypeVar

from producers.grid.checks import checked
from producers.grid.times import instant_ns
from schemas.errors import DataError, SourceError
from schemas.factors import Factor
from schemas.side_inputs import GridIntensity

__all__ = ["CsvFile", "annual_intensities", "read_factors", "read_intensities", "shipped_factors"]

ANNUAL_SPREAD: Final = 1.15
"""A year's mean beside an hour of the same grid; README.md of the data says so."""
SHIPPED_VERSION: Final = 1_789_000_000_000
"""Unix ms, September 2026: when the tables were taken from their sources. A newer edition is a higher version."""
SOURCES: Final[Mapping[str, str]] = {
    "owid": "Our World in Data via CodeCarbon 3.3.2",
    "codecarbon-nordic": "CodeCarbon 3.3.2, ENTSO-E A75 of the year",
    "egrid": "EPA eGRID2023 via CodeCarbon 3.3.2",
}
NEEDED: Final = ("zone", "valid_from", "valid_to", "g_per_kwh")
_YEAR_NS: Final = 366 * 86_400 * 1_000_000_000

Row = Mapping[str, str]
Made = TypeVar("Made")


def read_intensities(path: Path) -> Sequence[GridIntensity]:
    """A CSV file with zone, valid_from, valid_to (ISO 8601 with offset) and g_per_kwh.

    Optional columns: basis (location), source (the file's name), estimated (0 or 1), spread (1), lag_s (0),
    factor_version (1), resolution (interval). DataError names file, line, column, value and fix.
    """
    found = list(_each(path, NEEDED, lambda row: _intensity(row, path)))
    try:
        return checked(found, path.name)
    except SourceError as error:
        raise DataError(str(error)) from error


def _intensity(row: Row, path: Path) -> GridIntensity:
    return GridIntensity(
        zone=row["zone"],
        valid_from_ns=instant_ns(row["valid_from"], "valid_from"),
        valid_to_ns=instant_ns(row["valid_to"], "valid_to"),
        g_per_kwh=_number(row, "g_per_kwh"),
        basis=row.get("basis") or "location",
        source=row.get("source") or path.name,
        estimated=_number(row, "estimated", 0.0) != 0.0,
        resolution=row.get("resolution") or "interval",
        lag_s=_number(row, "lag_s", 0.0),
        spread=_number(row, "spread", 1.0),
        factor_version=int(_number(row, "factor_version", 1.0)),
    )


def read_factors(path: Path) -> Sequence[Factor]:
    """A CSV file with kind, scope, effective_from, value and source; optional spread, licence, vintage, version.

    DataError names file, line, column, value and fix; two versions of one factor that begin at once are one.
    """
    needed = ("kind", "scope", "effective_from", "value", "source")
    return list(_each(path, needed, _factor))


def _factor(row: Row) -> Factor:
    date = row["effective_from"]
    return Factor(
        kind=row["kind"],
        scope=row["scope"],
        effective_from_ns=instant_ns(f"{date}T00:00:00Z" if len(date) == 10 else date, "effective_from"),
        value=_number(row, "value"),
        spread=_number(row, "spread", 1.0),
        source=row["source"],
        licence=row.get("licence") or "",
        vintage=row.get("vintage") or "",
        factor_version=int(_number(row, "factor_version", float(SHIPPED_VERSION))),
    )


def annual_intensities() -> Sequence[GridIntensity]:
    """The shipped table: a year's mean for 274 countries, states and bidding zones, each from its own year on."""

    def annual(row: Row) -> GridIntensity:
        start_ns = instant_ns(f"{row['year']}-01-01T00:00:00Z", "year")
        return GridIntensity(
            zone=row["zone"],
            valid_from_ns=start_ns,
            valid_to_ns=start_ns + _YEAR_NS,
            g_per_kwh=_number(row, "g_per_kwh"),
            basis="location",
            source=f"{SOURCES[row['source']]}, {row['year']}",
            estimated=False,
            resolution="annual",
            lag_s=0.0,
            spread=ANNUAL_SPREAD,
            factor_version=SHIPPED_VERSION,
        )

    return list(_each(_shipped("annual_intensity.csv"), ("zone", "year", "g_per_kwh", "source"), annual))


def shipped_factors() -> Sequence[Factor]:
    """PUE, site and grid water, manufacturing and lifetime as they ship, until better ones are published."""

    def water(row: Row) -> Factor:
        return Factor(
            kind="grid_water",
            scope=row["zone"],
            effective_from_ns=instant_ns("2000-01-01T00:00:00Z", "effective_from"),
            value=_number(row, "l_per_kwh"),
            spread=2.0 if row["zone"] == "default" else 1.5,
            source="EcoLogits 0.11.3, electricity_mixes.json, wue",
            licence="MPL-2.0",
            vintage="2026",
            factor_version=SHIPPED_VERSION,
        )

    waters = _each(_shipped("grid_water.csv"), ("zone", "l_per_kwh"), water)
    return [*read_factors(_shipped("factors.csv")), *waters]


@dataclass(frozen=True, slots=True)
class CsvFile:
    """A CSV file of intensities as a source; read anew at each call, so that a newer file is seen."""

    path: Path
    name: str = "csv"

    def intensities(self, zone: str, from_ns: int, to_ns: int, now_ns: int) -> Sequence[GridIntensity]:
        """See `Source`."""
        del now_ns
        try:
            found = read_intensities(self.path)
        except DataError as error:
            raise SourceError(str(error)) from error
        if all(one.zone != zone for one in found):
            raise SourceError(f"{self.path.name}: zone {zone!r} is not in the file; add its rows")
        return [
            one
            for one in found
            if one.zone == zone and one.valid_from_ns < to_ns and one.valid_to_ns > from_ns
        ]


def _shipped(name: str) -> Path:
    return Path(str(files(__package__) / "data" / name))


def _each(path: Path, needed: Sequence[str], make: Callable[[Row], Made]) -> Iterator[Made]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            missing = [name for name in needed if name not in (reader.fieldnames or ())]
            if missing:
                raise DataError(
                    f"{path}: column {', '.join(missing)} is missing; the first line names columns"
                )
            for row in reader:
                try:
                    yield make({name: (value or "").strip() for name, value in row.items() if name})
                except (SourceError, DataError) as error:
                    raise DataError(f"{path}:{reader.line_num}: {error}") from error
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(
            f"{path}: cannot be read as CSV ({error}); it must be UTF-8 with a header line"
        ) from error


def _number(row: Row, column: str, default: float | None = None) -> float:
    text = row.get(column, "")
    if not text and default is not None:
        return default
    try:
        return float(text)
    except ValueError as error:
        raise DataError(f"column {column} is {text!r}; a number is needed") from error
