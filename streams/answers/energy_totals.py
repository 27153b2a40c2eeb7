"""What the fleet drew in a period, by meter, by account and by tenant: the figures that exports carry."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from streams.answers.periods import Period

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

__all__ = ["AccountTotal", "MeterTotal", "TenantTotal", "account_totals", "meter_totals", "tenant_totals"]

IN_PERIOD: Final = (
    "event_time >= fromUnixTimestamp64Milli({from_ms:Int64}, 'UTC') "
    "AND event_time < fromUnixTimestamp64Milli({to_ms:Int64}, 'UTC')"
)

METERS: Final = f"""
SELECT read.meter_id, read.kind, batch.group_id, max(batch.gpu_model), max(batch.zone), sum(read.energy_uj)
FROM (SELECT * FROM metered WHERE {IN_PERIOD}) AS read
INNER JOIN (SELECT * FROM current_batches WHERE {IN_PERIOD}) AS batch
    ON read.batch_id = batch.batch_id AND read.revision = batch.revision AND read.inputs = batch.inputs
GROUP BY read.meter_id, read.kind, batch.group_id
ORDER BY read.kind, read.meter_id
"""  # noqa: S608 - a constant of this module

ACCOUNTS: Final = f"""
SELECT
    group_id, max(model), sum(toInt128(request_uj)), sum(toInt128(idle_uj)), sum(toInt128(cold_start_uj)),
    sum(toInt128(overhead_uj)), sum(toInt128(unobserved_uj))
FROM current_batches
WHERE {IN_PERIOD}
GROUP BY group_id
ORDER BY group_id
"""  # noqa: S608

# Prefill is the third term of a share: what the prompt's tokens ask for beyond being served.
TENANTS: Final = f"""
SELECT
    tenant, model, count(), sum(uj), sum(prefill_uj), sum(prompt), sum(emitted)
FROM (
    SELECT
        line.tenant AS tenant, line.model AS model, sum(toInt128(line.energy_uj)) AS uj,
        sum(batch.request_scale * energy_model.c['prefill_token_j'] * line.term_shares[3]) AS prefill_uj,
        max(line.prompt_tokens) AS prompt, sum(line.emitted_tokens) AS emitted
    FROM (SELECT * FROM current_ledger WHERE account = 'request' AND {IN_PERIOD}) AS line
    INNER JOIN (SELECT * FROM current_batches WHERE {IN_PERIOD}) AS batch
        ON line.batch_id = batch.batch_id AND line.event_time = batch.event_time
    LEFT JOIN (
        SELECT engine_class, model_version, any(coefficients) AS c
        FROM energy_models GROUP BY engine_class, model_version
    ) AS energy_model
        ON batch.engine_class = energy_model.engine_class AND batch.model_version = energy_model.model_version
    GROUP BY tenant, model, line.engine_id, line.incarnation, line.ordinal
)
GROUP BY tenant, model
ORDER BY tenant, model
"""  # noqa: S608


@dataclass(frozen=True, slots=True)
class MeterTotal:
    """One meter, recomputed from its raw readings."""

    meter_id: str
    kind: str
    """gpu or host."""
    group_id: str
    gpu_model: str
    zone: str
    energy_uj: int


@dataclass(frozen=True, slots=True)
class AccountTotal:
    """One metering group by account, in the order of ACCOUNTS."""

    group_id: str
    model: str
    energies_uj: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class TenantTotal:
    """One tenant's requests to one model."""

    tenant: str
    model: str
    requests: int
    energy_uj: int
    prefill_uj: float
    """Of it for the tokens of prompts, by the energy model; 0 where the split was sampled."""
    prompt_tokens: int
    emitted_tokens: int


def meter_totals(client: "Client", period: Period) -> list[MeterTotal]:
    """Every meter with a batch in the period."""
    return [MeterTotal(*row) for row in client.query(METERS, parameters=period.parameters).result_rows]


def account_totals(client: "Client", period: Period) -> list[AccountTotal]:
    """Every group with a batch in the period."""
    rows = client.query(ACCOUNTS, parameters=period.parameters).result_rows
    return [AccountTotal(group_id, model, tuple(energies)) for group_id, model, *energies in rows]


def tenant_totals(client: "Client", period: Period) -> list[TenantTotal]:
    """Every tenant and model with a request in the period."""
    return [TenantTotal(*row) for row in client.query(TENANTS, parameters=period.parameters).result_rows]
