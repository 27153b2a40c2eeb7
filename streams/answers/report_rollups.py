"""Rolls closed hours up into what a tenant's report reads of them, and says for which hours that holds.

The same kind of job as the hourly totals (`streams.answers.rollups`). A report as of a cut-off reads an hour from
its rollup if a run counted exactly the batches that the cut-off knows: the latest run until the cut-off, where no
batch of the hour was stored between the two. Every other hour is read from the ledger itself, so that no figure
depends on when, or whether, the job ran.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Final

from streams.answers.periods import Period
from streams.answers.report_queries import AS_OF, IN_PERIOD
from streams.answers.rollups import RolledUp, Rollup, roll_up
from streams.answers.spans import HOUR_MS, Spans

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

__all__ = ["REPORTS", "Rolled", "roll_up_reports", "rolled_spans"]

IN_HOURS: Final = "toInt64(toUnixTimestamp(hour)) IN {hours_s:Array(Int64)}"
# Requests of the hour before the first are read too where it matters which came from there.
LINES: Final = """
    FROM (SELECT * FROM ledger FINAL) AS line
    INNER JOIN batches_as_of(as_of = {{as_of:DateTime64(3, 'UTC')}}) AS batch
        ON line.event_time = batch.event_time AND line.batch_id = batch.batch_id AND line.revision = batch.revision
        AND line.inputs = batch.inputs
    WHERE line.account = 'request'
        AND line.event_time >= {{start:DateTime64(3, 'UTC')}} - INTERVAL {before} HOUR
        AND line.event_time < {{end:DateTime64(3, 'UTC')}}
        AND batch.event_time >= {{start:DateTime64(3, 'UTC')}} - INTERVAL {before} HOUR
        AND batch.event_time < {{end:DateTime64(3, 'UTC')}}
"""
# What does not fit is kept on disk.
BOUNDED: Final = (
    "SETTINGS max_bytes_before_external_group_by = 536870912, max_bytes_before_external_sort = 536870912"
)

REQUESTS: Final = f"""
INSERT INTO request_hours (
    hour, run, tenant, model, engine_class, model_version, request, tier, methods, prompt_tokens, cached_tokens,
    prefill_tokens, decode_tokens, emitted_tokens, energy_uj, half_width_uj, host_uj, held_ns, scaled_prefill,
    scaled_context
)
SELECT
    toStartOfHour(line.event_time) AS hour, {{run:UInt64}}, line.tenant AS tenant, line.model AS model,
    batch.engine_class AS engine_class, batch.model_version AS model_version,
    cityHash64(line.engine_id, line.incarnation, line.ordinal) AS request, min(batch.tier),
    arraySort(groupUniqArray(batch.method)), max(line.prompt_tokens), max(line.cached_tokens),
    sum(line.prefill_tokens), sum(line.decode_tokens), sum(line.emitted_tokens), sum(line.energy_uj),
    sum(line.half_width_uj), sum(line.host_uj), sum(line.held_ns),
    sum(batch.request_scale / 1e6 * line.prefill_tokens),
    sum(batch.request_scale / 1e6 * line.iterations * line.prompt_tokens)
{LINES.format(before=0)} AND {IN_HOURS}
GROUP BY hour, tenant, model, engine_class, model_version, request
{BOUNDED}
"""

CERTAINTY: Final = f"""
INSERT INTO certainty_hours (
    hour, run, tenant, engine_class, group_id, gpu_model, gpus, energy_uj, loadings, sampling_uj2, edges_uj2
)
SELECT
    hour, {{run:UInt64}}, tenant, engine_class, group_id, gpu_model, max(gpus), sum(uj), sumForEach(loadings),
    sum(sampling), sum(edges)
FROM (
    SELECT
        toStartOfHour(line.event_time) AS hour, line.tenant AS tenant, batch.engine_class AS engine_class,
        batch.group_id AS group_id, batch.gpu_model AS gpu_model, any(batch.gpus) AS gpus,
        sum(toFloat64(line.energy_uj)) AS uj,
        sumForEach(arrayMap(x -> toFloat64(x), line.model_loadings)) AS loadings,
        sum(pow(line.sampling_uj, 2)) AS sampling, pow(uj * any(batch.edge_error), 2) AS edges
    {LINES.format(before=0)} AND {IN_HOURS}
    GROUP BY tenant, line.event_time, line.batch_id, engine_class, group_id, gpu_model
)
GROUP BY hour, tenant, engine_class, group_id, gpu_model
{BOUNDED}
"""  # noqa: S608

# A request that came from the hour before was counted there.
MODELS: Final = f"""
INSERT INTO model_hours (hour, run, model, energy_uj, prompt_tokens, emitted_tokens)
SELECT toDateTime(hour_s, 'UTC') AS hour, {{run:UInt64}}, model, sum(uj), sumIf(prompt, begins), sum(emitted)
FROM (
    SELECT
        toUInt32(toUnixTimestamp(toStartOfHour(line.event_time))) AS hour_s, line.tenant AS tenant,
        line.model AS model, cityHash64(line.engine_id, line.incarnation, line.ordinal) AS request,
        max(line.prompt_tokens) AS prompt, sum(toInt128(line.energy_uj)) AS uj,
        sum(line.emitted_tokens) AS emitted,
        min(hour_s) OVER (
            PARTITION BY tenant, model, request ORDER BY hour_s RANGE BETWEEN 3600 PRECEDING AND CURRENT ROW
        ) = hour_s AS begins
    {LINES.format(before=1)}
    GROUP BY hour_s, tenant, model, request
)
WHERE toInt64(hour_s) IN {{hours_s:Array(Int64)}}
GROUP BY hour_s, model
{BOUNDED}
"""  # noqa: S608

REPORTS: Final = Rollup(runs="report_runs", writes=(REQUESTS, CERTAINTY, MODELS))

RUNS: Final = """
    SELECT '{runs}' AS runs, hour, max(as_of) AS until
    FROM {runs}
    WHERE as_of <= {as_of} AND hour >= fromUnixTimestamp64Milli({{from_ms:Int64}}, 'UTC')
        AND hour + INTERVAL 1 HOUR <= fromUnixTimestamp64Milli({{to_ms:Int64}}, 'UTC')
    GROUP BY hour
"""
HOURS: Final = f"""
SELECT run.runs, toUnixTimestamp64Milli(run.hour)
FROM (
    {RUNS.format(runs="report_runs", as_of=AS_OF)}
    UNION ALL
    {RUNS.format(runs="carbon_runs", as_of=AS_OF)}
) AS run
LEFT JOIN (
    SELECT toStartOfHour(event_time) AS hour, max(stored_at) AS newest
    FROM batches WHERE {IN_PERIOD} AND stored_at <= {AS_OF} GROUP BY hour
) AS batch ON toDateTime(run.hour, 'UTC') = batch.hour
WHERE batch.newest <= run.until
ORDER BY run.runs, run.hour
"""  # noqa: S608 - constants of this module


@dataclass(frozen=True, slots=True)
class Rolled:
    """Whole hours of a period that rollups hold as a cut-off knows them."""

    reports: Spans
    """By `roll_up_reports`."""
    carbon: Spans
    """By `streams.carbon.rollups.roll_up_carbon`."""


def roll_up_reports(client: "Client", as_of: datetime) -> tuple[RolledUp, ...]:
    """Roll up every closed hour that changed since its last run; see `streams.answers.rollups.roll_up`."""
    return roll_up(client, as_of, REPORTS)


def rolled_spans(client: "Client", period: Period, as_of: str) -> Rolled:
    """What rollups hold of `period` as `as_of` knows it."""
    rows = client.query(HOURS, parameters=period.parameters | {"as_of": as_of}).result_rows
    reports, carbon = (
        Spans.merged((hour_ms, hour_ms + HOUR_MS) for name, hour_ms in rows if name == runs)
        for runs in ("report_runs", "carbon_runs")
    )
    return Rolled(reports, carbon)
