"""What the page shows of one tenant beyond its report: its power over time, and its largest requests."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from streams.answers.fleet import step_for
from streams.answers.periods import Period
from streams.answers.plots import Tick, nice_above, step_path, time_ticks
from streams.answers.quantities import POWER_UNITS, fitting, plain

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

__all__ = ["LargeRequest", "largest_requests", "power_plot_of"]

MOST: Final = 20

OF_TENANT: Final = """
FROM current_ledger
WHERE tenant = {tenant:String} AND account = 'request'
    AND event_time >= fromUnixTimestamp64Milli({from_ms:Int64}, 'UTC')
    AND event_time < fromUnixTimestamp64Milli({to_ms:Int64}, 'UTC')
"""

STEPS: Final = f"""
SELECT intDiv(toUnixTimestamp(event_time), {{step_s:Int64}}) * {{step_s:Int64}} AS at_s, sum(toInt128(energy_uj))
{OF_TENANT}
GROUP BY at_s
ORDER BY at_s
"""

LARGEST: Final = f"""
SELECT
    concat(incarnation, '-', toString(ordinal)) AS request_id, any(client_request_id), any(model),
    sum(toInt128(energy_uj)) AS uj, max(prompt_tokens), sum(emitted_tokens), count()
{OF_TENANT}
GROUP BY engine_id, incarnation, ordinal
ORDER BY uj DESC, request_id
LIMIT {MOST}
"""


@dataclass(frozen=True, slots=True)
class LargeRequest:
    """A request by its energy in the period."""

    request_id: str
    client_request_id: str
    model: str
    energy_uj: int
    prompt_tokens: int
    emitted_tokens: int
    batches: int


def largest_requests(client: "Client", tenant: str, period: Period) -> list[LargeRequest]:
    """The MOST largest, largest first."""
    asked = period.parameters | {"tenant": tenant}
    return [LargeRequest(*row) for row in client.query(LARGEST, parameters=asked).result_rows]


def power_plot_of(client: "Client", tenant: str, period: Period) -> dict[str, Any]:
    """Path, ticks and figures of the tenant's power over the period; for the template `tenant.html.j2`."""
    step_s = step_for(period)
    asked = period.parameters | {"tenant": tenant, "step_s": step_s}
    rows = client.query(STEPS, parameters=asked).result_rows
    at_s = np.asarray([row[0] for row in rows], np.float64)
    power_w = np.asarray([row[1] for row in rows], np.float64) / 1e6 / step_s
    top_w = nice_above(float(power_w.max(initial=0.0)))
    unit = fitting([top_w], POWER_UNITS)
    return {
        "step_s": step_s,
        "path": step_path(at_s, step_s, power_w, top_w, period),
        "mean_w": float(power_w.sum() * step_s / period.duration.total_seconds()),
        "peak_w": float(power_w.max(initial=0.0)),
        "y_ticks": tuple(
            Tick(100 * share, f"{plain(share * top_w / unit.size)} {unit.symbol}") for share in (0.5, 1.0)
        ),
        "x_ticks": time_ticks(period),
    }
