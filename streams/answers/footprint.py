"""A tenant's figures in the forms of standards: SCI per token and per workflow, GHG Protocol and ESRS rows.

SCI (ISO/IEC 21031:2024) is ((E · I) + M) per R: operational grams of accelerators and hosts times PUE, plus
manufacturing by the time held, per functional unit. Offsets have no place in it, so it uses the location-based
intensity. SCI for AI gives a consumer's score per token for language models, and per workflow execution for agents,
which counts every call that the workflow made.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from schemas.errors import DataError
from streams.answers.report import Report

__all__ = ["Score", "ghg_rows", "sci_per_token", "sci_per_workflow"]

UJ_PER_MWH: Final = 3_600_000_000_000_000
UJ_PER_KWH: Final = 3_600_000_000_000


@dataclass(frozen=True, slots=True)
class Score:
    """One SCI score and what it is made of."""

    functional_unit: str
    units: int
    """R."""
    operational_g: float
    """E · I"""
    embodied_g: float
    """M"""
    energy_kwh: float
    """Accelerators and cold starts; E also has the hosts and PUE, by the factors of each window."""
    without_factor_kwh: float
    """Energy without a factor on record: its grams are missing from the score."""

    @property
    def g_per_unit(self) -> float:
        """The score."""
        return (self.operational_g + self.embodied_g) / self.units

    def row(self, subject: Mapping[str, Any]) -> dict[str, Any]:
        """As one row of a table, after what names it."""
        return {
            **subject,
            "functional_unit": self.functional_unit,
            "functional_units": self.units,
            "sci_g_per_unit": self.g_per_unit,
            "operational_g": self.operational_g,
            "embodied_g": self.embodied_g,
            "energy_kwh": self.energy_kwh,
            "energy_without_factor_kwh": self.without_factor_kwh,
        }


def sci_per_token(report: Report) -> Score:
    """A tenant's score per token, prompt tokens and delivered ones alike.

    Raises DataError where there were no tokens, or no factor is on record.
    """
    carbon = report.carbon
    if carbon is None or carbon.location_g is None:
        raise DataError(
            f"no carbon factor is on record for the energy of {report.tenant!r}: "
            "load one with `wattledger factors`, then ask again"
        )
    tokens = sum(line.prompt_tokens + line.emitted_tokens for line in report.models)
    if not tokens:
        raise DataError(f"{report.tenant!r} has no tokens in this period: there is nothing to divide by")
    return Score(
        "token",
        tokens,
        carbon.location_g,
        carbon.embodied_g or 0.0,
        report.total_uj / UJ_PER_KWH,
        carbon.without_intensity_uj / UJ_PER_KWH,
    )


def sci_per_workflow(name: str, receipts: Iterable[Mapping[str, Any]], executions: int) -> Score:
    """A workflow's score per execution, from the receipts of every call that its executions made.

    Receipts carry operational grams of the accelerators without PUE, and none of manufacturing: the score says so
    in its unit. Raises DataError where a receipt has no grams, or there are none.
    """
    found = list(receipts)
    if not found or executions < 1:
        raise DataError(f"workflow {name!r}: {len(found)} calls in {executions} executions make no score")
    grams = [receipt["carbon_g"]["location"] for receipt in found]
    if any(one is None for one in grams):
        missing = next(receipt["request_id"] for receipt in found if receipt["carbon_g"]["location"] is None)
        raise DataError(f"workflow {name!r}: request {missing!r} has no carbon factor on record")
    return Score(
        "workflow execution (accelerators, without PUE and manufacturing)",
        executions,
        float(sum(grams)),
        0.0,
        sum(receipt["energy_wh"] for receipt in found) / 1000,
        0.0,
    )


def ghg_rows(report: Report) -> list[dict[str, Any]]:
    """A tenant's rows for its own inventory: bought inference is scope 3, category 1, by both methods.

    Quantities that no factor covers are None, never 0; `coverage` is the part of the energy that has one.
    """
    carbon = report.carbon
    total_uj = report.total_uj
    covered = 1.0 - carbon.without_intensity_uj / total_uj if carbon and total_uj else 0.0
    tiers = sorted({line.tier for line in report.models})
    common = {
        "tenant": report.tenant,
        "from": report.start,
        "to": report.end,
        "coverage": covered,
        "data_quality": ", ".join(f"tier {tier}" for tier in tiers),
        "boundary": report.boundary,
        "as_of": report.as_of,
    }
    grams = (carbon.location_g, carbon.market_g, carbon.embodied_g) if carbon else (None, None, None)
    water_l = carbon.water_l if carbon else None
    purchased = "3.1 purchased goods and services"
    entries = (
        ("ESRS E1-5", "energy consumption", "", "", total_uj / UJ_PER_MWH, "MWh"),
        ("ESRS E1-6", purchased, "3", "location-based", _tonnes(grams[0]), "tCO2e"),
        ("ESRS E1-6", purchased, "3", "market-based", _tonnes(grams[1]), "tCO2e"),
        ("ESRS E1-6", f"{purchased}: manufacturing", "3", "embodied", _tonnes(grams[2]), "tCO2e"),
        ("ESRS E3-4", "water consumption", "", "", None if water_l is None else water_l / 1000, "m3"),
    )  # fmt: skip
    return [
        {
            "datapoint": datapoint,
            "what": what,
            "scope": scope,
            "method": method,
            "quantity": quantity,
            "unit": unit,
        }
        | common
        for datapoint, what, scope, method, quantity, unit in entries
    ]


def _tonnes(grams: float | None) -> float | None:
    return None if grams is None else grams / 1e6
