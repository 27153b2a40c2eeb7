"""Tenants side by side: what each was booked, and what a price per token would have charged instead."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Final

import numpy as np

from streams.answers.periods import Period
from streams.answers.quantities import ENERGY_UNITS, Unit, count, fitting, percent
from streams.answers.token_price import OUTPUT_WEIGHT, token_charges

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

__all__ = ["TenantRow", "format_tenants", "tenant_rows"]

# Rows of the ledger repeat a request's prompt in every window it lives through: once per request counts.
USAGE: Final = """
SELECT
    tenant, model, count() AS requests, sum(uj), sum(half_width), sum(host), sum(prompt), sum(emitted)
FROM (
    SELECT
        tenant, model, engine_id, incarnation, ordinal,
        sum(toInt128(energy_uj)) AS uj, sum(toInt128(half_width_uj)) AS half_width, sum(toInt128(host_uj)) AS host,
        max(prompt_tokens) AS prompt, sum(emitted_tokens) AS emitted
    FROM current_ledger
    WHERE account = 'request'
        AND event_time >= fromUnixTimestamp64Milli({from_ms:Int64}, 'UTC')
        AND event_time < fromUnixTimestamp64Milli({to_ms:Int64}, 'UTC')
    GROUP BY tenant, model, engine_id, incarnation, ordinal
)
GROUP BY tenant, model
ORDER BY tenant, model
"""

RECEIVED: Final = """
SELECT tenant, sum(toInt128(energy_uj))
FROM current_transfers
WHERE side = 'to' AND kind = 'cold_start'
    AND event_time >= fromUnixTimestamp64Milli({from_ms:Int64}, 'UTC')
    AND event_time < fromUnixTimestamp64Milli({to_ms:Int64}, 'UTC')
GROUP BY tenant
"""


@dataclass(frozen=True, slots=True)
class TenantRow:
    """One tenant over a period; energy of accelerators, microjoules."""

    tenant: str
    requests: int
    prompt_tokens: int
    """Tokens of its prompts, also those that a cache spared."""
    emitted_tokens: int
    energy_uj: int
    """Booked to its requests."""
    half_width_uj: int
    """Half width of the 90 % interval, as if every request's error had the same cause: an upper bound."""
    host_uj: int
    cold_start_uj: int
    """Its requests' part of model loads, moved to it from the cold-start account."""
    token_price_uj: float
    """What a price per token would have charged in place of `energy_uj`."""

    @property
    def difference_uj(self) -> float:
        """What a token price would charge beyond the energy booked; negative where it charges too little."""
        return self.token_price_uj - self.energy_uj

    @property
    def total_uj(self) -> int:
        """Booked and moved to it."""
        return self.energy_uj + self.cold_start_uj


def tenant_rows(
    client: "Client", start: datetime, end: datetime, *, output_weight: float = OUTPUT_WEIGHT
) -> list[TenantRow]:
    """Every tenant with a request or a transfer in [start, end), the largest first; [] where nothing was booked.

    Raises DataError if `start` is not before `end`.
    """
    period = Period(start, end)
    lines = client.query(USAGE, parameters=period.parameters).result_rows
    moved = client.query(RECEIVED, parameters=period.parameters).result_rows
    received = {str(tenant): int(energy_uj) for tenant, energy_uj in moved}
    charged = token_charges(
        [line[1] for line in lines],
        np.asarray([line[3] for line in lines], np.float64),
        np.asarray([line[6] for line in lines], np.float64),
        np.asarray([line[7] for line in lines], np.float64),
        output_weight=output_weight,
    )
    figures: dict[str, list[int]] = {tenant: [0] * 6 for tenant in received}
    prices: dict[str, float] = dict.fromkeys(received, 0.0)
    for (tenant, _, *values), price_uj in zip(lines, charged.tolist(), strict=True):
        known = figures.setdefault(tenant, [0] * 6)
        figures[tenant] = [a + int(b) for a, b in zip(known, values, strict=True)]
        prices[tenant] = prices.get(tenant, 0.0) + price_uj
    rows = [
        TenantRow(
            tenant=tenant,
            requests=requests,
            prompt_tokens=prompt,
            emitted_tokens=emitted,
            energy_uj=energy_uj,
            half_width_uj=half_width_uj,
            host_uj=host_uj,
            cold_start_uj=received.get(tenant, 0),
            token_price_uj=prices[tenant],
        )
        for tenant, (requests, energy_uj, half_width_uj, host_uj, prompt, emitted) in figures.items()
    ]
    return sorted(rows, key=lambda row: (-row.total_uj, row.tenant))


def format_tenants(rows: Sequence[TenantRow], *, most: int = 40) -> str:
    """The table for a terminal, at most `most` tenants and one line for all others; ends without a newline."""
    if not rows:
        return "No request was booked in this period."
    unit = fitting([max(row.energy_uj, row.token_price_uj) for row in rows], ENERGY_UNITS)
    total_uj = sum(row.energy_uj for row in rows)
    shown = [*rows[:most], *([combined(f"{len(rows) - most} others", rows[most:])] if rows[most:] else [])]
    shown.append(combined("all", rows))
    moved = (f"{heading} {unit.symbol}" for heading in ("cold start", "by token", "difference"))
    heading = ["tenant", f"energy {unit.symbol}", "requests", "tokens in", "tokens out", "share", *moved]
    table = [heading, *(_cells(row, unit, total_uj) for row in shown)]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = [
        "  ".join([name.ljust(widths[0]), *map(str.rjust, figures, widths[1:])]) for name, *figures in table
    ]
    rule = "─" * len(lines[0])
    return "\n".join([lines[0], rule, *lines[1:-1], rule, lines[-1]])


def _cells(row: TenantRow, unit: Unit, total_uj: int) -> list[str]:
    return [
        row.tenant or "(no tenant)",
        f"{row.energy_uj / unit.size:.2f}",
        count(row.requests),
        count(row.prompt_tokens),
        count(row.emitted_tokens),
        percent(row.energy_uj, total_uj),
        f"{row.cold_start_uj / unit.size:.2f}",
        f"{row.token_price_uj / unit.size:.2f}",
        f"{row.difference_uj / unit.size + 0.0:+.2f}",
    ]


def combined(name: str, rows: Sequence[TenantRow]) -> TenantRow:
    """Several tenants as one line."""
    return TenantRow(
        tenant=name,
        requests=sum(row.requests for row in rows),
        prompt_tokens=sum(row.prompt_tokens for row in rows),
        emitted_tokens=sum(row.emitted_tokens for row in rows),
        energy_uj=sum(row.energy_uj for row in rows),
        half_width_uj=sum(row.half_width_uj for row in rows),
        host_uj=sum(row.host_uj for row in rows),
        cold_start_uj=sum(row.cold_start_uj for row in rows),
        token_price_uj=sum(row.token_price_uj for row in rows),
    )
