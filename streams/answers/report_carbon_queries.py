"""Energy and GPU time of a tenant by place and window, for its grams: from rollups and from the ledger itself."""

from typing import Final

from streams.answers.report_queries import AS_OF, IN_PERIOD, TENANTS_ROWS, batches_of
from streams.answers.spans import in_spans, latest_run

__all__ = ["FLEET", "HELD", "HELD_ROLLED", "IDLE", "IDLE_ROLLED", "LOADED", "MOVED", "PLACES"]

# Accelerator-seconds, as the view `ledger_carbon_between` charges them: the batch's requests hold what the batch
# was busy, in proportion to their time; where nothing else was booked they hold the whole window.
HELD_S: Final = """
    least(batch.held, if(batch.busy_ns > 0, batch.busy_ns, batch.window_ns)) AS served_ns,
    batch.gpus / 1e9 * {share}
"""
REQUEST_SHARE: Final = """
    if(batch.held = 0, 0., toFloat64(if(batch.other_uj > 0, served_ns, batch.window_ns)) * line.held_ns
        / batch.held)
"""
OTHER_SHARE: Final = """
    if(batch.other_uj = 0, 0., toFloat64(batch.window_ns - served_ns) * line.energy_uj / batch.other_uj)
"""
BATCH: Final = """
    event_time, batch_id, revision, inputs, zone, site, gpu_model, gpus, busy_ns, end_ns - start_ns AS window_ns,
    if(held_ns > 0 OR batch_size = 0, held_ns, busy_ns) AS held,
    idle_uj + cold_start_uj + overhead_uj + unobserved_uj AS other_uj
"""
JOINED: Final = """
    ON line.event_time = batch.event_time AND line.batch_id = batch.batch_id AND line.revision = batch.revision
    AND line.inputs = batch.inputs
"""

# What every answer below has: from where, from when, how much.
PIECE: Final = f"""
    toString(batch.zone) AS zone, toString(batch.site) AS site, toString(batch.gpu_model) AS gpu_model,
    toUnixTimestamp64Milli(line.event_time) AS at_ms, line.energy_uj AS uj, line.host_uj AS host,
    {HELD_S} AS held
"""
SUMS: Final = """
    zone, site, gpu_model, at_ms, toInt64(sum(uj)) AS energy_uj, toInt64(sum(host)) AS host_uj,
    toFloat64(sum(held)) AS gpu_s
"""
ROW: Final = "event_time, batch_id, revision, inputs, load_id, energy_uj, host_uj, held_ns"

HELD: Final = f"""
SELECT {SUMS}
FROM (
    SELECT {PIECE.format(share=REQUEST_SHARE)}
    FROM (SELECT {ROW} FROM ledger FINAL WHERE {TENANTS_ROWS} AND stored_at <= {AS_OF}) AS line
    INNER JOIN {batches_of(BATCH, TENANTS_ROWS, in_spans())} AS batch {JOINED}
)
GROUP BY zone, site, gpu_model, at_ms
ORDER BY zone, site, gpu_model, at_ms
"""  # noqa: S608 - constants of this module

MOVED: Final = f"""
SELECT kind, load_id, sum(toInt128(energy_uj))
FROM transfers_as_of(as_of = {AS_OF})
WHERE side = 'to' AND tenant = {{tenant:String}} AND {IN_PERIOD}
GROUP BY kind, load_id
ORDER BY kind, load_id
"""  # noqa: S608

SINCE_A_MONTH_BEFORE: Final = (
    "event_time >= fromUnixTimestamp64Milli({from_ms:Int64}, 'UTC') - INTERVAL 31 DAY "
    "AND event_time < fromUnixTimestamp64Milli({to_ms:Int64}, 'UTC')"
)
OF_LOADS: Final = "tenant = '' AND account = 'cold_start' AND load_id IN {loads:Array(String)}"
LOADS_ROWS: Final = f"{OF_LOADS} AND {SINCE_A_MONTH_BEFORE}"

LOADED: Final = f"""
SELECT load_id, {SUMS}
FROM (
    SELECT line.load_id AS load_id, {PIECE.format(share=OTHER_SHARE)}
    FROM (SELECT {ROW} FROM ledger FINAL WHERE {LOADS_ROWS} AND stored_at <= {AS_OF}) AS line
    INNER JOIN {batches_of(BATCH, LOADS_ROWS, SINCE_A_MONTH_BEFORE)} AS batch {JOINED}
)
GROUP BY load_id, zone, site, gpu_model, at_ms
ORDER BY load_id, zone, site, gpu_model, at_ms
"""  # noqa: S608

# An hour's pairs name it so (streams/ledger/residency.py).
IDLE_NAME: Final = "concat('idle ', {of}.engine_class, ' ', formatDateTime({of}.{at}, '%Y-%m-%dT%H'))"
IDLE_ROWS: Final = f"tenant = '' AND account = 'idle' AND {in_spans()}"

IDLE: Final = f"""
SELECT load_id, {SUMS}
FROM (
    SELECT {IDLE_NAME.format(of="batch", at="event_time")} AS load_id, {PIECE.format(share=OTHER_SHARE)}
    FROM (SELECT {ROW} FROM ledger FINAL WHERE {IDLE_ROWS} AND stored_at <= {AS_OF}) AS line
    INNER JOIN {batches_of("engine_class, " + BATCH, IDLE_ROWS, in_spans())} AS batch {JOINED}
)
WHERE load_id IN {{loads:Array(String)}}
GROUP BY load_id, zone, site, gpu_model, at_ms
ORDER BY load_id, zone, site, gpu_model, at_ms
"""  # noqa: S608


def _slots(owner: str, account: str) -> str:
    """Rollups of one account in the spans asked for, each once, by their hours' runs in force."""
    return f"""(
        SELECT *
        FROM carbon_slots
        WHERE tenant = {owner} AND account = '{account}' AND {in_spans("hour")} AND {latest_run("carbon_runs")}
        LIMIT 1 BY hour, run, slot, model, engine_class, zone, site, gpu_model, tier, load_id
    )"""  # noqa: S608


SLOT: Final = """
    toString(slot.zone) AS zone, toString(slot.site) AS site, toString(slot.gpu_model) AS gpu_model,
    toUnixTimestamp64Milli(slot.slot) AS at_ms, slot.energy_uj AS uj, slot.host_uj AS host,
    slot.charged_gpu_ns / 1e9 AS held
"""

HELD_ROLLED: Final = f"""
SELECT {SUMS}
FROM (SELECT {SLOT} FROM {_slots("{tenant:String}", "request")} AS slot)
GROUP BY zone, site, gpu_model, at_ms
ORDER BY zone, site, gpu_model, at_ms
"""  # noqa: S608

PLACES: Final = f"""
SELECT DISTINCT zone, site, gpu_model
FROM carbon_slots
WHERE tenant IN {{owners:Array(String)}} AND account IN ('request', 'idle') AND {in_spans("hour")}
ORDER BY zone, site, gpu_model
"""  # noqa: S608

IDLE_ROLLED: Final = f"""
SELECT load_id, {SUMS}
FROM (
    SELECT {IDLE_NAME.format(of="slot", at="hour")} AS load_id, {SLOT}
    FROM {_slots("''", "idle")} AS slot
)
WHERE load_id IN {{loads:Array(String)}}
GROUP BY load_id, zone, site, gpu_model, at_ms
ORDER BY load_id, zone, site, gpu_model, at_ms
"""  # noqa: S608

FLEET: Final = f"""
SELECT {SUMS}
FROM (
    SELECT
        toString(batch.zone) AS zone, toString(batch.site) AS site, toString(batch.gpu_model) AS gpu_model,
        toUnixTimestamp64Milli(line.event_time) AS at_ms, line.energy_uj AS uj, line.host_uj AS host, nan AS held
    FROM current_ledger AS line
    INNER JOIN current_batches AS batch {JOINED}
    WHERE line.account = 'request' AND {IN_PERIOD.replace("event_time", "line.event_time")}
        AND {IN_PERIOD.replace("event_time", "batch.event_time")}
)
GROUP BY zone, site, gpu_model, at_ms
ORDER BY zone, site, gpu_model, at_ms
"""  # noqa: S608
