"""What `restatement` asks of the ledger."""

from typing import Final

__all__ = ["CHANGES", "PLACES"]

_PERIOD: Final = ", ".join(f"{name} = {{{name}:DateTime64(3, 'UTC')}}" for name in ("start", "end", "as_of"))


def _in_period(query: str) -> str:
    """Views over the period that the query's parameters name, written `view(PERIOD)`."""
    return query.replace("(PERIOD)", f"({_PERIOD})")


PLACES: Final = _in_period("""
SELECT DISTINCT zone, site, gpu
FROM batch_factors_between(PERIOD)
WHERE {zone:String} = '' OR zone = {zone:String}
ORDER BY zone, site, gpu
""")

CHANGES: Final = _in_period("""
WITH
    steps AS (
        SELECT zones AS zone, sites AS site, gpus AS gpu, fromUnixTimestamp64Milli(from_ms, 'UTC') AS since,
            location.1 AS location_before, location.2 AS location_after, market.1 AS market_before,
            market.2 AS market_after, pue.1 AS pue_before, pue.2 AS pue_after, embodied AS embodied_ratio
        FROM (SELECT 1)
        ARRAY JOIN {zones:Array(String)} AS zones, {sites:Array(String)} AS sites, {gpus:Array(String)} AS gpus,
            {from_ms:Array(Int64)} AS from_ms,
            arrayZip({location_before:Array(Float64)}, {location_after:Array(Float64)}) AS location,
            arrayZip({market_before:Array(Float64)}, {market_after:Array(Float64)}) AS market,
            arrayZip({pue_before:Array(Float64)}, {pue_after:Array(Float64)}) AS pue,
            {embodied_ratio:Array(Float64)} AS embodied
    ),
    valued AS (
        SELECT
            line.tenant AS tenant, line.account AS account, line.in_period AS in_period,
            -- As pairs call what they move: a load, or an engine class's idle energy of an hour.
            if(
                line.account = 'idle',
                concat('idle ', line.engine_class, ' ', formatDateTime(line.event_time, '%Y-%m-%dT%H')),
                line.load_id
            ) AS load_id,
            toInt128(line.energy_uj) AS uj, (toInt128(line.energy_uj) + line.host_uj) / 3.6e12 AS kwh,
            kwh * steps.pue_before * steps.location_before AS location_before,
            kwh * steps.pue_after * steps.location_after AS location_after,
            kwh * steps.pue_before * steps.market_before AS market_before,
            kwh * steps.pue_after * steps.market_after AS market_after,
            line.embodied_g AS embodied_before, line.embodied_g * steps.embodied_ratio AS embodied_after
        FROM ledger_carbon_between(PERIOD) AS line
        ASOF INNER JOIN steps
            ON line.zone = steps.zone AND line.site = steps.site AND line.gpu = steps.gpu
            AND line.event_time >= steps.since
    )
SELECT tenant, sum(part_uj), sum(lb), sum(la), sum(mb), sum(ma), sum(eb), sum(ea)
FROM (
    SELECT tenant, uj AS part_uj, location_before AS lb, location_after AS la,
        market_before AS mb, market_after AS ma, embodied_before AS eb, embodied_after AS ea
    FROM valued WHERE in_period
    UNION ALL
    SELECT if(moved.side = 'to', moved.tenant, ''), toInt128(moved.energy_uj),
        moved.part * load.lb, moved.part * load.la, moved.part * load.mb, moved.part * load.ma,
        moved.part * load.eb, moved.part * load.ea
    FROM (
        SELECT * FROM transfer_carbon_between(PERIOD)
    ) AS moved
    INNER JOIN (
        SELECT load_id, sum(location_before) AS lb, sum(location_after) AS la, sum(market_before) AS mb,
            sum(market_after) AS ma, sum(embodied_before) AS eb, sum(embodied_after) AS ea
        FROM valued WHERE account = 'cold_start' OR (account = 'idle' AND in_period) GROUP BY load_id
    ) AS load ON moved.load_id = load.load_id
)
GROUP BY tenant
""")
