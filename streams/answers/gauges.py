"""Prometheus gauges that sit beside OpenCost's `llm_*`: the same labels, energy and grams in place of money.

OpenCost's `cost_basis` tells two figures apart, and so do these: `usage` is what requests drew, `allocation` adds
what their engines drew while idle, loading or working for nobody, and adds up to the meter.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from prometheus_client import CollectorRegistry, Gauge, generate_latest

from streams.answers.energy_totals import account_totals, tenant_totals
from streams.answers.periods import Period
from streams.answers.report_carbon import fleet_carbon

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

__all__ = ["exposition"]

HELP: Final = {
    "llm_power_watts": "Mean accelerator power of a model over the window.",
    "llm_energy_joules_per_million_tokens": (
        "Joules per million tokens. Without phase: all tokens; phase=prompt: energy of prefill per prompt token; "
        "phase=generation: all other energy per token delivered."
    ),
    "llm_tenant_power_watts": "Mean accelerator power of a tenant's requests to a model over the window.",
    "llm_operational_carbon_grams_per_hour": (
        "gCO2e per hour of all requests, accelerators and hosts times PUE, where a factor is on record."
    ),
    "llm_energy_window_end_seconds": "Event time up to which these figures hold, Unix seconds.",
}


def exposition(client: "Client", period: Period) -> bytes:
    """The gauges over `period` in Prometheus' text format."""
    registry = CollectorRegistry()
    seconds = period.duration.total_seconds()
    labels = {
        "llm_power_watts": ("model_name", "cost_basis"),
        "llm_energy_joules_per_million_tokens": ("model_name", "cost_basis", "phase"),
        "llm_tenant_power_watts": ("tenant", "model_name"),
        "llm_operational_carbon_grams_per_hour": ("method",),
        "llm_energy_window_end_seconds": (),
    }
    gauges = {name: Gauge(name, HELP[name], found, registry=registry) for name, found in labels.items()}
    for name, values, value in _samples(client, period, seconds):
        gauge = gauges[name].labels(*values) if values else gauges[name]
        gauge.set(value)
    return generate_latest(registry)


def _samples(
    client: "Client", period: Period, seconds: float
) -> Iterator[tuple[str, tuple[str, ...], float]]:
    yield "llm_energy_window_end_seconds", (), period.end.timestamp()
    drawn_uj: dict[str, int] = {}
    for group in account_totals(client, period):
        if group.model:
            drawn_uj[group.model] = drawn_uj.get(group.model, 0) + sum(group.energies_uj)
    used: dict[str, list[float]] = {}
    for one in tenant_totals(client, period):
        yield "llm_tenant_power_watts", (one.tenant, one.model), one.energy_uj / 1e6 / seconds
        figures = (one.energy_uj, one.prefill_uj, one.prompt_tokens, one.emitted_tokens)
        sums = used.get(one.model, [0.0] * 4)
        used[one.model] = [a + float(b) for a, b in zip(sums, figures, strict=True)]
    for model, total_uj in drawn_uj.items():
        yield "llm_power_watts", (model, "allocation"), total_uj / 1e6 / seconds
    for model, (uj, prefill_uj, prompt, emitted) in used.items():
        yield "llm_power_watts", (model, "usage"), uj / 1e6 / seconds
        per_million = "llm_energy_joules_per_million_tokens"
        if prompt + emitted:
            yield per_million, (model, "usage", ""), uj / (prompt + emitted)
            yield per_million, (model, "allocation", ""), drawn_uj.get(model, 0) / (prompt + emitted)
        if prompt:
            yield per_million, (model, "usage", "prompt"), prefill_uj / prompt
        if emitted:
            yield per_million, (model, "usage", "generation"), (uj - prefill_uj) / emitted
    carbon = fleet_carbon(client, period.parameters)
    for method, grams in (("location", carbon.location_g), ("market", carbon.market_g)) if carbon else ():
        if grams is not None:
            yield "llm_operational_carbon_grams_per_hour", (method,), grams * 3600 / seconds
