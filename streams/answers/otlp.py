"""Metrics of a period as OpenTelemetry knows them, sent over OTLP: by convention where there is one, else ours.

`hw.energy` and `hw.host.energy` follow the semantic conventions for hardware; energy by account, tenant and token
has no convention yet and is named `wattledger.*`. Every point is a cumulative sum from the start of the period to
its end, in event time: sending a period again replaces it, another start tells a backend that counting begins anew.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    Metric,
    MetricExportResult,
    MetricsData,
    NumberDataPoint,
    ResourceMetrics,
    ScopeMetrics,
    Sum,
)
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from schemas.errors import ConfigurationError
from streams.answers.energy_totals import AccountTotal, MeterTotal, TenantTotal, account_totals, meter_totals
from streams.answers.energy_totals import tenant_totals as read_tenants
from streams.answers.periods import Period
from streams.batch import ACCOUNTS

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

__all__ = ["metrics_of", "send"]

SCHEMA_URL: Final = "https://opentelemetry.io/schemas/1.44.0"
"""The conventions whose names these are."""
DESCRIPTIONS: Final = {
    "hw.energy": ("J", "Energy consumed by the component"),
    "hw.host.energy": (
        "J",
        "Energy consumed by the physical host: here a metering group's part of it",
    ),
    "wattledger.account.energy": ("J", "Accelerator energy by the account in which it is booked"),
    "wattledger.tenant.energy": ("J", "Accelerator energy booked to a tenant's requests"),
    "wattledger.tenant.requests": ("{request}", "A tenant's requests with energy in the period"),
    "wattledger.tenant.tokens": ("{token}", "A tenant's tokens, by gen_ai.token.type"),
}
"""Every metric's unit (UCUM) and meaning."""
UJ_PER_J: Final = 1e6


def metrics_of(client: "Client", period: Period, version: str) -> MetricsData:
    """Every metric of the period; `version` is this software's."""
    points = {
        **_meter_points(meter_totals(client, period), period),
        **_account_points(account_totals(client, period), period),
        **_tenant_points(read_tenants(client, period), period),
    }
    metrics = [
        Metric(name, DESCRIPTIONS[name][1], DESCRIPTIONS[name][0],
               Sum(found, AggregationTemporality.CUMULATIVE, is_monotonic=True))
        for name, found in points.items()
        if found
    ]  # fmt: skip
    scope = InstrumentationScope("wattledger", version, SCHEMA_URL)
    resource = Resource({"service.name": "wattledger", "service.version": version})
    return MetricsData([ResourceMetrics(resource, [ScopeMetrics(scope, metrics, SCHEMA_URL)], SCHEMA_URL)])


def send(data: MetricsData, *, endpoint: str | None = None, timeout_s: float = 10.0) -> None:
    """Send over OTLP/HTTP (protobuf); without `endpoint` to where the OTEL_EXPORTER_OTLP_* variables say.

    Retries what the protocol calls retryable within `timeout_s`. Raises ConfigurationError if it was not taken.
    """
    exporter = OTLPMetricExporter(endpoint=_metrics_path(endpoint), timeout=timeout_s)
    try:
        result = exporter.export(data, timeout_millis=timeout_s * 1000)
    finally:
        exporter.shutdown()
    if result is not MetricExportResult.SUCCESS:
        where = endpoint or "OTEL_EXPORTER_OTLP_ENDPOINT"
        raise ConfigurationError(
            f"no OTLP receiver took the metrics at {where} within {timeout_s:g} s: check the address, its "
            "log, and that it speaks OTLP over HTTP (port 4318)"
        )


def _metrics_path(endpoint: str | None) -> str | None:
    """An endpoint as the variables name it, without a signal's path, gets that of metrics."""
    if endpoint is None or endpoint.rstrip("/").endswith("/v1/metrics"):
        return endpoint
    return f"{endpoint.rstrip('/')}/v1/metrics"


def _meter_points(totals: Sequence[MeterTotal], period: Period) -> dict[str, list[NumberDataPoint]]:
    points: dict[str, list[NumberDataPoint]] = {"hw.energy": [], "hw.host.energy": []}
    for one in totals:
        attributes = {"hw.id": one.meter_id, "hw.parent": one.group_id}
        if one.kind == "gpu":
            name = "hw.energy"
            attributes |= {"hw.type": "gpu", "hw.model": one.gpu_model}
        else:
            name = "hw.host.energy"
            attributes["hw.type"] = "host"
        points[name].append(_point(one.energy_uj / UJ_PER_J, attributes, period))
    return points


def _account_points(totals: Sequence[AccountTotal], period: Period) -> dict[str, list[NumberDataPoint]]:
    return {
        "wattledger.account.energy": [
            _point(
                energy_uj / UJ_PER_J,
                {
                    "wattledger.group": one.group_id,
                    "wattledger.account": account,
                    "gen_ai.request.model": one.model,
                },
                period,
            )
            for one in totals
            for account, energy_uj in zip(ACCOUNTS, one.energies_uj, strict=True)
        ]
    }


def _tenant_points(totals: Sequence[TenantTotal], period: Period) -> dict[str, list[NumberDataPoint]]:
    energy, requests, tokens = [], [], []
    for one in totals:
        who = {"wattledger.tenant": one.tenant, "gen_ai.request.model": one.model}
        energy.append(_point(one.energy_uj / UJ_PER_J, who, period))
        requests.append(_point(one.requests, who, period))
        tokens.append(_point(one.prompt_tokens, who | {"gen_ai.token.type": "input"}, period))
        tokens.append(_point(one.emitted_tokens, who | {"gen_ai.token.type": "output"}, period))
    return {
        "wattledger.tenant.energy": energy,
        "wattledger.tenant.requests": requests,
        "wattledger.tenant.tokens": tokens,
    }


def _point(value: float, attributes: Mapping[str, str], period: Period) -> NumberDataPoint:
    bounds = period.parameters
    return NumberDataPoint(attributes, bounds["from_ms"] * 1_000_000, bounds["to_ms"] * 1_000_000, value)
