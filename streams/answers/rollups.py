"""Hourly totals of closed hours: a job that may run at any time, twice, or twice at once, with the same result.

An hour is closed when every group that was metered around its end is sealed past it. It is rolled up again when
a batch of it was stored since its last run. A run writes a complete set of rows and then the run itself, so
a crash between the two leaves rows that nobody reads.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from clickhouse_connect.driver.exceptions import ClickHouseError

from schemas.errors import DatabaseUnavailable

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

__all__ = ["TENANTS", "RolledUp", "Rollup", "roll_up"]

# An hour with a batch stored since its last run, all of whose groups are sealed past its end. A group that fell
# silent for good (nothing sealed in the hour's last ten minutes) does not hold it open.
DUE: Final = """
SELECT stale.hour
FROM (
    SELECT toStartOfHour(event_time) AS hour, max(stored_at) AS newest
    FROM batches WHERE stored_at <= {{as_of:DateTime64(3, 'UTC')}} GROUP BY hour
) AS stale
LEFT JOIN (
    SELECT toDateTime(hour, 'UTC') AS hour, max(as_of) AS as_of FROM {runs} GROUP BY hour
) AS last ON stale.hour = last.hour
WHERE stale.newest > last.as_of
    AND stale.hour NOT IN (
        SELECT toStartOfHour(fromUnixTimestamp64Nano(until_ns - 1, 'UTC'))
        FROM (
            SELECT group_id, max(end_ns) AS until_ns
            FROM batches WHERE stored_at <= {{as_of:DateTime64(3, 'UTC')}} GROUP BY group_id
        )
        WHERE until_ns % 3600000000000 > 3000000000000
    )
    AND stale.hour + INTERVAL 1 HOUR <= {{as_of:DateTime64(3, 'UTC')}}
ORDER BY stale.hour
"""

# Many hours at once: the ledger is sorted by tenant, and a pass over it costs the same for one hour or many.
# The hour before the first is read too, for the requests that came from it.
WRITE: Final = """
INSERT INTO tenant_hours (
    hour, run, tenant, model, zone, requests, prompt_tokens, energy_uj, half_width_uj, host_uj, prefill_tokens,
    decode_tokens, emitted_tokens, held_ns
)
SELECT
    hour, {run:UInt64}, tenant, model, zone, countIf(is_first), sumIf(prompt, is_first), sum(uj), sum(half_width),
    sum(host), sum(prefill), sum(decode), sum(emitted), sum(held)
FROM (
    SELECT
        toStartOfHour(line.event_time) AS hour, line.tenant AS tenant, line.model AS model, batch.zone AS zone,
        max(line.prompt_tokens) AS prompt, sum(toInt128(line.energy_uj)) AS uj,
        sum(toInt128(line.half_width_uj)) AS half_width, sum(toInt128(line.host_uj)) AS host,
        sum(line.prefill_tokens) AS prefill, sum(line.decode_tokens) AS decode,
        sum(line.emitted_tokens) AS emitted, sum(line.held_ns) AS held,
        lagInFrame(hour, 1, toDateTime(0, 'UTC')) OVER (
            PARTITION BY tenant, line.engine_id, line.incarnation, line.ordinal ORDER BY hour
            ROWS BETWEEN 1 PRECEDING AND CURRENT ROW
        ) + INTERVAL 1 HOUR != hour AS is_first
    FROM (SELECT * FROM ledger FINAL) AS line
    INNER JOIN batches_as_of(as_of = {as_of:DateTime64(3, 'UTC')}) AS batch
        ON line.event_time = batch.event_time AND line.batch_id = batch.batch_id AND line.revision = batch.revision
        AND line.inputs = batch.inputs
    WHERE line.account = 'request'
        AND line.event_time >= {start:DateTime64(3, 'UTC')} - INTERVAL 1 HOUR
        AND line.event_time < {end:DateTime64(3, 'UTC')}
        AND batch.event_time >= {start:DateTime64(3, 'UTC')} - INTERVAL 1 HOUR
        AND batch.event_time < {end:DateTime64(3, 'UTC')}
    GROUP BY hour, tenant, model, zone, line.engine_id, line.incarnation, line.ordinal
)
WHERE toInt64(toUnixTimestamp(hour)) IN {hours_s:Array(Int64)}
GROUP BY hour, tenant, model, zone
SETTINGS max_bytes_before_external_group_by = 536870912, max_bytes_before_external_sort = 536870912
"""

MOST_HOURS: Final = 120
"""Hours in one statement: each is a pass over the ledger, which is sorted by tenant. More do not fit in memory so
well: the manifest of these hours is held at once; sums that do not fit are kept on disk.
"""


@dataclass(frozen=True, slots=True)
class Rollup:
    """What is rolled up, and where its runs are remembered."""

    runs: str
    """Table of (hour, run, as_of)."""
    writes: tuple[str, ...]
    """Statements that write the rows of some hours (`hours_s`, all in [start, end)) under `run`, by `as_of`."""


TENANTS: Final = Rollup(runs="rollup_runs", writes=(WRITE,))


@dataclass(frozen=True, slots=True)
class RolledUp:
    """One hour's run."""

    hour: datetime
    run: int
    """Its cut-off, milliseconds since 1970: rows of two jobs bear one run only if they counted the same."""


def roll_up(client: "Client", as_of: datetime, rollup: Rollup = TENANTS) -> tuple[RolledUp, ...]:
    """Roll up every closed hour that changed since its last run, from rows stored by `as_of`; returns them.

    `as_of` lies in the past, and every insert begun before it has ended: ten minutes are plenty. Two jobs at once
    write the same rows under the same run, or rows under runs of their own, of which the later counts. Raises
    DatabaseUnavailable; run it again then.
    """
    run = (as_of - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)
    moment = as_of.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]
    done: list[RolledUp] = []
    try:
        due = [
            RolledUp(hour.replace(tzinfo=UTC), run)
            for (hour,) in client.query(
                DUE.format(runs=rollup.runs), parameters={"as_of": moment}
            ).result_rows
        ]
        while due:
            last = due[0].hour + timedelta(hours=MOST_HOURS)
            chunk = [one for one in due if one.hour < last]
            _write(client, rollup, chunk, moment)
            rows = [[one.hour, one.run, as_of] for one in chunk]
            client.insert(rollup.runs, rows, column_names=["hour", "run", "as_of"])
            done += chunk
            due = due[len(chunk) :]
    except (ClickHouseError, OSError) as error:
        said = str(error).splitlines()[0][:300] if str(error) else type(error).__name__
        raise DatabaseUnavailable(f"could not roll up hours: {said}") from error
    return tuple(done)


def _write(client: "Client", rollup: Rollup, chunk: list[RolledUp], moment: str) -> None:
    start, end = chunk[0].hour, chunk[-1].hour + timedelta(hours=1)
    parameters = {
        "hours_s": [round(one.hour.timestamp()) for one in chunk],
        "run": chunk[0].run,
        "start": start.strftime("%Y-%m-%d %H:%M:%S.000"),
        "end": end.strftime("%Y-%m-%d %H:%M:%S.000"),
        "as_of": moment,
    }
    for write in rollup.writes:
        client.command(write, parameters=parameters)
