-- From joules to grams. The ledger holds energy; what turns it into carbon and water are factors, each with its
-- source, its spread and its time of validity. A late or corrected factor is a new version; rows of the ledger
-- never change. Views read both as they stood at a cut-off, so that an old statement stays reproducible.

ALTER TABLE batches{on_cluster} ADD COLUMN IF NOT EXISTS gpus UInt32 COMMENT 'accelerators of the group: its embodied carbon is theirs';
ALTER TABLE batches{on_cluster} ADD COLUMN IF NOT EXISTS edge_error Float64 COMMENT 'standard error of metered_uj by what the counter shows late at the window''s edges, relative; 0 without a meter';
ALTER TABLE ledger{on_cluster} ADD COLUMN IF NOT EXISTS model_loadings Array(Float32) COMMENT 'signed microjoules by which one standard deviation of each error of the energy model moves energy_uj; errors are common to an engine class: add loadings, then square';
ALTER TABLE ledger{on_cluster} ADD COLUMN IF NOT EXISTS sampling_uj Int64 COMMENT 'standard error of energy_uj by sampling, independent of every other row; 0 where the split is exact';
ALTER TABLE grid_intensity{on_cluster} ADD COLUMN IF NOT EXISTS resolution LowCardinality(String) COMMENT 'interval, or annual: a year''s mean that stands in where nothing better is known';
ALTER TABLE grid_intensity{on_cluster} ADD COLUMN IF NOT EXISTS spread Float64 COMMENT 'geometric standard deviation of the figure''s log-normal error, 1 or more';
ALTER TABLE grid_intensity{on_cluster} ADD COLUMN IF NOT EXISTS lag_s Float64 COMMENT 'seconds from the end of validity until the source had it; below 0 for a forecast';

CREATE TABLE IF NOT EXISTS factors{on_cluster} (
    kind                LowCardinality(String) COMMENT 'pue, wue, grid_water, embodied_gpu, embodied_host, lifetime, meter_device, meter_generation',
    scope               LowCardinality(String) COMMENT 'site, zone or GPU that it holds for; default for all others',
    effective_from      DateTime64(3, 'UTC') COMMENT 'holds from then until the next version of its kind and scope',
    value               Float64 COMMENT 'in its unit',
    unit                LowCardinality(String) COMMENT 'unit of value',
    spread              Float64 COMMENT 'geometric standard deviation of the figure''s log-normal error, 1 or more',
    source              String COMMENT 'who says so',
    licence             String COMMENT 'licence of the source',
    vintage             LowCardinality(String) COMMENT 'year or edition of the source',
    factor_version      UInt64 COMMENT 'when the source said so, Unix milliseconds: a correction is a higher version, never an edit',
    stored_at           DateTime64(3, 'UTC') DEFAULT now64(3) COMMENT 'when the row reached the database',
    version             UInt64 MATERIALIZED 18446744073709551615 - toUInt64(toUnixTimestamp64Milli(stored_at)) COMMENT 'falls as stored_at grows: of a replayed row the earliest copy stays'
) ENGINE = {engine}(version)
ORDER BY (kind, scope, effective_from, factor_version)
COMMENT 'Power usage, water, manufacturing and meter errors: what the ledger is multiplied with beside the grid';

-- The base views name their columns when they are made: made again, they have the new ones.
CREATE OR REPLACE VIEW batches_as_of{on_cluster} AS
SELECT *
FROM batches
WHERE stored_at <= {as_of:DateTime64(3, 'UTC')}
QUALIFY row_number() OVER (
    PARTITION BY group_id, start_ns, event_time, batch_id ORDER BY revision DESC, version DESC
) = 1 AND closed_by != 'superseded'
COMMENT 'Each batch''s highest revision among those stored by as_of';

CREATE OR REPLACE VIEW current_batches{on_cluster} AS
SELECT *
FROM batches_as_of(as_of = '2299-12-31 23:59:59.999')
COMMENT 'Each batch''s highest revision';

CREATE OR REPLACE VIEW ledger_as_of{on_cluster} AS
SELECT booked.*
FROM (SELECT * FROM ledger FINAL) AS booked
INNER JOIN batches_as_of(as_of = {as_of:DateTime64(3, 'UTC')}) AS sealed
    ON booked.event_time = sealed.event_time
    AND booked.batch_id = sealed.batch_id
    AND booked.revision = sealed.revision
    AND booked.inputs = sealed.inputs
COMMENT 'Rows of each batch''s highest revision among those stored by as_of, each once';

CREATE OR REPLACE VIEW current_ledger{on_cluster} AS
SELECT *
FROM ledger_as_of(as_of = '2299-12-31 23:59:59.999')
COMMENT 'Rows of each batch''s highest revision, each once';

CREATE OR REPLACE VIEW factors_as_of{on_cluster} AS
SELECT kind, scope, effective_from, value, unit, spread, source, licence, vintage, factor_version
FROM factors
WHERE stored_at <= {as_of:DateTime64(3, 'UTC')}
QUALIFY row_number() OVER (PARTITION BY kind, scope, effective_from ORDER BY factor_version DESC, version DESC) = 1
COMMENT 'Factors by kind, scope and start: the highest version of each among those stored by as_of';

CREATE OR REPLACE VIEW intensity_as_of{on_cluster} AS
SELECT
    zone, basis, if(resolution = 'annual', 'annual', 'interval') AS resolution, valid_from, valid_to, g_per_kwh,
    greatest(spread, 1.) AS spread, source, estimated, lag_s, factor_version
FROM grid_intensity
WHERE stored_at <= {as_of:DateTime64(3, 'UTC')}
QUALIFY row_number() OVER (
    PARTITION BY zone, basis, if(resolution = 'annual', 'annual', 'interval'), valid_from
    ORDER BY estimated, factor_version DESC, source, version DESC
) = 1
COMMENT 'Carbon intensity by zone, basis, resolution and start: measured before estimated, then the highest version stored by as_of';

-- The ladder, as streams/carbon/ladder.py climbs it: the interval that holds the moment (live); the newest one
-- before it, two hours old at most (recent); the interval a week earlier (last_week); the year's mean (annual).
CREATE OR REPLACE VIEW zone_intensity_between{on_cluster} AS
WITH
    wanted AS (
        SELECT zone, event_time, basis, event_time - INTERVAL 7 DAY AS week_ago
        FROM (
            SELECT DISTINCT zone, event_time
            FROM batches_as_of(as_of = {as_of:DateTime64(3, 'UTC')})
            WHERE event_time >= {start:DateTime64(3, 'UTC')} - INTERVAL 31 DAY AND event_time < {end:DateTime64(3, 'UTC')}
                AND (event_time >= {start:DateTime64(3, 'UTC')} OR cold_start_uj > 0)
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
    )
SELECT
    a_week_ago.zone AS zone,
    a_week_ago.basis AS basis,
    a_week_ago.event_time AS event_time,
    multiIf(a_week_ago.rung != '', a_week_ago.rung, f.source != '', 'annual', 'none') AS rung,
    if(a_week_ago.rung != '', a_week_ago.factor,
        (f.g_per_kwh, f.spread, f.source, f.estimated, f.lag_s, f.factor_version, f.valid_from)) AS factor,
    if(rung = 'none', nan, factor.1) AS g_per_kwh,
    if(rung = 'none', 1., factor.2) AS spread,
    factor.3 AS source,
    factor.4 AS estimated,
    factor.5 AS lag_s,
    factor.6 AS factor_version,
    factor.7 AS valid_from
FROM a_week_ago
ASOF LEFT JOIN (
    SELECT * FROM intensity_as_of(as_of = {as_of:DateTime64(3, 'UTC')}) WHERE resolution = 'annual'
) AS f ON a_week_ago.zone = f.zone AND a_week_ago.basis = f.basis AND a_week_ago.event_time >= f.valid_from
COMMENT 'Carbon intensity of each zone at each batch''s start, with the rung of the ladder it came from; nan where nothing is known';

CREATE OR REPLACE VIEW batch_factors_between{on_cluster} AS
WITH
    (own, general, at) -> if(
        arrayExists(v -> v.1 <= at, own), arrayLast(v -> v.1 <= at, own), arrayLast(v -> v.1 <= at, general)
    ) AS in_force,
    history AS (
        SELECT kind, scope, arraySort(groupArray((effective_from, value, spread, factor_version))) AS versions
        FROM factors_as_of(as_of = {as_of:DateTime64(3, 'UTC')})
        GROUP BY kind, scope
    ),
    by_scope AS (
        SELECT
            scope,
            anyIf(versions, kind = 'pue') AS pue, anyIf(versions, kind = 'wue') AS wue,
            anyIf(versions, kind = 'grid_water') AS grid_water, anyIf(versions, kind = 'embodied_gpu') AS embodied_gpu,
            anyIf(versions, kind = 'embodied_host') AS embodied_host, anyIf(versions, kind = 'lifetime') AS lifetime,
            anyIf(versions, kind = 'meter_device') AS meter_device,
            anyIf(versions, kind = 'meter_generation') AS meter_generation
        FROM history
        GROUP BY scope
    ),
    (SELECT groupUniqArray(scope) FROM history WHERE kind IN ('embodied_gpu', 'meter_device')) AS known_gpus,
    intensity AS (
        SELECT
            zone, event_time,
            anyIf((g_per_kwh, spread, rung, source, estimated, lag_s, factor_version), basis = 'location') AS location,
            anyIf((g_per_kwh, spread, rung, source, estimated, lag_s, factor_version), basis = 'market') AS market,
            anyIf(g_per_kwh, basis = 'marginal') AS marginal
        FROM zone_intensity_between(
            start = {start:DateTime64(3, 'UTC')}, end = {end:DateTime64(3, 'UTC')}, as_of = {as_of:DateTime64(3, 'UTC')})
        GROUP BY zone, event_time
    ),
    sealed AS (
        SELECT
            batch_id, event_time, group_id, engine_class, model, zone, site, gpu_model, gpus, tier, start_ns, end_ns,
            busy_ns, edge_error, arrayFirst(name -> has(splitByNonAlpha(upper(gpu_model)), name), known_gpus) AS gpu
        FROM batches_as_of(as_of = {as_of:DateTime64(3, 'UTC')})
        WHERE event_time >= {start:DateTime64(3, 'UTC')} - INTERVAL 31 DAY AND event_time < {end:DateTime64(3, 'UTC')}
            AND (event_time >= {start:DateTime64(3, 'UTC')} OR cold_start_uj > 0)
    ),
    general AS (
        SELECT
            anyIf(pue, scope = 'default') AS pue, anyIf(wue, scope = 'default') AS wue,
            anyIf(grid_water, scope = 'default') AS grid_water, anyIf(embodied_gpu, scope = 'default') AS embodied_gpu,
            anyIf(embodied_host, scope = 'default') AS embodied_host, anyIf(lifetime, scope = 'default') AS lifetime,
            anyIf(meter_device, scope = 'default') AS meter_device,
            anyIf(meter_generation, scope = 'default') AS meter_generation
        FROM by_scope
    )
SELECT
    sealed.batch_id AS batch_id,
    sealed.event_time AS event_time,
    sealed.group_id AS group_id,
    sealed.engine_class AS engine_class,
    sealed.model AS model,
    sealed.zone AS zone,
    sealed.site AS site,
    sealed.gpu AS gpu,
    sealed.gpus AS gpus,
    sealed.tier AS tier,
    sealed.end_ns - sealed.start_ns AS window_ns,
    sealed.busy_ns AS busy_ns,
    sealed.edge_error AS edge_error,
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
    in_force(of_site.pue, general.pue, sealed.event_time) AS pue_factor,
    if(pue_factor.4 = 0, nan, pue_factor.2) AS pue,
    greatest(pue_factor.3, 1.) AS pue_spread,
    pue_factor.4 AS pue_version,
    if(empty(of_site.pue), 'default', sealed.site) AS pue_scope,
    in_force(of_site.wue, general.wue, sealed.event_time) AS wue_factor,
    if(wue_factor.4 = 0, nan, wue_factor.2) AS wue_l_per_kwh,
    in_force(of_zone.grid_water, general.grid_water, sealed.event_time) AS water_factor,
    if(water_factor.4 = 0, nan, water_factor.2) AS grid_water_l_per_kwh,
    in_force(of_gpu.embodied_gpu, general.embodied_gpu, sealed.event_time) AS gpu_factor,
    in_force(of_gpu.embodied_host, general.embodied_host, sealed.event_time) AS host_factor,
    in_force(of_gpu.lifetime, general.lifetime, sealed.event_time) AS lifetime_factor,
    if(gpu_factor.4 = 0 OR host_factor.4 = 0 OR lifetime_factor.4 = 0, nan,
        sealed.gpus * (gpu_factor.2 + host_factor.2) * 1000 / (lifetime_factor.2 * 31557600)) AS embodied_g_per_s,
    greatest(gpu_factor.3, 1.) AS embodied_spread,
    greatest(gpu_factor.4, host_factor.4, lifetime_factor.4) AS embodied_version,
    in_force(of_gpu.meter_device, general.meter_device, sealed.event_time).2 AS meter_device,
    in_force(of_gpu.meter_generation, general.meter_generation, sealed.event_time).2 AS meter_generation
FROM sealed
LEFT JOIN intensity ON sealed.zone = intensity.zone AND sealed.event_time = intensity.event_time
LEFT JOIN by_scope AS of_site ON sealed.site = of_site.scope
LEFT JOIN by_scope AS of_zone ON sealed.zone = of_zone.scope
LEFT JOIN by_scope AS of_gpu ON sealed.gpu = of_gpu.scope
CROSS JOIN general
COMMENT 'The factors in force for each batch that began in [start, end), and for loads up to 31 days before, as stored by as_of';
