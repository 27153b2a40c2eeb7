"""Figures as people read them: a unit that fits, enough digits and no more, thin spaces between thousands."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

__all__ = [
    "ENERGY_UNITS",
    "POWER_UNITS",
    "Unit",
    "count",
    "energy",
    "fitting",
    "number",
    "percent",
    "plain",
    "power",
    "signed",
]

THIN_SPACE: Final = "\u202f"
MINUS: Final = "\u2212"


@dataclass(frozen=True, slots=True)
class Unit:
    """A unit and how many base units (microjoules, watts) one of it is."""

    symbol: str
    size: float

    def of(self, value: float, decimals: int = 2) -> str:
        """`value` base units in this unit, without the symbol, for a column of figures below each other."""
        return grouped(f"{value / self.size:,.{decimals}f}") if value else "0"


ENERGY_UNITS: Final = (
    Unit("mWh", 3.6e6),
    Unit("Wh", 3.6e9),
    Unit("kWh", 3.6e12),
    Unit("MWh", 3.6e15),
    Unit("GWh", 3.6e18),
)
"""By size in microjoules."""
POWER_UNITS: Final = (Unit("W", 1.0), Unit("kW", 1e3), Unit("MW", 1e6))
"""By size in watts."""


def fitting(values: Iterable[float], units: tuple[Unit, ...]) -> Unit:
    """The unit in which the largest of `values` is at least 1, so that a column has one unit."""
    largest = max((abs(value) for value in values), default=0.0)
    chosen = units[0]
    for unit in units:
        if largest >= unit.size:
            chosen = unit
    return chosen


def energy(value_uj: float, digits: int = 4) -> str:
    """Energy with its unit, such as `259.4 Wh`."""
    unit = fitting([value_uj], ENERGY_UNITS)
    return f"{number(value_uj / unit.size, digits)} {unit.symbol}"


def power(value_w: float, digits: int = 3) -> str:
    """Power with its unit, such as `2.81 kW`."""
    unit = fitting([value_w], POWER_UNITS)
    return f"{number(value_w / unit.size, digits)} {unit.symbol}"


def number(value: float, digits: int = 4) -> str:
    """`value` to `digits` significant digits, never in exponent form; a whole part keeps all of its digits."""
    if value == 0:
        return "0"
    magnitude = math.floor(math.log10(abs(float(f"{value:.{digits - 1}e}"))))
    return grouped(f"{value:,.{max(0, digits - 1 - magnitude)}f}")


def plain(value: float) -> str:
    """A given figure as it was given: 5, 4, 0.5."""
    return grouped(f"{value:,g}")


def count(value: int) -> str:
    """A whole number with thin spaces between thousands."""
    return grouped(f"{value:,}")


def signed(value: float, decimals: int = 1) -> str:
    """A difference with its sign, such as `+12.1` or `−3.4`."""
    return grouped(f"{value:+,.{decimals}f}")


def percent(part: float, whole: float, decimals: int = 1) -> str:
    """`part` of `whole` in percent; a dash where there is no whole."""
    if not whole:
        return "–"
    return grouped(f"{100 * part / whole:,.{decimals}f} %") if part else "0 %"


def grouped(text: str) -> str:
    """Thin spaces for commas, and a minus sign as wide as a plus."""
    return text.replace(",", THIN_SPACE).replace("-", MINUS)
