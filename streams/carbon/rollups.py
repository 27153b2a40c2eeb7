"""Rolls closed hours up into energy and GPU time by tenant, place, tier and five minutes: grams come from views.

The same kind of job as the hourly totals (`streams.answers.rollups`): it may run at any time, twice, or twice at
once. A corrected factor needs no hour again; a revised batch does, and gets it.
"""

from datetime import datetime
from typing import TYPE_CHECKING, Final

from streams.answers.rollups import RolledUp, Rollup, roll_up

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

__all__ = ["CARBON", "roll_up_carbon"]

# As `ledger_exposure_between` charges GPU time, over the hours' own rows: the view also reads a month before them.
WRITE: Final = """
INSERT INTO carbon_slots (
    hour, run, slot, account, tenant, model, engine_class, zone, site, gpu_model, tier, load_id, energy_uj, host_uj,
    charged_gpu_ns
)
WITH
    sealed AS (
        SELECT
            batch_id, event_time, revision, inputs, engine_class, zone, site, gpu_model, gpus, tier,
            end_ns - start_ns AS window_ns, busy_ns
        FROM batches_as_of(as_of = {as_of:DateTime64(3, 'UTC')})
        WHERE event_time >= {start:DateTime64(3, 'UTC')} AND event_time < {end:DateTime64(3, 'UTC')}
            AND toInt64(toUnixTimestamp(toStartOfHour(event_time))) IN {hours_s:Array(Int64)}
    ),
    lines AS (
        SELECT
            event_time, batch_id, revision, inputs, account, tenant, model, load_id, energy_uj, host_uj, held_ns
        FROM ledger FINAL
        WHERE event_time >= {start:DateTime64(3, 'UTC')} AND event_time < {end:DateTime64(3, 'UTC')}
    ),
    held AS (
        SELECT
            event_time, batch_id, revision, inputs, sum(line.held_ns) AS held_ns,
            sumIf(toInt128(line.energy_uj), account != 'request') AS other_uj
        FROM lines AS line
        GROUP BY event_time, batch_id, revision, inputs
    ),
    shared AS (
        SELECT
            sealed.event_time AS event_time, sealed.batch_id AS batch_id, sealed.revision AS revision,
            sealed.inputs AS inputs, engine_class, zone, site, gpu_model, gpus, tier, window_ns,
            held.held_ns AS held_ns, held.other_uj AS other_uj,
            least(held.held_ns, if(sealed.busy_ns > 0, sealed.busy_ns, sealed.window_ns)) AS served_ns
        FROM held
        INNER JOIN sealed
            ON sealed.event_time = held.event_time AND sealed.batch_id = held.batch_id
            AND sealed.revision = held.revision AND sealed.inputs = held.inputs
    )
SELECT
    toStartOfHour(line.event_time) AS hour, {run:UInt64},
    toStartOfInterval(line.event_time, INTERVAL 5 MINUTE) AS slot, line.account AS account, line.tenant AS tenant,
    line.model AS model, batch.engine_class AS engine_class, batch.zone AS zone, batch.site AS site,
    batch.gpu_model AS gpu_model, batch.tier AS tier, if(account = 'cold_start', line.load_id, '') AS loaded,
    sum(toInt128(line.energy_uj)), sum(toInt128(line.host_uj)),
    sum(batch.gpus * multiIf(
        line.account != 'request',
        if(batch.other_uj > 0, toFloat64(batch.window_ns - batch.served_ns) * (line.energy_uj / batch.other_uj), 0),
        batch.held_ns = 0, 0,
        toFloat64(if(batch.other_uj > 0, batch.served_ns, batch.window_ns)) * (line.held_ns / batch.held_ns)))
FROM lines AS line
INNER JOIN shared AS batch
    ON line.event_time = batch.event_time AND line.batch_id = batch.batch_id AND line.revision = batch.revision
    AND line.inputs = batch.inputs
GROUP BY hour, slot, account, tenant, model, engine_class, zone, site, gpu_model, tier, loaded
SETTINGS max_bytes_before_external_group_by = 268435456
"""

CARBON: Final = Rollup(runs="carbon_runs", writes=(WRITE,))


def roll_up_carbon(client: "Client", as_of: datetime) -> tuple[RolledUp, ...]:
    """Roll up every closed hour that changed since its last run; see `streams.answers.rollups.roll_up`."""
    return roll_up(client, as_of, CARBON)
