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

WRITE: Final = """
INSERT INTO carbon_slots (
    hour, run, slot, account, tenant, model, engine_class, zone, site, gpu_model, tier, load_id, energy_uj, host_uj,
    charged_gpu_ns
)
SELECT
    toStartOfHour(event_time) AS hour,
    transform(toInt64(toUnixTimestamp(hour)), {hours_s:Array(Int64)}, {runs:Array(UInt64)}, toUInt64(0)),
    toStartOfInterval(event_time, INTERVAL 5 MINUTE) AS slot, account, tenant, model, engine_class, zone, site,
    gpu_model, tier, if(account = 'cold_start', line.load_id, '') AS loaded, sum(toInt128(line.energy_uj)),
    sum(toInt128(line.host_uj)), sum(line.charged_gpu_ns)
FROM ledger_exposure_between(
    start = {start:DateTime64(3, 'UTC')}, end = {end:DateTime64(3, 'UTC')}, as_of = {as_of:DateTime64(3, 'UTC')}
) AS line
WHERE in_period AND toInt64(toUnixTimestamp(toStartOfHour(event_time))) IN {hours_s:Array(Int64)}
GROUP BY hour, slot, account, tenant, model, engine_class, zone, site, gpu_model, tier, loaded
"""

CARBON: Final = Rollup(runs="carbon_runs", write=WRITE)


def roll_up_carbon(client: "Client", as_of: datetime) -> tuple[RolledUp, ...]:
    """Roll up every closed hour that changed since its last run; see `streams.answers.rollups.roll_up`."""
    return roll_up(client, as_of, CARBON)
