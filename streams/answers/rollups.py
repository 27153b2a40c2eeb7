"""Hourly totals of closed hours: a job that may run at any time, twice, or twice at once, with the same result.

An hour is closed when every group that was metered around its end is sealed past it. It is rolled up again when
a batch of it was stored since its last run. A run writes a complete set of rows and then the run itself, so
a crash between the two leaves rows that nobody reads.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from clickhouse_connect.driver.exceptions import ClickHouseError

from schemas.errors import DatabaseUnavailable

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

__all__ = ["RolledUp", "roll_up"]

# An hour with a batch stored since its last run, all of whose groups are sealed past its end. A group that fell
# silent for good (nothing sealed in the hour's last ten minutes) does not hold it open.
DUE: Final = """
SELECT stale.hour, last.run
FROM (
    SELECT toStartOfHour(event_time) AS hour, max(stored_at) AS newest
    FROM batches WHERE stored_at <= {as_of:DateTime64(3, 'UTC')} GROUP BY hour
) AS stale
LEFT JOIN (
    SELECT toDateTime(hour, 'UTC') AS hour, max(run) AS run, max(as_of) AS as_of FROM rollup_runs GROUP BY hour
) AS last ON stale.hour = last.hour
WHERE stale.newest > last.as_of
    AND stale.hour NOT IN (
        SELECT toStartOfHour(fromUnixTimestamp64Nano(until_ns - 1, 'UTC'))
        FROM (
            SELECT group_id, max(end_ns) AS until_ns
            FROM batches WHERE stored_at <= {as_of:DateTime64(3, 'UTC')} GROUP BY group_id
        )
        WHERE until_ns % 3600000000000 > 3000000000000
    )
    AND stale.hour + INTERVAL 1 HOUR <= {as_of:DateTime64(3, 'UTC')}
ORDER BY stale.hour
"""

WRITE: Final = """
INSERT INTO tenant_hours (
    hour, run, tenant, model, zone, requests, prompt_tokens, energy_uj, half_width_uj, host_uj, prefill_tokens,
    decode_tokens, emitted_tokens, held_ns
)
SELECT
    {hour:DateTime64(3, 'UTC')}, {run:UInt64}, tenant, model, zone, countIf(is_first), sumIf(prompt, is_first),
    sum(uj), sum(half_width), sum(host), sum(prefill), sum(decode), sum(emitted), sum(held)
FROM (
    SELECT
        line.tenant AS tenant, line.model AS model, batch.zone AS zone,
        max(line.prompt_tokens) AS prompt, sum(toInt128(line.energy_uj)) AS uj,
        sum(toInt128(line.half_width_uj)) AS half_width, sum(toInt128(line.host_uj)) AS host,
        sum(line.prefill_tokens) AS prefill, sum(line.decode_tokens) AS decode,
        sum(line.emitted_tokens) AS emitted, sum(line.held_ns) AS held,
        (line.engine_id, line.incarnation, line.ordinal) NOT IN (
            SELECT engine_id, incarnation, ordinal FROM ledger
            WHERE account = 'request'
                AND event_time >= {hour:DateTime64(3, 'UTC')} - INTERVAL 1 HOUR
                AND event_time < {hour:DateTime64(3, 'UTC')}
        ) AS is_first
    FROM (SELECT * FROM ledger FINAL) AS line
    INNER JOIN batches_as_of(as_of = {as_of:DateTime64(3, 'UTC')}) AS batch
        ON line.event_time = batch.event_time AND line.batch_id = batch.batch_id AND line.revision = batch.revision
        AND line.inputs = batch.inputs
    WHERE line.account = 'request'
        AND line.event_time >= {hour:DateTime64(3, 'UTC')}
        AND line.event_time < {hour:DateTime64(3, 'UTC')} + INTERVAL 1 HOUR
        AND batch.event_time >= {hour:DateTime64(3, 'UTC')}
        AND batch.event_time < {hour:DateTime64(3, 'UTC')} + INTERVAL 1 HOUR
    GROUP BY tenant, model, zone, line.engine_id, line.incarnation, line.ordinal
)
GROUP BY tenant, model, zone
"""


@dataclass(frozen=True, slots=True)
class RolledUp:
    """One hour's run."""

    hour: datetime
    run: int


def roll_up(client: "Client", as_of: datetime) -> tuple[RolledUp, ...]:
    """Roll up every closed hour that changed since its last run, from rows stored by `as_of`; returns them.

    `as_of` lies in the past, and every insert begun before it has ended: ten minutes are plenty. Two jobs at once
    write the same rows under the same run. Raises DatabaseUnavailable; run it again then.
    """
    moment = as_of.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]
    done = []
    try:
        for hour, last_run in client.query(DUE, parameters={"as_of": moment}).result_rows:
            start = hour.replace(tzinfo=UTC)
            parameters = {
                "hour": start.strftime("%Y-%m-%d %H:%M:%S.000"),
                "run": last_run + 1,
                "as_of": moment,
            }
            client.command(WRITE, parameters=parameters)
            client.insert(
                "rollup_runs", [[start, last_run + 1, as_of]], column_names=["hour", "run", "as_of"]
            )
            done.append(RolledUp(start, last_run + 1))
    except (ClickHouseError, OSError) as error:
        said = str(error).splitlines()[0][:300] if str(error) else type(error).__name__
        raise DatabaseUnavailable(f"could not roll up hours: {said}") from error
    return tuple(done)
