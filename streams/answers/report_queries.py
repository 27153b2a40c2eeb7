"""The questions that a tenant's report asks; all take tenant, from_ms, to_ms and as_of."""

from typing import Final

__all__ = [
    "AS_OF",
    "FLEET_BASE",
    "FLEET_ROLLED",
    "FRESH_HOURS",
    "IN_PERIOD",
    "MOVED",
    "REQUESTS",
    "SEALED",
    "tenant_batches",
]

IN_PERIOD: Final = (
    "event_time >= fromUnixTimestamp64Milli({from_ms:Int64}, 'UTC') "
    "AND event_time < fromUnixTimestamp64Milli({to_ms:Int64}, 'UTC')"
)
AS_OF: Final = "{as_of:DateTime64(3, 'UTC')}"


def tenant_batches(columns: str) -> str:
    """The batches that a tenant took part in, by the highest revision and attempt that a cut-off knows."""
    return f"""(
    SELECT {columns}
    FROM (
        SELECT *
        FROM batches
        WHERE {IN_PERIOD} AND stored_at <= {AS_OF} AND batch_id IN (
            SELECT batch_id FROM ledger WHERE tenant = {{tenant:String}} AND account = 'request' AND {IN_PERIOD}
        )
        ORDER BY revision DESC, closed_by = 'superseded' DESC, iteration_frames + energy_frames DESC, inputs DESC,
            version DESC
        LIMIT 1 BY batch_id, event_time
    )
    WHERE closed_by != 'superseded'
)"""  # noqa: S608 - columns are constants of this room


SPLIT: Final = """
    event_time, batch_id, revision, inputs, method, model_version, engine_class, tier, request_scale / 1e6 AS scale
"""

# The tenant's rows come by the ledger's sorting key, and only the batches that they name are looked up: the
# manifest's latest revision, as `batches_as_of` finds it. One row per request, model and hour.
REQUESTS: Final = f"""
SELECT
    line.model AS model,
    toInt64(toUnixTimestamp(toStartOfHour(line.event_time))) AS hour,
    cityHash64(line.engine_id, line.incarnation, line.ordinal) AS request,
    max(line.prompt_tokens) AS prompt,
    max(line.cached_tokens) AS cached,
    sum(line.prefill_tokens) AS prefill,
    sum(line.decode_tokens) AS decode,
    sum(line.emitted_tokens) AS emitted,
    sum(line.energy_uj) AS uj,
    sum(line.half_width_uj) AS half_width,
    sum(line.host_uj) AS host,
    sum(line.held_ns) AS held,
    min(batch.tier) AS tier,
    arrayStringConcat(arraySort(groupUniqArray(batch.method)), ' ') AS methods,
    arrayStringConcat(arraySort(groupUniqArray(batch.model_version)), ' ') AS versions,
    sum(1e6 * batch.scale * energy_model.c['prefill_token_j'] * line.prefill_tokens) AS prefilled,
    sum(1e6 * batch.scale * (
        energy_model.c['prefill_token_j'] * line.prefill_tokens / 2
        + (energy_model.c['context_token_j'] + energy_model.c['attention_j'])
            * line.iterations * line.prompt_tokens / 2
    )) AS halved
FROM (
    SELECT *
    FROM ledger FINAL
    WHERE tenant = {{tenant:String}} AND account = 'request' AND {IN_PERIOD} AND stored_at <= {AS_OF}
) AS line
INNER JOIN {tenant_batches(SPLIT)} AS batch
    ON line.event_time = batch.event_time AND line.batch_id = batch.batch_id AND line.revision = batch.revision
    AND line.inputs = batch.inputs
LEFT JOIN (
    SELECT engine_class, model_version, any(coefficients) AS c
    FROM energy_models GROUP BY engine_class, model_version
) AS energy_model
    ON batch.engine_class = energy_model.engine_class AND batch.model_version = energy_model.model_version
GROUP BY model, hour, request
ORDER BY model, hour, request
"""  # noqa: S608

MOVED: Final = f"""
SELECT kind, sum(toInt128(energy_uj)), sum(toInt128(host_uj))
FROM transfers_as_of(as_of = {AS_OF})
WHERE side = 'to' AND tenant = {{tenant:String}} AND {IN_PERIOD}
GROUP BY kind
ORDER BY kind
"""  # noqa: S608

SEALED: Final = f"""
SELECT max(end_ns) FROM batches WHERE stored_at <= {AS_OF}
"""  # noqa: S608

# Hours whose rollup counts exactly the rows stored by as_of.
FRESH_HOURS: Final = f"""
SELECT toUnixTimestamp64Milli(run.hour)
FROM (
    SELECT hour, argMax(as_of, rollup_runs.run) AS as_of
    FROM rollup_runs GROUP BY hour
) AS run
LEFT JOIN (
    SELECT toStartOfHour(event_time) AS hour, max(stored_at) AS newest
    FROM batches WHERE {IN_PERIOD} AND stored_at <= {AS_OF} GROUP BY hour
) AS batch ON toDateTime(run.hour, 'UTC') = batch.hour
WHERE run.hour >= fromUnixTimestamp64Milli({{from_ms:Int64}}, 'UTC')
    AND run.hour + INTERVAL 1 HOUR <= fromUnixTimestamp64Milli({{to_ms:Int64}}, 'UTC')
    AND run.as_of <= {AS_OF} AND batch.newest <= run.as_of
ORDER BY run.hour
"""  # noqa: S608

FLEET_ROLLED: Final = """
SELECT model, sum(energy_uj), sum(prompt_tokens), sum(emitted_tokens)
FROM tenant_hourly
WHERE toUnixTimestamp64Milli(hour) IN {hours:Array(Int64)}
GROUP BY model
"""

FLEET_BASE: Final = f"""
SELECT model, sum(uj), sum(prompt), sum(emitted)
FROM (
    SELECT model, sum(toInt128(energy_uj)) AS uj, max(prompt_tokens) AS prompt, sum(emitted_tokens) AS emitted
    FROM ledger_as_of(as_of = {AS_OF})
    WHERE account = 'request' AND {IN_PERIOD}
    GROUP BY model, engine_id, incarnation, ordinal
)
GROUP BY model
"""  # noqa: S608
