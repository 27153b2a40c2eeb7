"""The questions that a tenant's report asks, of rollups and of the ledger itself.

All take tenant, as_of and either a period (from_ms, to_ms) or the spans of it that they are about.
"""

from typing import Final

from streams.answers.spans import in_spans, latest_run

__all__ = [
    "AS_OF",
    "FLEET_BASE",
    "FLEET_ROLLED",
    "IN_PERIOD",
    "MOVED",
    "REQUESTS",
    "REQUESTS_ROLLED",
    "SEALED",
    "SEALED_NEAR",
    "TENANTS_ROWS",
    "batches_of",
]

IN_PERIOD: Final = (
    "event_time >= fromUnixTimestamp64Milli({from_ms:Int64}, 'UTC') "
    "AND event_time < fromUnixTimestamp64Milli({to_ms:Int64}, 'UTC')"
)
AS_OF: Final = "{as_of:DateTime64(3, 'UTC')}"


TENANTS_ROWS: Final = f"tenant = {{tenant:String}} AND account = 'request' AND {in_spans()}"


def batches_of(columns: str, rows: str, during: str) -> str:
    """The batches `during` a time that the ledger's `rows` name, by the highest revision and attempt that a cut-off
    knows: only these are looked up.
    """
    return f"""(
    SELECT {columns}
    FROM (
        SELECT *
        FROM batches
        WHERE {during} AND stored_at <= {AS_OF} AND batch_id IN (SELECT batch_id FROM ledger WHERE {rows})
        ORDER BY revision DESC, closed_by = 'superseded' DESC, iteration_frames + energy_frames DESC, inputs DESC,
            version DESC
        LIMIT 1 BY batch_id, event_time
    )
    WHERE closed_by != 'superseded'
)"""  # noqa: S608 - constants of this room


SPLIT: Final = """
    event_time, batch_id, revision, inputs, method, model_version, engine_class, tier, request_scale / 1e6 AS scale
"""

COEFFICIENTS: Final = """(
    SELECT engine_class, model_version, any(coefficients) AS c
    FROM energy_models GROUP BY engine_class, model_version
)"""

# Of a request, from its rows or from their sums.
SUMMED: Final = """max(line.prompt_tokens) AS prompt,
    max(line.cached_tokens) AS cached,
    sum(line.prefill_tokens) AS prefill,
    sum(line.decode_tokens) AS decode,
    sum(line.emitted_tokens) AS emitted,
    sum(line.energy_uj) AS uj,
    sum(line.half_width_uj) AS half_width,
    sum(line.host_uj) AS host,
    sum(line.held_ns) AS held,"""

# The tenant's rows come by the ledger's sorting key, and only the batches that they name are looked up: the
# manifest's latest revision, as `batches_as_of` finds it. One row per request, model and hour.
REQUESTS: Final = f"""
SELECT
    line.model AS model,
    toInt64(toUnixTimestamp(toStartOfHour(line.event_time))) AS hour,
    cityHash64(line.engine_id, line.incarnation, line.ordinal) AS request,
    {SUMMED}
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
    WHERE {TENANTS_ROWS} AND stored_at <= {AS_OF}
) AS line
INNER JOIN {batches_of(SPLIT, TENANTS_ROWS, in_spans())} AS batch
    ON line.event_time = batch.event_time AND line.batch_id = batch.batch_id AND line.revision = batch.revision
    AND line.inputs = batch.inputs
LEFT JOIN {COEFFICIENTS} AS energy_model
    ON batch.engine_class = energy_model.engine_class AND batch.model_version = energy_model.model_version
GROUP BY model, hour, request
ORDER BY model, hour, request
"""  # noqa: S608

# The same columns, of hours that are rolled up.
REQUESTS_ROLLED: Final = f"""
SELECT
    line.model AS model,
    toInt64(toUnixTimestamp64Milli(line.hour) / 1000) AS hour,
    line.request AS request,
    {SUMMED}
    min(line.tier) AS tier,
    arrayStringConcat(arraySort(groupUniqArrayArray(line.methods)), ' ') AS methods,
    arrayStringConcat(arraySort(groupUniqArray(line.model_version)), ' ') AS versions,
    sum(1e6 * energy_model.c['prefill_token_j'] * line.scaled_prefill) AS prefilled,
    sum(1e6 * (
        energy_model.c['prefill_token_j'] * line.scaled_prefill / 2
        + (energy_model.c['context_token_j'] + energy_model.c['attention_j']) * line.scaled_context / 2
    )) AS halved
FROM (
    SELECT *
    FROM request_hours
    WHERE tenant = {{tenant:String}} AND {in_spans("hour")} AND {latest_run("report_runs")}
    LIMIT 1 BY hour, run, model, request, engine_class, model_version
) AS line
LEFT JOIN {COEFFICIENTS} AS energy_model
    ON line.engine_class = energy_model.engine_class AND line.model_version = energy_model.model_version
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

# Batches that began an hour before the period's end, or later, tell nearly always, and are few.
SEALED_NEAR: Final = f"""
SELECT max(end_ns) FROM batches
WHERE stored_at <= {AS_OF} AND event_time >= fromUnixTimestamp64Milli({{to_ms:Int64}}, 'UTC') - INTERVAL 1 HOUR
"""  # noqa: S608

FLEET_ROLLED: Final = f"""
SELECT model, sum(one.energy_uj), sum(one.prompt_tokens), sum(one.emitted_tokens)
FROM (
    SELECT * FROM model_hours WHERE {in_spans("hour")} AND {latest_run("report_runs")} LIMIT 1 BY hour, run, model
) AS one
GROUP BY model
"""  # noqa: S608

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
