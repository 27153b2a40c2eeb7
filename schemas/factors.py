"""Factors that the ledger is multiplied with beside the grid's: power usage, water, manufacturing, meters."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from schemas.errors import DataError
from schemas.limits import MAX_TIME_NS
from schemas.side_input_codec import FACTOR_LIMITS

__all__ = ["KINDS", "Factor", "Kind"]


@dataclass(frozen=True, slots=True)
class Kind:
    """What factors of one kind mean and may be."""

    unit: str
    least: float
    most: float
    scope: str
    """What a scope names: a site, a zone or a GPU; `default` stands for all others."""


KINDS: Final[Mapping[str, Kind]] = {
    "pue": Kind("1", *FACTOR_LIMITS["pue"], "site"),
    "wue": Kind("L/kWh", *FACTOR_LIMITS["wue"], "site"),
    "grid_water": Kind("L/kWh", 0.0, 1000.0, "zone"),
    "embodied_gpu": Kind("kgCO2e", *FACTOR_LIMITS["embodied_gpu"], "GPU"),
    "embodied_host": Kind("kgCO2e per GPU", *FACTOR_LIMITS["embodied_host"], "GPU"),
    "lifetime": Kind("a", *FACTOR_LIMITS["lifetime"], "GPU"),
    "meter_device": Kind("1", 0.0, 1.0, "GPU"),
    "meter_generation": Kind("1", 0.0, 1.0, "GPU"),
    "meter_host": Kind("1", 0.0, 1.0, "site"),
}


@dataclass(frozen=True, slots=True)
class Factor:
    """One version of one factor, checked when it is made: DataError names the field, the value and the fix."""

    kind: str
    scope: str
    effective_from_ns: int
    value: float
    spread: float
    """Geometric standard deviation of its log-normal error, 1 or more."""
    source: str
    licence: str
    vintage: str
    factor_version: int
    """When the source said so, Unix milliseconds."""

    def __post_init__(self) -> None:
        kind = KINDS.get(self.kind)
        if kind is None:
            raise DataError(f"factor kind {self.kind!r} is unknown: use one of {', '.join(KINDS)}")
        name = f"{self.kind} of {self.scope!r}"
        if not self.scope:
            raise DataError(
                f"factor {self.kind} has no scope: name a {kind.scope}, or default for all others"
            )
        if not (math.isfinite(self.value) and kind.least <= self.value <= kind.most):
            raise DataError(
                f"{name} = {self.value!r}: must be from {kind.least:g} to {kind.most:g} {kind.unit}; "
                "check the unit"
            )
        if not (math.isfinite(self.spread) and self.spread >= 1.0):
            raise DataError(f"spread of {name} = {self.spread!r}: a geometric deviation is 1 (exact) or more")
        if not 0 <= self.effective_from_ns <= MAX_TIME_NS:
            raise DataError(f"{name}: effective_from {self.effective_from_ns} ns is no time of this era")
        if not self.source:
            raise DataError(f"{name} names no source: a figure without one cannot be checked")
        if self.factor_version < 1:
            raise DataError(f"{name}: factor_version {self.factor_version} must be Unix milliseconds above 0")

    @property
    def unit(self) -> str:
        """Unit of `value`."""
        return KINDS[self.kind].unit
