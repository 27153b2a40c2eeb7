"""Grams and litres of energy by place and window, on arrays: what the carbon views say, for one tenant and quickly.

The views value every row of a period; a report wants those of one tenant, and the factors of a month are few. So
each place's factors are resolved once into the steps of time over which none changes, and every window takes
the step that it lies in. A test holds the two against each other.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from streams.carbon.in_force import Factors
from streams.carbon.restatement import Known

__all__ = ["Grams", "Held", "edges_ns", "gpu_scope", "value"]

Floats = NDArray[np.float64]
JOULES_PER_KWH = 3.6e6
YEAR_S = 31_557_600.0


@dataclass(frozen=True, slots=True)
class Held:
    """N pieces of energy: where, when, how much, and how long accelerators were held for it."""

    zones: Sequence[str]
    sites: Sequence[str]
    gpu_models: Sequence[str]
    at_ns: NDArray[np.int64]
    """(N,) start of the window."""
    energy_j: Floats
    """(N,) of accelerators."""
    host_j: Floats
    gpu_s: Floats
    """(N,) accelerator-seconds, for manufacturing."""


@dataclass(frozen=True, slots=True)
class Grams:
    """(N,) each; nan where a factor is not on record: then there are no grams, and never a zero."""

    location_g: Floats
    """Accelerators and host, times PUE."""
    market_g: Floats
    """Location-based where no market figure is on record."""
    embodied_g: Floats
    site_water_l: Floats
    grid_water_l: Floats
    rungs: NDArray[np.str_]
    """How near the location-based intensity is to its time and place: `streams.carbon.ladder.RUNGS`."""


def gpu_scope(factors: Factors, gpu_model: str) -> str:
    """The name under which factors know an accelerator, such as H100; empty where only the default holds."""
    words = set(re.split(r"[^A-Z0-9]+", gpu_model.upper()))
    return next((name for name in factors.scopes("embodied_gpu", "meter_device") if name in words), "")


def value(held: Held, known: Known) -> Grams:
    """Multiply every piece with the factors in force at its place and time."""
    size = len(held.at_ns)
    factors = np.full((size, 6), math.nan)
    rungs = np.full(size, "none", dtype="<U16")
    places = list(zip(held.zones, held.sites, held.gpu_models, strict=True))
    index = {place: i for i, place in enumerate(dict.fromkeys(places))}
    of_place = np.fromiter((index[place] for place in places), np.int64, size)
    for place, number in index.items():
        chosen = np.flatnonzero(of_place == number)
        edges = edges_ns(known, *place)
        step = np.searchsorted(edges, held.at_ns[chosen], side="right") - 1
        for one in np.unique(step):
            inside = chosen[step == one]
            # Before the first edge nothing is known: any instant of the step tells its factors.
            at_ns = int(edges[one]) if one >= 0 else int(held.at_ns[inside[0]])
            factors[inside], rungs[inside] = _in_force(known, *place, at_ns)
    location, market, pue, wue, grid_water, embodied_g_per_s = factors.T
    kwh = (held.energy_j + held.host_j) / JOULES_PER_KWH
    return Grams(
        location_g=kwh * pue * location,
        market_g=kwh * pue * market,
        embodied_g=held.gpu_s * embodied_g_per_s,
        site_water_l=kwh * wue,
        grid_water_l=kwh * pue * grid_water,
        rungs=rungs,
    )


def edges_ns(known: Known, zone: str, site: str, gpu_model: str) -> NDArray[np.int64]:
    """The instants, ascending, between two of which no factor of a place changes; Unix ns."""
    gpu = gpu_scope(known.factors, gpu_model)
    edges = set(known.intensities.edges_ns(zone))
    for kind, scope in (
        *(("pue", site), ("wue", site), ("grid_water", zone), ("grid_water", _country(zone))),
        *((kind, gpu) for kind in ("embodied_gpu", "embodied_host", "lifetime")),
    ):
        edges |= known.factors.edges_ns(kind, scope)
    return np.asarray(sorted(edges), np.int64)


def _in_force(known: Known, zone: str, site: str, gpu_model: str, at_ns: int) -> tuple[list[float], str]:
    location = known.intensities.at(zone, "location", at_ns)
    market = known.intensities.at(zone, "market", at_ns)
    if market.intensity is None:
        market = location
    gpu = gpu_scope(known.factors, gpu_model)
    kg = known.factors.value("embodied_gpu", gpu, at_ns) + known.factors.value("embodied_host", gpu, at_ns)
    place = zone if known.factors.has("grid_water", zone) else _country(zone)
    figures = [
        location.intensity.g_per_kwh if location.intensity else math.nan,
        market.intensity.g_per_kwh if market.intensity else math.nan,
        known.factors.value("pue", site, at_ns),
        known.factors.value("wue", site, at_ns),
        known.factors.value("grid_water", place, at_ns),
        kg * 1000.0 / (known.factors.value("lifetime", gpu, at_ns) * YEAR_S),
    ]
    return figures, location.name


def _country(zone: str) -> str:
    return zone.partition("-")[0]
