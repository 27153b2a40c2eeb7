"""A report as FOCUS 1.3 cost and usage rows: one origin charge per model, split among tenants by an allocation.

Each allocated row carries the method and its ratio of the model's energy in the period; the rows of one origin
charge, over all tenants, have ratios that sum to 1. Energy and carbon have no columns in FOCUS: they are `x_`.
"""

import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final

from streams.answers.report import Report
from streams.answers.report_lines import ModelLine

__all__ = ["COLUMNS", "METHOD_ID", "focus_rows"]

METHOD_ID: Final = "wattledger-shapley-v1"
"""Names one method document: docs/reports.md, section FOCUS."""
BILLING_CURRENCY_WITHOUT_TARIFF: Final = "XXX"
"""ISO 4217's code for no currency: costs are then 0 and quantities are what counts."""

COLUMNS: Final = (
    "AllocatedMethodDetails", "AllocatedMethodId", "AllocatedResourceId", "AllocatedResourceName",
    "AllocatedTags", "BilledCost", "BillingAccountId", "BillingAccountName", "BillingCurrency",
    "BillingPeriodEnd", "BillingPeriodStart", "ChargeCategory", "ChargeClass", "ChargeDescription",
    "ChargeFrequency", "ChargePeriodEnd", "ChargePeriodStart", "ConsumedQuantity", "ConsumedUnit",
    "ContractedCost", "ContractedUnitPrice", "EffectiveCost", "HostProviderName", "InvoiceId",
    "InvoiceIssuerName", "ListCost", "ListUnitPrice", "PricingCategory", "PricingQuantity", "PricingUnit",
    "ProviderName", "PublisherName", "ResourceId", "ResourceName", "ResourceType", "ServiceCategory",
    "ServiceName", "ServiceProviderName", "ServiceSubcategory", "SkuId", "SkuMeter", "SkuPriceId",
    "SubAccountId", "SubAccountName", "Tags", "x_CarbonLocationBasedGrams", "x_CarbonMarketBasedGrams",
    "x_DataQuality", "x_EnergyHalfWidthJoules", "x_EnergyJoules", "x_GridIntensityRung",
    "x_HostEnergyJoules", "x_TokenPriceEnergyJoules",
)  # fmt: skip

UJ_PER_KWH: Final = Decimal(3_600_000_000_000)


def focus_rows(
    report: Report, fleet_uj: dict[str, int], *, provider: str = "wattledger"
) -> list[dict[str, Any]]:
    """One allocated row per model of `report`; `fleet_uj` is what each model drew for everyone in the period.

    Null columns are None. Prices are the tenant's tariff; without one, costs are 0 in currency XXX.
    """
    return [_row(report, line, fleet_uj[line.model], provider) for line in report.models]


def _row(report: Report, line: ModelLine, fleet_uj: int, provider: str) -> dict[str, Any]:
    kwh = Decimal(line.energy_uj) / UJ_PER_KWH
    price = Decimal(report.price_per_kwh) if report.currency else Decimal(0)
    cost = float((kwh * price).quantize(Decimal("0.0000000001")))
    start, end = (datetime.fromisoformat(text) for text in (report.start, report.end))
    details = {
        "Elements": [
            {
                "AllocatedRatio": line.energy_uj / fleet_uj if fleet_uj else 0.0,
                "UsageUnit": "kWh",
                "UsageQuantity": float(kwh),
                "x_Methods": list(line.methods),
                "x_ModelVersions": list(line.model_versions),
            }
        ]
    }
    carbon = report.carbon
    return dict.fromkeys(COLUMNS) | {
        "AllocatedMethodDetails": json.dumps(details, sort_keys=True),
        "AllocatedMethodId": METHOD_ID,
        "AllocatedResourceId": f"tenant/{report.tenant}",
        "AllocatedResourceName": report.tenant,
        "AllocatedTags": "{}",
        "BilledCost": cost,
        "BillingAccountId": provider,
        "BillingAccountName": provider,
        "BillingCurrency": report.currency or BILLING_CURRENCY_WITHOUT_TARIFF,
        "BillingPeriodStart": _month(start),
        "BillingPeriodEnd": _month_after(end),
        "ChargeCategory": "Usage",
        "ChargeDescription": f"Accelerator energy of {line.model}, by Shapley value of its batches",
        "ChargeFrequency": "Usage-Based",
        "ChargePeriodStart": _time(start),
        "ChargePeriodEnd": _time(end),
        "ConsumedQuantity": line.prompt_tokens + line.emitted_tokens,
        "ConsumedUnit": "Tokens",
        "ContractedCost": cost,
        "ContractedUnitPrice": float(price),
        "EffectiveCost": cost,
        "HostProviderName": provider,
        "InvoiceIssuerName": provider,
        "ListCost": cost,
        "ListUnitPrice": float(price),
        "PricingCategory": "Standard",
        "PricingQuantity": float(kwh),
        "PricingUnit": "kWh",
        # Superseded by ServiceProviderName in 1.3 and dropped in 1.4; readers of 1.2 ask for them.
        "ProviderName": provider,
        "PublisherName": provider,
        "ResourceId": f"model/{line.model}",
        "ResourceName": line.model,
        "ResourceType": "Model",
        "ServiceCategory": "AI and Machine Learning",
        "ServiceName": "LLM inference",
        "ServiceProviderName": provider,
        "ServiceSubcategory": "Generative AI",
        "SkuId": f"energy/{line.model}",
        "SkuMeter": "Accelerator energy",
        "SkuPriceId": f"energy/{line.model}/kWh",
        "SubAccountId": report.tenant,
        "SubAccountName": report.tenant,
        "Tags": "{}",
        # Grams belong to the report as a whole; by model they are in proportion to energy with a factor.
        "x_CarbonLocationBasedGrams": _part(carbon.location_g if carbon else None, line, report),
        "x_CarbonMarketBasedGrams": _part(carbon.market_g if carbon else None, line, report),
        "x_DataQuality": f"tier {line.tier}",
        "x_EnergyHalfWidthJoules": line.half_width_uj / 1e6,
        "x_EnergyJoules": line.energy_uj / 1e6,
        "x_GridIntensityRung": "; ".join(carbon.uj_by_rung) or None if carbon else None,
        "x_HostEnergyJoules": line.host_uj / 1e6,
        "x_TokenPriceEnergyJoules": line.token_price_uj / 1e6,
    }  # fmt: skip


def _part(grams: float | None, line: ModelLine, report: Report) -> float | None:
    return None if grams is None or not report.energy_uj else grams * line.energy_uj / report.energy_uj


def _time(instant: datetime) -> str:
    return instant.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _month(instant: datetime) -> str:
    return _time(instant.astimezone(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0))


def _month_after(instant: datetime) -> str:
    """The first month's start that is not before `instant`."""
    first = instant.astimezone(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    if first == instant:
        return _time(first)
    return _time(first.replace(year=first.year + first.month // 12, month=first.month % 12 + 1))
