"""The questions that a tenant's report asks; all take tenant, from_ms, to_ms and as_of."""

from typing import Final

__all__ = [
    "CARBON",
    "FLEET_BASE",
    "FLEET_ROLLED",
    "FRESH_HOURS",
    "HOURS",
    "LINES",
    "MOVED",
    "SEALED",
    "SPREAD",
]

IN_PERIOD: Final = (
    "event_time >= fromUnixTimestamp64Milli({from_ms:Int64}, 'UTC') "
    "AND event_time < fromUnixTimestamp64Milli({to_ms:Int64}, 'UTC')"
)
AS_OF: Final = "{as_of:DateTime64(3, 'UTC')}"

# The tenant's own rows come by the ledger's sorting key; only the batches that they name are looked up.
ROWS: Final = f"""
(
    SELECT *
    FROM ledger FINAL
    WHERE tenant = {{tenant:String}} AND account = 'request' AND {IN_PERIOD} AND stored_at <= {AS_OF}
) AS line
INNER JOIN (
    SELECT event_time, batch_id, revision, inputs, method, model_version, engine_class, tier, zone,
        if(modelled_uj > 0, (request_uj + overhead_uj) / modelled_uj, 0.) AS scale
    FROM batches_as_of(as_of = {AS_OF})
    WHERE {IN_PERIOD}
) AS batch
    ON line.event_time = batch.event_time AND line.batch_id = batch.batch_id AND line.revision = batch.revision
    AND line.inputs = batch.inputs
"""  # noqa: S608 - constants of this module

# What a request's own tokens cost by the model in force, scaled to the meter: what using fewer would have saved.
LINES: Final = f"""
SELECT
    model, count() AS requests, sum(prompt), sum(cached), sum(prefill), sum(decode), sum(emitted), sum(uj),
    sum(half_width), sum(host), sum(held), min(tier), arraySort(groupUniqArrayArray(methods)),
    arraySort(groupUniqArrayArray(versions)), sum(least(halved, toFloat64(uj))),
    sum(greatest(0.2 * (toFloat64(uj) - prefilled), 0.))
FROM (
    SELECT
        line.model AS model, max(line.prompt_tokens) AS prompt, max(line.cached_tokens) AS cached,
        sum(line.prefill_tokens) AS prefill, sum(line.decode_tokens) AS decode, sum(line.emitted_tokens) AS emitted,
        sum(toInt128(line.energy_uj)) AS uj, sum(toInt128(line.half_width_uj)) AS half_width,
        sum(toInt128(line.host_uj)) AS host, sum(line.held_ns) AS held, min(batch.tier) AS tier,
        groupUniqArray(batch.method) AS methods, groupUniqArray(batch.model_version) AS versions,
        sum(1e6 * batch.scale * energy_model.c['prefill_token_j'] * line.prefill_tokens) AS prefilled,
        sum(1e6 * batch.scale * (
            energy_model.c['prefill_token_j'] * line.prefill_tokens / 2
            + (energy_model.c['context_token_j'] + energy_model.c['attention_j'])
                * line.iterations * line.prompt_tokens / 2
        )) AS halved
    FROM {ROWS}
    LEFT JOIN (
        SELECT engine_class, model_version, any(coefficients) AS c
        FROM energy_models GROUP BY engine_class, model_version
    ) AS energy_model
        ON batch.engine_class = energy_model.engine_class AND batch.model_version = energy_model.model_version
    GROUP BY model, line.engine_id, line.incarnation, line.ordinal
)
GROUP BY model
ORDER BY sum(uj) DESC, model
"""  # noqa: S608

HOURS: Final = f"""
SELECT
    toStartOfHour(line.event_time) AS hour, line.model AS model,
    uniqExact(line.engine_id, line.incarnation, line.ordinal), sum(toInt128(line.energy_uj)),
    sum(toInt128(line.half_width_uj)), sum(toInt128(line.host_uj)), sum(line.prefill_tokens),
    sum(line.decode_tokens), sum(line.emitted_tokens)
FROM {ROWS}
GROUP BY hour, model
ORDER BY hour, model
"""  # noqa: S608

SPREAD: Final = f"""
SELECT quantilesExact(0.5, 0.9, 0.99)(uj), max(uj)
FROM (
    SELECT sum(line.energy_uj) AS uj FROM {ROWS} GROUP BY line.engine_id, line.incarnation, line.ordinal
)
"""  # noqa: S608

MOVED: Final = f"""
SELECT kind, sum(toInt128(energy_uj)), sum(toInt128(host_uj))
FROM transfers_as_of(as_of = {AS_OF})
WHERE side = 'to' AND tenant = {{tenant:String}} AND {IN_PERIOD}
GROUP BY kind
ORDER BY kind
"""  # noqa: S608

CARBON: Final = f"""
SELECT
    factor.basis AS basis, sum(line.energy_uj / 3.6e12 * factor.g_per_kwh), sum(toInt128(line.energy_uj)),
    arraySort(groupUniqArray(
        concat(factor.source, ', ', factor.zone, ', version ', toString(factor.factor_version))
    )),
    max(factor.estimated)
FROM {ROWS}
INNER JOIN batch_intensity AS factor ON line.event_time = factor.event_time AND line.batch_id = factor.batch_id
GROUP BY basis
ORDER BY basis
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
