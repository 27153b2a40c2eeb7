-- Grams of a tenant's month without a look at everybody's rows, and what else figures of carbon must say: the tier,
-- idle energy that a policy moved, and intervals of host, moved and embodied figures. Factors are joined to places
-- and moments, of which a fleet has few, never to rows. Rollups hold energy and time, no grams, so that a corrected
-- factor needs none of them again.

CREATE TABLE IF NOT EXISTS carbon_slots{on_cluster} (
    hour                DateTime64(3, 'UTC') COMMENT 'hour that was rolled up',
    run                 UInt64 COMMENT 'the job''s run that wrote the row',
    slot                DateTime64(3, 'UTC') COMMENT 'start of the five minutes in which its batches began: the factors in force then count',
    account             LowCardinality(String) COMMENT 'request, idle, cold_start, overhead, unobserved',
    tenant              LowCardinality(String) COMMENT 'who asked; empty for accounts without a request',
    model               LowCardinality(String) COMMENT 'model served',
    engine_class        LowCardinality(String) COMMENT 'model, precision, GPU, parallelism, engine version',
    zone                LowCardinality(String) COMMENT 'grid zone',
    site                LowCardinality(String) COMMENT 'data centre',
    gpu_model           LowCardinality(String) COMMENT 'accelerator',
    tier                UInt8 COMMENT '3 telemetry, 2 parametric',
    load_id             String COMMENT 'for cold_start the load, else empty',
    energy_uj           Int128 COMMENT 'accelerator energy',
    host_uj             Int128 COMMENT 'host energy',
    charged_gpu_ns      Float64 COMMENT 'GPU time charged for, as ledger_exposure_between has it: embodied carbon is in proportion',
    stored_at           DateTime64(3, 'UTC') DEFAULT now64(3) COMMENT 'when the row reached the database',
    version             UInt64 MATERIALIZED 18446744073709551615 - toUInt64(toUnixTimestamp64Milli(stored_at)) COMMENT 'falls as stored_at grows: of a replayed row the earliest copy stays'
) ENGINE = {engine}(version)
PARTITION BY toYYYYMM(hour)
ORDER BY (tenant, hour, run, slot, account, model, engine_class, zone, site, gpu_model, tier, load_id)
COMMENT 'Energy and GPU time by tenant, place, tier and five minutes, of closed hours; each run a complete set';

CREATE TABLE IF NOT EXISTS carbon_runs{on_cluster} (
    hour                DateTime64(3, 'UTC') COMMENT 'start of the hour',
    run                 UInt64 COMMENT 'of an hour''s runs the highest is in force',
    as_of               DateTime64(3, 'UTC') COMMENT 'rows stored by then were counted',
    stored_at           DateTime64(3, 'UTC') DEFAULT now64(3) COMMENT 'when the row reached the database',
    version             UInt64 MATERIALIZED 18446744073709551615 - toUInt64(toUnixTimestamp64Milli(stored_at)) COMMENT 'falls as stored_at grows: of a replayed row the earliest copy stays'
) ENGINE = {engine}(version)
ORDER BY (hour, run)
COMMENT 'Hours rolled up into carbon_slots: written after the rows that it seals';

ALTER TABLE factors{on_cluster} COMMENT COLUMN IF EXISTS kind 'pue, wue, grid_water, embodied_gpu, embodied_host, lifetime, meter_device, meter_generation, meter_host';

CREATE OR REPLACE VIEW carbon_hours_open_between{on_cluster} AS
SELECT stored.hour AS hour, known.run AS run
FROM (
    SELECT toStartOfHour(event_time) AS hour, max(stored_at) AS newest
    FROM batches
    WHERE event_time >= {start:DateTime64(3, 'UTC')} AND event_time < {end:DateTime64(3, 'UTC')}
        AND stored_at <= {as_of:DateTime64(3, 'UTC')}
    GROUP BY hour
) AS stored
LEFT JOIN (
    SELECT toDateTime(hour, 'UTC') AS hour, max(run) AS run, max(as_of) AS until
    FROM carbon_runs WHERE as_of <= {as_of:DateTime64(3, 'UTC')} GROUP BY hour
) AS known ON stored.hour = known.hour
WHERE stored.newest > known.until
COMMENT 'Hours in [start, end) whose batches, as stored by as_of, no rollup covers yet: where there is none, tenant_carbon_rolled_between is complete';

CREATE OR REPLACE VIEW slots_between{on_cluster} AS
SELECT slot.*
FROM (
    SELECT * EXCEPT (stored_at) FROM carbon_slots
    WHERE hour >= {start:DateTime64(3, 'UTC')} - INTERVAL 31 DAY AND hour < {end:DateTime64(3, 'UTC')}
        AND (hour >= {start:DateTime64(3, 'UTC')} OR account = 'cold_start')
    LIMIT 1 BY tenant, hour, run, slot, account, model, engine_class, zone, site, gpu_model, tier, load_id
) AS slot
INNER JOIN (
    SELECT hour, max(run) AS run FROM carbon_runs WHERE as_of <= {as_of:DateTime64(3, 'UTC')} GROUP BY hour
) AS latest ON slot.hour = latest.hour AND slot.run = latest.run
COMMENT 'Rollups of hours in [start, end) by each hour''s latest run until as_of; of 31 days before, what models loaded';

CREATE OR REPLACE VIEW moments_between{on_cluster} AS
SELECT DISTINCT zone, site, gpu_model, event_time
FROM (
    SELECT zone, site, gpu_model, event_time
    FROM batches_as_of(as_of = {as_of:DateTime64(3, 'UTC')})
    WHERE {rows:String} = 'batches'
        AND event_time >= {start:DateTime64(3, 'UTC')} - INTERVAL 31 DAY
        AND event_time < if({rows:String} = 'batches', {end:DateTime64(3, 'UTC')}, toDateTime64('1970-01-01', 3, 'UTC'))
        AND (event_time >= {start:DateTime64(3, 'UTC')} OR cold_start_uj > 0)
    UNION ALL
    SELECT zone, site, gpu_model, slot AS event_time
    FROM carbon_slots
    WHERE {rows:String} = 'slots'
        AND hour >= {start:DateTime64(3, 'UTC')} - INTERVAL 31 DAY
        AND hour < if({rows:String} = 'slots', {end:DateTime64(3, 'UTC')}, toDateTime64('1970-01-01', 3, 'UTC'))
        AND (hour >= {start:DateTime64(3, 'UTC')} OR account = 'cold_start')
)
COMMENT 'Places and moments at which factors are asked for: starts of batches, or (rows = slots) of the five minutes of rollups';

CREATE OR REPLACE VIEW intensity_at_moments_between{on_cluster} AS
WITH
    wanted AS (
        SELECT zone, event_time, basis, event_time - INTERVAL 7 DAY AS week_ago
        FROM (
            SELECT DISTINCT zone, event_time
            FROM moments_between(
                start = {start:DateTime64(3, 'UTC')}, end = {end:DateTime64(3, 'UTC')},
                as_of = {as_of:DateTime64(3, 'UTC')}, rows = {rows:String})
        )
        ARRAY JOIN ['location', 'market', 'marginal'] AS basis
    ),
    now_known AS (
        SELECT wanted.zone AS zone, wanted.basis AS basis, wanted.event_time AS event_time, wanted.week_ago AS week_ago,
            if(f.source = '', '', multiIf(event_time < f.valid_to, 'live', event_time < f.valid_to + INTERVAL 2 HOUR, 'recent', '')) AS rung,
            (f.g_per_kwh, f.spread, f.source, f.estimated, f.lag_s, f.factor_version, f.valid_from) AS factor
        FROM wanted
        ASOF LEFT JOIN (
            SELECT * FROM intensity_as_of(as_of = {as_of:DateTime64(3, 'UTC')}) WHERE resolution = 'interval'
        ) AS f ON wanted.zone = f.zone AND wanted.basis = f.basis AND wanted.event_time >= f.valid_from
    ),
    a_week_ago AS (
        SELECT now_known.zone AS zone, now_known.basis AS basis, now_known.event_time AS event_time,
            multiIf(now_known.rung != '', now_known.rung, f.source != '' AND now_known.week_ago < f.valid_to, 'last_week', '') AS rung,
            if(now_known.rung != '', now_known.factor,
                (f.g_per_kwh, f.spread, f.source, f.estimated, f.lag_s, f.factor_version, f.valid_from)) AS factor
        FROM now_known
        ASOF LEFT JOIN (
            SELECT * FROM intensity_as_of(as_of = {as_of:DateTime64(3, 'UTC')}) WHERE resolution = 'interval'
        ) AS f ON now_known.zone = f.zone AND now_known.basis = f.basis AND now_known.week_ago >= f.valid_from
    ),
    this_year AS (
        SELECT a_week_ago.zone AS zone, a_week_ago.basis AS basis, a_week_ago.event_time AS event_time,
            splitByChar('-', zone)[1] AS country,
            multiIf(a_week_ago.rung != '', a_week_ago.rung, f.source != '', 'annual', '') AS rung,
            if(a_week_ago.rung != '', a_week_ago.factor,
                (f.g_per_kwh, f.spread, f.source, f.estimated, f.lag_s, f.factor_version, f.valid_from)) AS factor
        FROM a_week_ago
        ASOF LEFT JOIN (
            SELECT * FROM intensity_as_of(as_of = {as_of:DateTime64(3, 'UTC')}) WHERE resolution = 'annual'
        ) AS f ON a_week_ago.zone = f.zone AND a_week_ago.basis = f.basis AND a_week_ago.event_time >= f.valid_from
    )
SELECT
    this_year.zone AS zone,
    this_year.basis AS basis,
    this_year.event_time AS event_time,
    multiIf(this_year.rung != '', this_year.rung, f.source != '', 'country', 'none') AS rung,
    if(this_year.rung != '', this_year.factor,
        (f.g_per_kwh, f.spread, f.source, f.estimated, f.lag_s, f.factor_version, f.valid_from)) AS factor,
    if(rung = 'none', nan, factor.1) AS g_per_kwh,
    if(rung = 'none', 1., factor.2) AS spread,
    factor.3 AS source,
    factor.4 AS estimated,
    factor.5 AS lag_s,
    factor.6 AS factor_version,
    factor.7 AS valid_from
FROM this_year
ASOF LEFT JOIN (
    SELECT * FROM intensity_as_of(as_of = {as_of:DateTime64(3, 'UTC')}) WHERE resolution = 'annual'
) AS f ON this_year.country = f.zone AND this_year.basis = f.basis AND this_year.event_time >= f.valid_from
COMMENT 'Carbon intensity of each zone at each moment (rows: batches or slots), with the rung of the ladder it came from; nan where nothing is known';

CREATE OR REPLACE VIEW zone_intensity_between{on_cluster} AS
SELECT *
FROM intensity_at_moments_between(
    start = {start:DateTime64(3, 'UTC')}, end = {end:DateTime64(3, 'UTC')}, as_of = {as_of:DateTime64(3, 'UTC')},
    rows = 'batches')
COMMENT 'Carbon intensity of each zone at each batch''s start, with the rung of the ladder it came from; nan where nothing is known';

CREATE OR REPLACE VIEW place_factors_between{on_cluster} AS
WITH
    (own, general, at) -> if(
        arrayExists(v -> v.1 <= at, own), arrayLast(v -> v.1 <= at, own), arrayLast(v -> v.1 <= at, general)
    ) AS in_force,
    history AS (
        SELECT kind, scope, arraySort(groupArray((effective_from, value, spread, factor_version))) AS versions
        FROM factors_as_of(as_of = {as_of:DateTime64(3, 'UTC')})
        GROUP BY kind, scope
    ),
    -- kind → scope → versions: one row for all, so that nothing is joined for it.
    (
        SELECT mapFromArrays(groupArray(toString(kind)), groupArray(scopes))
        FROM (SELECT kind, mapFromArrays(groupArray(toString(scope)), groupArray(versions)) AS scopes FROM history GROUP BY kind)
    ) AS known,
    (SELECT groupUniqArray(scope) FROM history WHERE kind IN ('embodied_gpu', 'meter_device')) AS known_gpus,
    intensity AS (
        SELECT
            zone, event_time,
            anyIf((g_per_kwh, spread, rung, source, estimated, lag_s, factor_version), basis = 'location') AS location,
            anyIf((g_per_kwh, spread, rung, source, estimated, lag_s, factor_version), basis = 'market') AS market,
            anyIf(g_per_kwh, basis = 'marginal') AS marginal
        FROM intensity_at_moments_between(
            start = {start:DateTime64(3, 'UTC')}, end = {end:DateTime64(3, 'UTC')},
            as_of = {as_of:DateTime64(3, 'UTC')}, rows = {rows:String})
        GROUP BY zone, event_time
    ),
    asked AS (
        SELECT
            zone, site, gpu_model, event_time,
            arrayFirst(name -> has(splitByNonAlpha(upper(gpu_model)), name), known_gpus) AS gpu
        FROM moments_between(
            start = {start:DateTime64(3, 'UTC')}, end = {end:DateTime64(3, 'UTC')},
            as_of = {as_of:DateTime64(3, 'UTC')}, rows = {rows:String})
    )
SELECT
    asked.event_time AS event_time,
    asked.zone AS zone,
    asked.site AS site,
    asked.gpu_model AS gpu_model,
    asked.gpu AS gpu,
    intensity.location AS location,
    if(intensity.market.3 IN ('', 'none'), intensity.location, intensity.market) AS market,
    if(location.3 IN ('', 'none'), nan, location.1) AS location_g_per_kwh,
    location.2 AS location_spread,
    if(location.3 = '', 'none', location.3) AS location_rung,
    location.4 AS location_source,
    location.5 AS location_estimated,
    location.6 AS location_lag_s,
    location.7 AS location_version,
    if(market.3 IN ('', 'none'), nan, market.1) AS market_g_per_kwh,
    market.2 AS market_spread,
    multiIf(intensity.market.3 NOT IN ('', 'none'), intensity.market.3, location_rung = 'none', 'none', concat('location:', location_rung)) AS market_rung,
    market.4 AS market_source,
    market.7 AS market_version,
    intensity.marginal AS marginal_g_per_kwh,
    in_force(known['pue'][toString(asked.site)], known['pue']['default'], asked.event_time) AS pue_factor,
    if(pue_factor.4 = 0, nan, pue_factor.2) AS pue,
    greatest(pue_factor.3, 1.) AS pue_spread,
    pue_factor.4 AS pue_version,
    if(arrayExists(v -> v.1 <= asked.event_time, known['pue'][toString(asked.site)]), asked.site, 'default') AS pue_scope,
    in_force(known['wue'][toString(asked.site)], known['wue']['default'], asked.event_time) AS wue_factor,
    if(wue_factor.4 = 0, nan, wue_factor.2) AS wue_l_per_kwh,
    in_force(known['grid_water'][toString(asked.zone)], if(empty(known['grid_water'][splitByChar('-', toString(asked.zone))[1]]), known['grid_water']['default'], known['grid_water'][splitByChar('-', toString(asked.zone))[1]]),
        asked.event_time) AS water_factor,
    if(water_factor.4 = 0, nan, water_factor.2) AS grid_water_l_per_kwh,
    in_force(known['embodied_gpu'][toString(asked.gpu)], known['embodied_gpu']['default'], asked.event_time) AS gpu_factor,
    in_force(known['embodied_host'][toString(asked.gpu)], known['embodied_host']['default'], asked.event_time) AS host_factor,
    in_force(known['lifetime'][toString(asked.gpu)], known['lifetime']['default'], asked.event_time) AS lifetime_factor,
    if(gpu_factor.4 = 0 OR host_factor.4 = 0 OR lifetime_factor.4 = 0, nan,
        (gpu_factor.2 + host_factor.2) * 1000 / (lifetime_factor.2 * 31557600)) AS embodied_g_per_gpu_s,
    -- Two figures that err apart add in squares, by their parts of the sum; the lifetime divides both.
    sqrt(if(gpu_factor.2 + host_factor.2 = 0, 0., (
        pow(gpu_factor.2 * log(greatest(gpu_factor.3, 1.)), 2) + pow(host_factor.2 * log(greatest(host_factor.3, 1.)), 2)
    ) / pow(gpu_factor.2 + host_factor.2, 2)) + pow(log(greatest(lifetime_factor.3, 1.)), 2)) AS embodied_log_sd,
    greatest(gpu_factor.4, host_factor.4, lifetime_factor.4) AS embodied_version,
    in_force(known['meter_device'][toString(asked.gpu)], known['meter_device']['default'], asked.event_time).2 AS meter_device,
    in_force(known['meter_generation'][toString(asked.gpu)], known['meter_generation']['default'], asked.event_time).2 AS meter_generation,
    in_force(known['meter_host'][toString(asked.site)], known['meter_host']['default'], asked.event_time).2 AS meter_host
FROM asked
LEFT JOIN intensity ON asked.zone = intensity.zone AND asked.event_time = intensity.event_time
COMMENT 'The factors in force at each place and moment in [start, end), and of loads up to 31 days before, as stored by as_of; rows: batches or slots';

CREATE OR REPLACE VIEW batch_factors_between{on_cluster} AS
SELECT
    sealed.batch_id AS batch_id,
    sealed.group_id AS group_id,
    sealed.engine_class AS engine_class,
    sealed.model AS model,
    sealed.gpus AS gpus,
    sealed.tier AS tier,
    sealed.window_ns AS window_ns,
    sealed.busy_ns AS busy_ns,
    sealed.edge_error AS edge_error,
    sealed.gpus * place.embodied_g_per_gpu_s AS embodied_g_per_s,
    place.event_time AS event_time,
    place.zone AS zone,
    place.site AS site,
    place.gpu_model AS gpu_model,
    place.gpu AS gpu,
    place.location AS location,
    place.market AS market,
    place.location_g_per_kwh AS location_g_per_kwh,
    place.location_spread AS location_spread,
    place.location_rung AS location_rung,
    place.location_source AS location_source,
    place.location_estimated AS location_estimated,
    place.location_lag_s AS location_lag_s,
    place.location_version AS location_version,
    place.market_g_per_kwh AS market_g_per_kwh,
    place.market_spread AS market_spread,
    place.market_rung AS market_rung,
    place.market_source AS market_source,
    place.market_version AS market_version,
    place.marginal_g_per_kwh AS marginal_g_per_kwh,
    place.pue AS pue,
    place.pue_spread AS pue_spread,
    place.pue_version AS pue_version,
    place.pue_scope AS pue_scope,
    place.wue_l_per_kwh AS wue_l_per_kwh,
    place.grid_water_l_per_kwh AS grid_water_l_per_kwh,
    place.embodied_g_per_gpu_s AS embodied_g_per_gpu_s,
    place.embodied_log_sd AS embodied_log_sd,
    place.embodied_version AS embodied_version,
    place.meter_device AS meter_device,
    place.meter_generation AS meter_generation,
    place.meter_host AS meter_host
FROM (
    SELECT
        batch_id, event_time, group_id, engine_class, model, zone, site, gpu_model, gpus, tier,
        end_ns - start_ns AS window_ns, busy_ns, edge_error
    FROM batches_as_of(as_of = {as_of:DateTime64(3, 'UTC')})
    WHERE event_time >= {start:DateTime64(3, 'UTC')} - INTERVAL 31 DAY AND event_time < {end:DateTime64(3, 'UTC')}
        AND (event_time >= {start:DateTime64(3, 'UTC')} OR cold_start_uj > 0)
) AS sealed
INNER JOIN place_factors_between(
    start = {start:DateTime64(3, 'UTC')}, end = {end:DateTime64(3, 'UTC')}, as_of = {as_of:DateTime64(3, 'UTC')},
    rows = 'batches') AS place
    ON sealed.event_time = place.event_time AND sealed.zone = place.zone AND sealed.site = place.site
    AND sealed.gpu_model = place.gpu_model
COMMENT 'The factors in force for each batch that began in [start, end), and for loads up to 31 days before, as stored by as_of';

CREATE OR REPLACE VIEW ledger_exposure_between{on_cluster} AS
WITH
    lines AS (
        SELECT * FROM ledger_as_of(as_of = {as_of:DateTime64(3, 'UTC')})
        WHERE event_time >= {start:DateTime64(3, 'UTC')} - INTERVAL 31 DAY AND event_time < {end:DateTime64(3, 'UTC')}
    ),
    rows_held AS (
        SELECT
            event_time, batch_id, sum(line.held_ns) AS held_ns, sumIf(toInt128(line.energy_uj), account != 'request') AS other_uj
        FROM lines AS line
        GROUP BY event_time, batch_id
    )
SELECT
    line.tenant AS tenant,
    line.event_time AS event_time,
    line.batch_id AS batch_id,
    line.account AS account,
    line.engine_id AS engine_id,
    line.incarnation AS incarnation,
    line.ordinal AS ordinal,
    line.client_request_id AS client_request_id,
    line.load_id AS load_id,
    line.group_id AS group_id,
    line.model AS model,
    batch.engine_class AS engine_class,
    batch.tier AS tier,
    batch.zone AS zone,
    batch.site AS site,
    batch.gpu_model AS gpu_model,
    batch.gpus AS gpus,
    line.energy_uj AS energy_uj,
    line.host_uj AS host_uj,
    line.held_ns AS held_ns,
    least(held.held_ns, if(batch.busy_ns > 0, batch.busy_ns, batch.window_ns)) AS served_ns,
    batch.gpus * multiIf(
        line.account != 'request', if(held.other_uj > 0, toFloat64(batch.window_ns - served_ns) * (line.energy_uj / held.other_uj), 0),
        held.held_ns = 0, 0,
        toFloat64(if(held.other_uj > 0, served_ns, batch.window_ns)) * (line.held_ns / held.held_ns)) AS charged_gpu_ns,
    line.event_time >= {start:DateTime64(3, 'UTC')} AS in_period
FROM (
    SELECT * FROM lines WHERE event_time >= {start:DateTime64(3, 'UTC')} OR account = 'cold_start'
) AS line
INNER JOIN (
    SELECT
        batch_id, event_time, engine_class, zone, site, gpu_model, gpus, tier, end_ns - start_ns AS window_ns, busy_ns
    FROM batches_as_of(as_of = {as_of:DateTime64(3, 'UTC')})
    WHERE event_time >= {start:DateTime64(3, 'UTC')} - INTERVAL 31 DAY AND event_time < {end:DateTime64(3, 'UTC')}
        AND (event_time >= {start:DateTime64(3, 'UTC')} OR cold_start_uj > 0)
) AS batch ON line.event_time = batch.event_time AND line.batch_id = batch.batch_id
LEFT JOIN rows_held AS held ON line.event_time = held.event_time AND line.batch_id = held.batch_id
COMMENT 'Rows of the ledger in [start, end) with their place, tier and the GPU time they are charged for, as stored by as_of; rows with in_period = 0 are earlier loads, there for the transfers';

CREATE OR REPLACE VIEW ledger_carbon_between{on_cluster} AS
SELECT
    line.tenant AS tenant,
    line.event_time AS event_time,
    line.batch_id AS batch_id,
    line.account AS account,
    line.engine_id AS engine_id,
    line.incarnation AS incarnation,
    line.ordinal AS ordinal,
    line.client_request_id AS client_request_id,
    line.load_id AS load_id,
    line.group_id AS group_id,
    line.model AS model,
    line.engine_class AS engine_class,
    line.tier AS tier,
    line.zone AS zone,
    line.site AS site,
    factor.gpu AS gpu,
    line.energy_uj AS energy_uj,
    line.host_uj AS host_uj,
    line.held_ns AS held_ns,
    factor.location_g_per_kwh AS location_g_per_kwh,
    factor.location_rung AS location_rung,
    factor.location_source AS location_source,
    factor.location_estimated AS location_estimated,
    factor.location_lag_s AS location_lag_s,
    factor.location_version AS location_version,
    factor.location_spread AS location_spread,
    sqrt(pow(log(factor.location_spread), 2) + pow(log(factor.pue_spread), 2)) AS location_log_sd,
    factor.market_g_per_kwh AS market_g_per_kwh,
    factor.market_rung AS market_rung,
    factor.market_source AS market_source,
    factor.market_version AS market_version,
    sqrt(pow(log(factor.market_spread), 2) + pow(log(factor.pue_spread), 2)) AS market_log_sd,
    factor.pue AS pue,
    factor.pue_scope AS pue_scope,
    factor.pue_version AS pue_version,
    factor.embodied_version AS embodied_version,
    line.energy_uj / 3.6e12 AS accelerator_kwh,
    (toInt128(line.energy_uj) + line.host_uj) / 3.6e12 * pue AS facility_kwh,
    accelerator_kwh * location_g_per_kwh AS narrow_location_g,
    accelerator_kwh * market_g_per_kwh AS narrow_market_g,
    facility_kwh * location_g_per_kwh AS location_g,
    facility_kwh * market_g_per_kwh AS market_g,
    facility_kwh * factor.marginal_g_per_kwh AS marginal_g,
    line.charged_gpu_ns AS charged_gpu_ns,
    line.charged_gpu_ns / 1e9 * factor.embodied_g_per_gpu_s AS embodied_g,
    factor.embodied_log_sd AS embodied_log_sd,
    (toInt128(line.energy_uj) + line.host_uj) / 3.6e12 * factor.wue_l_per_kwh AS site_water_l,
    facility_kwh * factor.grid_water_l_per_kwh AS grid_water_l,
    line.in_period AS in_period
FROM ledger_exposure_between(
    start = {start:DateTime64(3, 'UTC')}, end = {end:DateTime64(3, 'UTC')}, as_of = {as_of:DateTime64(3, 'UTC')}) AS line
INNER JOIN place_factors_between(
    start = {start:DateTime64(3, 'UTC')}, end = {end:DateTime64(3, 'UTC')}, as_of = {as_of:DateTime64(3, 'UTC')},
    rows = 'batches') AS factor
    ON line.event_time = factor.event_time AND line.zone = factor.zone AND line.site = factor.site
    AND line.gpu_model = factor.gpu_model
COMMENT 'Rows of the ledger in [start, end) with their grams and litres, as stored by as_of; rows with in_period = 0 are earlier loads, there for the transfers';

CREATE OR REPLACE VIEW slot_carbon_between{on_cluster} AS
SELECT
    slot.tenant AS tenant, slot.hour AS hour, slot.slot AS event_time, slot.account AS account, slot.model AS model,
    slot.engine_class AS engine_class, slot.zone AS zone, slot.tier AS tier, slot.load_id AS load_id,
    slot.energy_uj AS energy_uj, slot.host_uj AS host_uj,
    factor.location_rung AS location_rung,
    sqrt(pow(log(factor.location_spread), 2) + pow(log(factor.pue_spread), 2)) AS location_log_sd,
    sqrt(pow(log(factor.market_spread), 2) + pow(log(factor.pue_spread), 2)) AS market_log_sd,
    factor.embodied_log_sd AS embodied_log_sd,
    slot.energy_uj / 3.6e12 AS accelerator_kwh,
    (slot.energy_uj + slot.host_uj) / 3.6e12 * factor.pue AS facility_kwh,
    accelerator_kwh * factor.location_g_per_kwh AS narrow_location_g,
    accelerator_kwh * factor.market_g_per_kwh AS narrow_market_g,
    facility_kwh * factor.location_g_per_kwh AS location_g,
    facility_kwh * factor.market_g_per_kwh AS market_g,
    facility_kwh * factor.marginal_g_per_kwh AS marginal_g,
    slot.charged_gpu_ns / 1e9 * factor.embodied_g_per_gpu_s AS embodied_g,
    (slot.energy_uj + slot.host_uj) / 3.6e12 * factor.wue_l_per_kwh AS site_water_l,
    facility_kwh * factor.grid_water_l_per_kwh AS grid_water_l,
    slot.hour >= {start:DateTime64(3, 'UTC')} AS in_period
FROM slots_between(
    start = {start:DateTime64(3, 'UTC')}, end = {end:DateTime64(3, 'UTC')}, as_of = {as_of:DateTime64(3, 'UTC')}) AS slot
INNER JOIN place_factors_between(
    start = {start:DateTime64(3, 'UTC')}, end = {end:DateTime64(3, 'UTC')}, as_of = {as_of:DateTime64(3, 'UTC')},
    rows = 'slots') AS factor
    ON slot.slot = factor.event_time AND slot.zone = factor.zone AND slot.site = factor.site
    AND slot.gpu_model = factor.gpu_model
COMMENT 'Rollups of whole hours in [start, end) with their grams and litres, as stored by as_of; a figure that begins to hold inside five minutes counts from the next';

CREATE OR REPLACE VIEW transfer_carbon_between{on_cluster} AS
WITH
    -- What pairs move: a load's energy, or (policy residency) an engine class's idle energy of an hour.
    loaded AS (
        SELECT
            if(line.account = 'idle', concat('idle ', line.engine_class, ' ', formatDateTime(line.event_time, '%Y-%m-%dT%H')), line.load_id) AS load_id,
            any(line.model) AS model,
            sum(toInt128(line.energy_uj)) AS energy_uj,
            sum(line.narrow_location_g) AS narrow_location_g,
            sum(line.narrow_market_g) AS narrow_market_g,
            sum(line.location_g) AS location_g,
            sum(line.market_g) AS market_g,
            sum(line.marginal_g) AS marginal_g,
            sum(line.embodied_g) AS embodied_g,
            sum(line.site_water_l) AS site_water_l,
            sum(line.grid_water_l) AS grid_water_l,
            sum(line.location_g * line.location_log_sd) / sum(line.location_g) AS location_log_sd,
            sum(line.market_g * line.market_log_sd) / sum(line.market_g) AS market_log_sd,
            sum(line.embodied_g * line.embodied_log_sd) / sum(line.embodied_g) AS embodied_log_sd
        FROM ledger_carbon_between(
            start = {start:DateTime64(3, 'UTC')}, end = {end:DateTime64(3, 'UTC')}, as_of = {as_of:DateTime64(3, 'UTC')}) AS line
        WHERE line.account = 'cold_start' OR (line.account = 'idle' AND line.in_period)
        GROUP BY load_id
    )
SELECT
    moved.tenant AS tenant,
    moved.event_time AS event_time,
    moved.side AS side,
    moved.kind AS kind,
    moved.account AS account,
    moved.load_id AS load_id,
    moved.engine_id AS engine_id,
    moved.incarnation AS incarnation,
    moved.ordinal AS ordinal,
    loaded.model AS model,
    moved.energy_uj AS energy_uj,
    moved.host_uj AS host_uj,
    if(loaded.energy_uj = 0, nan, moved.energy_uj / loaded.energy_uj) AS part,
    part * loaded.narrow_location_g AS narrow_location_g,
    part * loaded.narrow_market_g AS narrow_market_g,
    part * loaded.location_g AS location_g,
    part * loaded.market_g AS market_g,
    part * loaded.marginal_g AS marginal_g,
    part * loaded.embodied_g AS embodied_g,
    part * loaded.site_water_l AS site_water_l,
    part * loaded.grid_water_l AS grid_water_l,
    loaded.location_log_sd AS location_log_sd,
    loaded.market_log_sd AS market_log_sd,
    loaded.embodied_log_sd AS embodied_log_sd
FROM transfers_as_of(as_of = {as_of:DateTime64(3, 'UTC')}) AS moved
LEFT JOIN loaded ON moved.load_id = loaded.load_id
WHERE moved.event_time >= {start:DateTime64(3, 'UTC')} AND moved.event_time < {end:DateTime64(3, 'UTC')}
COMMENT 'Pairs moved in [start, end) with their part of the load''s, or the idle hour''s, own grams, so that both sides sum to zero; nan where what was moved is not on record. Hours of idle energy must lie in the period as a whole';

CREATE OR REPLACE VIEW slot_transfer_carbon_between{on_cluster} AS
WITH
    -- What pairs move: a load's energy, or (policy residency) an engine class's idle energy of an hour.
    loaded AS (
        SELECT
            if(line.account = 'idle', concat('idle ', line.engine_class, ' ', formatDateTime(line.event_time, '%Y-%m-%dT%H')), line.load_id) AS load_id,
            any(line.model) AS model,
            sum(toInt128(line.energy_uj)) AS energy_uj,
            sum(line.narrow_location_g) AS narrow_location_g,
            sum(line.narrow_market_g) AS narrow_market_g,
            sum(line.location_g) AS location_g,
            sum(line.market_g) AS market_g,
            sum(line.marginal_g) AS marginal_g,
            sum(line.embodied_g) AS embodied_g,
            sum(line.site_water_l) AS site_water_l,
            sum(line.grid_water_l) AS grid_water_l,
            sum(line.location_g * line.location_log_sd) / sum(line.location_g) AS location_log_sd,
            sum(line.market_g * line.market_log_sd) / sum(line.market_g) AS market_log_sd,
            sum(line.embodied_g * line.embodied_log_sd) / sum(line.embodied_g) AS embodied_log_sd
        FROM slot_carbon_between(
            start = {start:DateTime64(3, 'UTC')}, end = {end:DateTime64(3, 'UTC')}, as_of = {as_of:DateTime64(3, 'UTC')}) AS line
        WHERE line.account = 'cold_start' OR (line.account = 'idle' AND line.in_period)
        GROUP BY load_id
    )
SELECT
    moved.tenant AS tenant,
    moved.event_time AS event_time,
    moved.side AS side,
    moved.kind AS kind,
    moved.account AS account,
    moved.load_id AS load_id,
    moved.engine_id AS engine_id,
    moved.incarnation AS incarnation,
    moved.ordinal AS ordinal,
    loaded.model AS model,
    moved.energy_uj AS energy_uj,
    moved.host_uj AS host_uj,
    if(loaded.energy_uj = 0, nan, moved.energy_uj / loaded.energy_uj) AS part,
    part * loaded.narrow_location_g AS narrow_location_g,
    part * loaded.narrow_market_g AS narrow_market_g,
    part * loaded.location_g AS location_g,
    part * loaded.market_g AS market_g,
    part * loaded.marginal_g AS marginal_g,
    part * loaded.embodied_g AS embodied_g,
    part * loaded.site_water_l AS site_water_l,
    part * loaded.grid_water_l AS grid_water_l,
    loaded.location_log_sd AS location_log_sd,
    loaded.market_log_sd AS market_log_sd,
    loaded.embodied_log_sd AS embodied_log_sd
FROM transfers_as_of(as_of = {as_of:DateTime64(3, 'UTC')}) AS moved
LEFT JOIN loaded ON moved.load_id = loaded.load_id
WHERE moved.event_time >= {start:DateTime64(3, 'UTC')} AND moved.event_time < {end:DateTime64(3, 'UTC')}
COMMENT 'transfer_carbon_between of whole hours, from rollups';

CREATE OR REPLACE VIEW tenant_carbon_between{on_cluster} AS
SELECT
    tenant,
    model,
    sum(piece.energy_uj) AS energy_uj,
    sum(piece.transferred_uj) AS transferred_uj,
    sum(piece.host_uj) AS host_uj,
    sumIf(piece.energy_uj, tier = 2) AS estimated_uj,
    sumIf(piece.location_g, known AND tier = 2) AS estimated_location_g,
    sumIf(piece.market_g, known AND tier = 2) AS estimated_market_g,
    sumIf(piece.narrow_location_g, known) AS narrow_location_g,
    sumIf(piece.narrow_market_g, known) AS narrow_market_g,
    sumIf(piece.location_g, known) AS location_g,
    sumIf(piece.market_g, known) AS market_g,
    sumIf(piece.marginal_g, isFinite(piece.marginal_g)) AS marginal_g,
    sumIf(piece.embodied_g, isFinite(piece.embodied_g)) AS embodied_g,
    sumIf(piece.site_water_l, isFinite(piece.site_water_l)) AS site_water_l,
    sumIf(piece.grid_water_l, isFinite(piece.grid_water_l)) AS grid_water_l,
    sumIf(piece.energy_uj + piece.transferred_uj, NOT known) AS without_intensity_uj,
    sumIf(piece.energy_uj + piece.transferred_uj, NOT isFinite(piece.marginal_g)) AS without_marginal_uj,
    sumIf(piece.energy_uj + piece.transferred_uj, NOT isFinite(piece.embodied_g)) AS without_embodied_uj,
    sumIf(piece.energy_uj + piece.transferred_uj, NOT isFinite(piece.site_water_l) OR NOT isFinite(piece.grid_water_l)) AS without_water_uj,
    sumMap(map(rung, piece.energy_uj)) AS uj_by_rung,
    sumIf(piece.location_g * piece.location_log_sd, known) / sumIf(piece.location_g, known) AS location_log_sd,
    sumIf(piece.market_g * piece.market_log_sd, known) / sumIf(piece.market_g, known) AS market_log_sd,
    sumIf(piece.embodied_g * piece.embodied_log_sd, isFinite(piece.embodied_g)) / sumIf(piece.embodied_g, isFinite(piece.embodied_g)) AS embodied_log_sd
FROM (
    SELECT
        tenant, model, toInt128(line.energy_uj) AS energy_uj, toInt128(0) AS transferred_uj,
        toInt128(line.host_uj) AS host_uj, tier, narrow_location_g, narrow_market_g, location_g, market_g, marginal_g,
        embodied_g, site_water_l, grid_water_l, isFinite(location_g) AS known, toString(location_rung) AS rung,
        location_log_sd, market_log_sd, embodied_log_sd
    FROM ledger_carbon_between(
        start = {start:DateTime64(3, 'UTC')}, end = {end:DateTime64(3, 'UTC')}, as_of = {as_of:DateTime64(3, 'UTC')}) AS line
    WHERE account = 'request' AND in_period
    UNION ALL
    SELECT
        tenant, model, toInt128(0), toInt128(moved.energy_uj), toInt128(moved.host_uj), 0, narrow_location_g,
        narrow_market_g, location_g, market_g, marginal_g, embodied_g, site_water_l, grid_water_l,
        isFinite(location_g), moved.kind, location_log_sd, market_log_sd, embodied_log_sd
    FROM transfer_carbon_between(
        start = {start:DateTime64(3, 'UTC')}, end = {end:DateTime64(3, 'UTC')}, as_of = {as_of:DateTime64(3, 'UTC')}) AS moved
    WHERE side = 'to'
) AS piece
GROUP BY tenant, model
COMMENT 'Per tenant and model over [start, end), as stored by as_of: energy, grams and litres of its requests and of what was moved to it; estimated_* is the part of tier 2, without_* energy that a factor lacks for and that the sums leave out';

CREATE OR REPLACE VIEW tenant_carbon_rolled_between{on_cluster} AS
SELECT
    tenant,
    model,
    sum(piece.energy_uj) AS energy_uj,
    sum(piece.transferred_uj) AS transferred_uj,
    sum(piece.host_uj) AS host_uj,
    sumIf(piece.energy_uj, tier = 2) AS estimated_uj,
    sumIf(piece.location_g, known AND tier = 2) AS estimated_location_g,
    sumIf(piece.market_g, known AND tier = 2) AS estimated_market_g,
    sumIf(piece.narrow_location_g, known) AS narrow_location_g,
    sumIf(piece.narrow_market_g, known) AS narrow_market_g,
    sumIf(piece.location_g, known) AS location_g,
    sumIf(piece.market_g, known) AS market_g,
    sumIf(piece.marginal_g, isFinite(piece.marginal_g)) AS marginal_g,
    sumIf(piece.embodied_g, isFinite(piece.embodied_g)) AS embodied_g,
    sumIf(piece.site_water_l, isFinite(piece.site_water_l)) AS site_water_l,
    sumIf(piece.grid_water_l, isFinite(piece.grid_water_l)) AS grid_water_l,
    sumIf(piece.energy_uj + piece.transferred_uj, NOT known) AS without_intensity_uj,
    sumIf(piece.energy_uj + piece.transferred_uj, NOT isFinite(piece.marginal_g)) AS without_marginal_uj,
    sumIf(piece.energy_uj + piece.transferred_uj, NOT isFinite(piece.embodied_g)) AS without_embodied_uj,
    sumIf(piece.energy_uj + piece.transferred_uj, NOT isFinite(piece.site_water_l) OR NOT isFinite(piece.grid_water_l)) AS without_water_uj,
    sumMap(map(rung, piece.energy_uj)) AS uj_by_rung,
    sumIf(piece.location_g * piece.location_log_sd, known) / sumIf(piece.location_g, known) AS location_log_sd,
    sumIf(piece.market_g * piece.market_log_sd, known) / sumIf(piece.market_g, known) AS market_log_sd,
    sumIf(piece.embodied_g * piece.embodied_log_sd, isFinite(piece.embodied_g)) / sumIf(piece.embodied_g, isFinite(piece.embodied_g)) AS embodied_log_sd
FROM (
    SELECT
        tenant, model, toInt128(line.energy_uj) AS energy_uj, toInt128(0) AS transferred_uj,
        toInt128(line.host_uj) AS host_uj, tier, narrow_location_g, narrow_market_g, location_g, market_g, marginal_g,
        embodied_g, site_water_l, grid_water_l, isFinite(location_g) AS known, toString(location_rung) AS rung,
        location_log_sd, market_log_sd, embodied_log_sd
    FROM slot_carbon_between(
        start = {start:DateTime64(3, 'UTC')}, end = {end:DateTime64(3, 'UTC')}, as_of = {as_of:DateTime64(3, 'UTC')}) AS line
    WHERE account = 'request' AND in_period
    UNION ALL
    SELECT
        tenant, model, toInt128(0), toInt128(moved.energy_uj), toInt128(moved.host_uj), 0, narrow_location_g,
        narrow_market_g, location_g, market_g, marginal_g, embodied_g, site_water_l, grid_water_l,
        isFinite(location_g), moved.kind, location_log_sd, market_log_sd, embodied_log_sd
    FROM slot_transfer_carbon_between(
        start = {start:DateTime64(3, 'UTC')}, end = {end:DateTime64(3, 'UTC')}, as_of = {as_of:DateTime64(3, 'UTC')}) AS moved
    WHERE side = 'to'
) AS piece
GROUP BY tenant, model
COMMENT 'tenant_carbon_between of whole hours in [start, end) that were rolled up, from rollups: of any length, for one tenant, cheap';

CREATE OR REPLACE VIEW request_tiers_between{on_cluster} AS
SELECT
    tenant,
    concat(incarnation, '-', toString(ordinal)) AS request_id,
    any(line.client_request_id) AS client_request_id,
    engine_id,
    incarnation,
    ordinal,
    tier,
    count() AS batches,
    sum(toInt128(line.energy_uj)) AS energy_uj,
    sum(toInt128(line.host_uj)) AS host_uj,
    sum(line.location_g) AS location_g,
    sum(line.market_g) AS market_g,
    sum(line.embodied_g) AS embodied_g
FROM ledger_carbon_between(
    start = {start:DateTime64(3, 'UTC')}, end = {end:DateTime64(3, 'UTC')}, as_of = {as_of:DateTime64(3, 'UTC')}) AS line
WHERE account = 'request' AND in_period
GROUP BY tenant, engine_id, incarnation, ordinal, tier
COMMENT 'Per request and tier: energy and grams of its batches of that tier, as stored by as_of; nan where a factor lacks';

CREATE OR REPLACE VIEW tenant_tiers_between{on_cluster} AS
SELECT
    tenant,
    model,
    tier,
    uniqExact(engine_id, incarnation, ordinal) AS requests,
    sum(toInt128(line.energy_uj)) AS energy_uj,
    energy_uj / sum(energy_uj) OVER (PARTITION BY tenant, model) AS part,
    sum(toInt128(line.host_uj)) AS host_uj,
    sumIf(line.location_g, isFinite(line.location_g)) AS location_g,
    sumIf(line.market_g, isFinite(line.market_g)) AS market_g,
    sumIf(line.embodied_g, isFinite(line.embodied_g)) AS embodied_g,
    sumIf(toInt128(line.energy_uj), NOT isFinite(line.location_g)) AS without_intensity_uj
FROM ledger_carbon_between(
    start = {start:DateTime64(3, 'UTC')}, end = {end:DateTime64(3, 'UTC')}, as_of = {as_of:DateTime64(3, 'UTC')}) AS line
WHERE account = 'request' AND in_period
GROUP BY tenant, model, tier
COMMENT 'Per tenant, model and tier (3 telemetry, 2 estimated) over [start, end): energy of its requests, its part of the tenant''s, and grams';

CREATE OR REPLACE VIEW tenant_certainty_between{on_cluster} AS
WITH
    by_batch AS (
        SELECT
            line.tenant AS tenant, factor.gpu AS gpu, factor.engine_class AS engine_class, factor.group_id AS group_id,
            any(factor.gpus) AS gpus, any(factor.meter_device) AS meter_device,
            any(factor.meter_generation) AS meter_generation, any(factor.site) AS site, any(factor.meter_host) AS meter_host,
            sum(toFloat64(line.energy_uj)) AS uj, sum(toFloat64(line.host_uj)) AS host_uj, sumForEach(arrayMap(x -> toFloat64(x), line.model_loadings)) AS loadings,
            sum(pow(line.sampling_uj, 2)) AS sampling, pow(uj * any(factor.edge_error), 2) AS edges
        FROM (
            SELECT * FROM ledger_as_of(as_of = {as_of:DateTime64(3, 'UTC')})
            WHERE account = 'request' AND event_time >= {start:DateTime64(3, 'UTC')} AND event_time < {end:DateTime64(3, 'UTC')}
        ) AS line
        INNER JOIN batch_factors_between(
            start = {start:DateTime64(3, 'UTC')}, end = {end:DateTime64(3, 'UTC')}, as_of = {as_of:DateTime64(3, 'UTC')}) AS factor
            ON line.event_time = factor.event_time AND line.batch_id = factor.batch_id
        GROUP BY line.tenant, line.event_time, line.batch_id, factor.gpu, factor.engine_class, factor.group_id
    ),
    by_group AS (
        SELECT
            tenant, gpu, engine_class, group_id, max(by_batch.meter_device) AS device, max(by_batch.meter_generation) AS generation,
            max(by_batch.gpus) AS devices, sum(by_batch.uj) AS uj, sumForEach(by_batch.loadings) AS loadings,
            sum(by_batch.sampling) AS sampling, sum(by_batch.edges) AS edges
        FROM by_batch GROUP BY tenant, gpu, engine_class, group_id
    ),
    -- Cold starts and idle hours moved to the tenant: their division is exact, their meter is not.
    moved AS (
        SELECT tenant, sum(toFloat64(pair.energy_uj)) AS uj, sum(toFloat64(pair.host_uj)) AS host_uj
        FROM transfers_as_of(as_of = {as_of:DateTime64(3, 'UTC')}) AS pair
        WHERE side = 'to' AND event_time >= {start:DateTime64(3, 'UTC')} AND event_time < {end:DateTime64(3, 'UTC')}
        GROUP BY tenant
    ),
    -- Hosts of one site are read or estimated in one way: their error is common to it.
    by_site AS (
        SELECT tenant, sum(uj) AS host_uj, sum(pow(uj * error, 2)) AS host
        FROM (
            SELECT tenant, site, sum(by_batch.host_uj) AS uj, max(by_batch.meter_host) AS error
            FROM by_batch GROUP BY tenant, site
        )
        GROUP BY tenant
    ),
    by_class AS (
        SELECT
            tenant, gpu, engine_class, max(by_group.device) AS device, max(by_group.generation) AS generation, sum(by_group.uj) AS uj,
            arraySum(x -> x * x, sumForEach(by_group.loadings)) AS model, sum(by_group.sampling) AS sampling,
            sum(by_group.edges) AS edges, sum(pow(by_group.uj * by_group.device, 2) / greatest(by_group.devices, 1)) AS meter
        FROM by_group GROUP BY tenant, gpu, engine_class
    ),
    by_gpu AS (
        SELECT
            tenant, gpu, max(by_class.device) AS device, max(by_class.generation) AS generation, sum(by_class.uj) AS uj,
            sum(by_class.model) AS model, sum(by_class.sampling) AS sampling,
            sum(by_class.edges) AS edges, sum(by_class.meter) + pow(uj * generation, 2) AS meter
        FROM by_class GROUP BY tenant, gpu
    )
SELECT
    of_gpus.tenant AS tenant,
    any(of_gpus.uj) AS energy_uj,
    1.6449 * sqrt(any(of_gpus.model)) AS model_half_width_uj,
    1.6449 * sqrt(any(of_gpus.sampling)) AS sampling_half_width_uj,
    1.6449 * sqrt(any(of_gpus.edges)) AS edge_half_width_uj,
    1.6449 * sqrt(any(of_gpus.meter)) AS meter_half_width_uj,
    sqrt(pow(model_half_width_uj, 2) + pow(sampling_half_width_uj, 2) + pow(edge_half_width_uj, 2)) AS split_half_width_uj,
    sqrt(pow(split_half_width_uj, 2) + pow(meter_half_width_uj, 2)) AS half_width_uj,
    any(by_site.host_uj) AS host_uj,
    1.6449 * sqrt(any(by_site.host)) AS host_meter_half_width_uj,
    -- A request's part of the host is its part of the accelerators: it is as unsure.
    sqrt(pow(host_meter_half_width_uj, 2) + if(energy_uj > 0, pow(split_half_width_uj / energy_uj * host_uj, 2), 0)) AS host_half_width_uj,
    any(moved.uj) AS transferred_uj,
    -- At most as unsure as a single card: what several meters average out is not known of a load.
    1.6449 * sqrt(pow(any(of_gpus.device), 2) + pow(any(of_gpus.generation), 2)) * abs(transferred_uj) AS transferred_half_width_uj
FROM (
    SELECT
        tenant, sum(by_gpu.uj) AS uj, sum(by_gpu.model) AS model, sum(by_gpu.sampling) AS sampling,
        sum(by_gpu.edges) AS edges, sum(by_gpu.meter) AS meter, max(by_gpu.device) AS device,
        max(by_gpu.generation) AS generation
    FROM by_gpu GROUP BY tenant
) AS of_gpus
LEFT JOIN by_site ON of_gpus.tenant = by_site.tenant
LEFT JOIN moved ON of_gpus.tenant = moved.tenant
GROUP BY of_gpus.tenant
COMMENT 'Per tenant over [start, end), as stored by as_of: half widths of 90 % intervals: of its requests'' energy, by cause (split is what remains when the meters are taken as true), of its host energy and of what was moved to it';

CREATE OR REPLACE VIEW tenant_carbon_interval_between{on_cluster} AS
SELECT
    total.tenant AS tenant,
    total.energy_uj AS energy_uj,
    total.location_g AS location_g,
    total.market_g AS market_g,
    total.embodied_g AS embodied_g,
    -- In logarithms: the energy's relative error, and the factor's.
    sqrt(pow(sure.half_width_uj, 2) + pow(sure.host_half_width_uj, 2) + pow(sure.transferred_half_width_uj, 2))
        / (sure.energy_uj + sure.host_uj + sure.transferred_uj) / 1.6449 AS energy_log_sd,
    total.location_log_sd AS location_log_sd,
    total.market_log_sd AS market_log_sd,
    total.embodied_log_sd AS embodied_log_sd,
    location_g * exp(-1.6449 * sqrt(pow(energy_log_sd, 2) + pow(location_log_sd, 2))) AS location_low_g,
    location_g * exp(1.6449 * sqrt(pow(energy_log_sd, 2) + pow(location_log_sd, 2))) AS location_high_g,
    market_g * exp(-1.6449 * sqrt(pow(energy_log_sd, 2) + pow(market_log_sd, 2))) AS market_low_g,
    market_g * exp(1.6449 * sqrt(pow(energy_log_sd, 2) + pow(market_log_sd, 2))) AS market_high_g,
    embodied_g * exp(-1.6449 * embodied_log_sd) AS embodied_low_g,
    embodied_g * exp(1.6449 * embodied_log_sd) AS embodied_high_g
FROM (
    SELECT
        tenant, sum(one.energy_uj) AS energy_uj, sum(one.location_g) AS location_g, sum(one.market_g) AS market_g,
        sum(one.embodied_g) AS embodied_g,
        sumIf(one.location_g * one.location_log_sd, one.location_g != 0) / location_g AS location_log_sd,
        sumIf(one.market_g * one.market_log_sd, one.market_g != 0) / market_g AS market_log_sd,
        sumIf(one.embodied_g * one.embodied_log_sd, one.embodied_g != 0) / embodied_g AS embodied_log_sd
    FROM tenant_carbon_between(
        start = {start:DateTime64(3, 'UTC')}, end = {end:DateTime64(3, 'UTC')}, as_of = {as_of:DateTime64(3, 'UTC')}) AS one
    GROUP BY tenant
) AS total
INNER JOIN tenant_certainty_between(
    start = {start:DateTime64(3, 'UTC')}, end = {end:DateTime64(3, 'UTC')}, as_of = {as_of:DateTime64(3, 'UTC')}) AS sure
    ON total.tenant = sure.tenant
COMMENT 'Per tenant over [start, end), as stored by as_of: grams with their 90 % intervals, log-normal: energy (split, meter, host, moved), intensity and PUE; embodied by its figures alone, since time is known';
