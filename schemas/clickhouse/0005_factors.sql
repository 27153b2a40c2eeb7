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
-- before it, two hours old at most (recent); the interval a week earlier (last_week); the year's mean (annual); the
-- year's mean of the country that the zone's name begins with (country).
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
    if(arrayExists(v -> v.1 <= sealed.event_time, of_site.pue), sealed.site, 'default') AS pue_scope,
    in_force(of_site.wue, general.wue, sealed.event_time) AS wue_factor,
    if(wue_factor.4 = 0, nan, wue_factor.2) AS wue_l_per_kwh,
    in_force(of_zone.grid_water, if(empty(of_country.grid_water), general.grid_water, of_country.grid_water),
        sealed.event_time) AS water_factor,
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
LEFT JOIN by_scope AS of_country ON splitByChar('-', sealed.zone)[1] = of_country.scope
LEFT JOIN by_scope AS of_gpu ON sealed.gpu = of_gpu.scope
CROSS JOIN general
COMMENT 'The factors in force for each batch that began in [start, end), and for loads up to 31 days before, as stored by as_of';

CREATE OR REPLACE VIEW ledger_carbon_between{on_cluster} AS
WITH
    rows_held AS (
        SELECT
            event_time, batch_id, sum(line.held_ns) AS held_ns, sumIf(toInt128(line.energy_uj), account != 'request') AS other_uj
        FROM ledger_as_of(as_of = {as_of:DateTime64(3, 'UTC')}) AS line
        WHERE event_time >= {start:DateTime64(3, 'UTC')} - INTERVAL 31 DAY AND event_time < {end:DateTime64(3, 'UTC')}
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
    factor.tier AS tier,
    factor.zone AS zone,
    factor.site AS site,
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
    least(held.held_ns, if(factor.busy_ns > 0, factor.busy_ns, factor.window_ns)) AS served_ns,
    factor.embodied_g_per_s / 1e9 * multiIf(
        line.account != 'request', if(held.other_uj > 0, toFloat64(factor.window_ns - served_ns) * (line.energy_uj / held.other_uj), 0),
        held.held_ns = 0, 0,
        toFloat64(if(held.other_uj > 0, served_ns, factor.window_ns)) * (line.held_ns / held.held_ns)) AS embodied_g,
    (toInt128(line.energy_uj) + line.host_uj) / 3.6e12 * factor.wue_l_per_kwh AS site_water_l,
    facility_kwh * factor.grid_water_l_per_kwh AS grid_water_l,
    factor.in_period AS in_period
FROM (
    SELECT * FROM ledger_as_of(as_of = {as_of:DateTime64(3, 'UTC')})
    WHERE event_time >= {start:DateTime64(3, 'UTC')} - INTERVAL 31 DAY AND event_time < {end:DateTime64(3, 'UTC')}
        AND (event_time >= {start:DateTime64(3, 'UTC')} OR account = 'cold_start')
) AS line
INNER JOIN (
    SELECT *, event_time >= {start:DateTime64(3, 'UTC')} AS in_period
    FROM batch_factors_between(
        start = {start:DateTime64(3, 'UTC')}, end = {end:DateTime64(3, 'UTC')}, as_of = {as_of:DateTime64(3, 'UTC')})
) AS factor ON line.event_time = factor.event_time AND line.batch_id = factor.batch_id
LEFT JOIN rows_held AS held ON line.event_time = held.event_time AND line.batch_id = held.batch_id
COMMENT 'Rows of the ledger in [start, end) with their grams and litres, as stored by as_of; rows with in_period = 0 are earlier loads, there for the transfers';

CREATE OR REPLACE VIEW transfer_carbon_between{on_cluster} AS
WITH
    loaded AS (
        SELECT
            load_id,
            sum(toInt128(line.energy_uj)) AS energy_uj, sum(line.narrow_location_g) AS narrow_location_g,
            sum(line.narrow_market_g) AS narrow_market_g, sum(line.location_g) AS location_g, sum(line.market_g) AS market_g,
            sum(line.marginal_g) AS marginal_g, sum(line.embodied_g) AS embodied_g, sum(line.site_water_l) AS site_water_l,
            sum(line.grid_water_l) AS grid_water_l,
            sum(line.location_g * line.location_log_sd) / sum(line.location_g) AS location_log_sd
        FROM ledger_carbon_between(
            start = {start:DateTime64(3, 'UTC')}, end = {end:DateTime64(3, 'UTC')}, as_of = {as_of:DateTime64(3, 'UTC')}) AS line
        WHERE account = 'cold_start'
        GROUP BY load_id
    ),
    model_of AS (
        SELECT load_id, any(model) AS model
        FROM ledger_as_of(as_of = {as_of:DateTime64(3, 'UTC')})
        WHERE account = 'cold_start' AND event_time >= {start:DateTime64(3, 'UTC')} - INTERVAL 31 DAY
            AND event_time < {end:DateTime64(3, 'UTC')}
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
    model_of.model AS model,
    moved.energy_uj AS energy_uj,
    moved.host_uj AS host_uj,
    if(loaded.energy_uj = 0, nan, moved.energy_uj / loaded.energy_uj) AS part,
    part * loaded.narrow_location_g AS narrow_location_g,
    part * loaded.narrow_market_g AS narrow_market_g,
    part * loaded.location_g AS location_g,
    loaded.location_log_sd AS location_log_sd,
    part * loaded.market_g AS market_g,
    part * loaded.marginal_g AS marginal_g,
    part * loaded.embodied_g AS embodied_g,
    part * loaded.site_water_l AS site_water_l,
    part * loaded.grid_water_l AS grid_water_l
FROM transfers_as_of(as_of = {as_of:DateTime64(3, 'UTC')}) AS moved
LEFT JOIN loaded ON moved.load_id = loaded.load_id
LEFT JOIN model_of ON moved.load_id = model_of.load_id
WHERE moved.event_time >= {start:DateTime64(3, 'UTC')} AND moved.event_time < {end:DateTime64(3, 'UTC')}
COMMENT 'Pairs moved in [start, end) with their part of the load''s own grams, so that both sides sum to zero; nan where the load is not on record';

CREATE OR REPLACE VIEW tenant_carbon_between{on_cluster} AS
SELECT
    tenant,
    model,
    sum(piece.energy_uj) AS energy_uj,
    sum(piece.transferred_uj) AS transferred_uj,
    sum(piece.host_uj) AS host_uj,
    sumIf(piece.energy_uj, tier = 2) AS estimated_uj,
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
    sumIf(piece.location_g * piece.location_log_sd, known) / sumIf(piece.location_g, known) AS location_log_sd
FROM (
    SELECT
        tenant, model, toInt128(ledger_carbon_between.energy_uj) AS energy_uj, toInt128(0) AS transferred_uj,
        toInt128(ledger_carbon_between.host_uj) AS host_uj, tier, narrow_location_g, narrow_market_g, location_g, market_g,
        marginal_g, embodied_g, site_water_l, grid_water_l, isFinite(location_g) AS known, toString(location_rung) AS rung,
        location_log_sd
    FROM ledger_carbon_between(
        start = {start:DateTime64(3, 'UTC')}, end = {end:DateTime64(3, 'UTC')}, as_of = {as_of:DateTime64(3, 'UTC')})
    WHERE account = 'request' AND in_period
    UNION ALL
    SELECT
        tenant, model, toInt128(0), toInt128(transfer_carbon_between.energy_uj), toInt128(transfer_carbon_between.host_uj),
        0, narrow_location_g, narrow_market_g, location_g, market_g, marginal_g, embodied_g, site_water_l, grid_water_l,
        isFinite(location_g), 'load', location_log_sd
    FROM transfer_carbon_between(
        start = {start:DateTime64(3, 'UTC')}, end = {end:DateTime64(3, 'UTC')}, as_of = {as_of:DateTime64(3, 'UTC')})
    WHERE side = 'to'
) AS piece
GROUP BY tenant, model
COMMENT 'Per tenant and model over [start, end), as stored by as_of: energy, grams and litres of its requests and of what was moved to it; without_* is energy that a factor lacks for and that the sums leave out';

-- What is common adds up, what is independent adds in squares: streams/uncertainty/sums.py on arrays.
CREATE OR REPLACE VIEW tenant_certainty_between{on_cluster} AS
WITH
    by_batch AS (
        SELECT
            line.tenant AS tenant, factor.gpu AS gpu, factor.engine_class AS engine_class, factor.group_id AS group_id,
            any(factor.gpus) AS gpus, any(factor.meter_device) AS meter_device,
            any(factor.meter_generation) AS meter_generation,
            sum(toFloat64(line.energy_uj)) AS uj, sumForEach(arrayMap(x -> toFloat64(x), line.model_loadings)) AS loadings,
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
    by_class AS (
        SELECT
            tenant, gpu, engine_class, max(by_group.generation) AS generation, sum(by_group.uj) AS uj,
            arraySum(x -> x * x, sumForEach(by_group.loadings)) AS model, sum(by_group.sampling) AS sampling,
            sum(by_group.edges) AS edges, sum(pow(by_group.uj * by_group.device, 2) / greatest(by_group.devices, 1)) AS meter
        FROM by_group GROUP BY tenant, gpu, engine_class
    ),
    by_gpu AS (
        SELECT
            tenant, gpu, sum(by_class.uj) AS uj, sum(by_class.model) AS model, sum(by_class.sampling) AS sampling,
            sum(by_class.edges) AS edges, sum(by_class.meter) + pow(uj * max(by_class.generation), 2) AS meter
        FROM by_class GROUP BY tenant, gpu
    )
SELECT
    tenant,
    sum(by_gpu.uj) AS energy_uj,
    1.6449 * sqrt(sum(by_gpu.model)) AS model_half_width_uj,
    1.6449 * sqrt(sum(by_gpu.sampling)) AS sampling_half_width_uj,
    1.6449 * sqrt(sum(by_gpu.edges)) AS edge_half_width_uj,
    1.6449 * sqrt(sum(by_gpu.meter)) AS meter_half_width_uj,
    sqrt(pow(model_half_width_uj, 2) + pow(sampling_half_width_uj, 2) + pow(edge_half_width_uj, 2)) AS split_half_width_uj,
    sqrt(pow(split_half_width_uj, 2) + pow(meter_half_width_uj, 2)) AS half_width_uj
FROM by_gpu
GROUP BY tenant
COMMENT 'Per tenant over [start, end), as stored by as_of: half widths of the 90 % interval of its requests'' energy, by cause; split is what remains when the meters are taken as true';

CREATE OR REPLACE VIEW tenant_carbon{on_cluster} (
    tenant              LowCardinality(String) COMMENT 'who asked',
    hour                DateTime('UTC') COMMENT 'start of the hour',
    model               LowCardinality(String) COMMENT 'model served',
    energy_uj           Int128 COMMENT 'accelerator energy booked to its requests',
    host_uj             Int128 COMMENT 'host energy booked to its requests',
    narrow_location_g   Float64 COMMENT 'gCO2e of the accelerators alone, location-based',
    location_g          Float64 COMMENT 'gCO2e of accelerators and host times PUE, location-based; nan rows are left out and counted in without_intensity_uj',
    market_g            Float64 COMMENT 'the same, market-based',
    embodied_g          Float64 COMMENT 'gCO2e of manufacturing, by the time held',
    site_water_l        Float64 COMMENT 'litres evaporated on site',
    grid_water_l        Float64 COMMENT 'litres evaporated by power stations',
    without_intensity_uj Int128 COMMENT 'energy for which no carbon intensity or PUE is on record'
) AS
SELECT
    tenant, toStartOfHour(event_time) AS hour, model, sum(toInt128(row.energy_uj)) AS energy_uj,
    sum(toInt128(row.host_uj)) AS host_uj,
    sumIf(row.narrow_location_g, isFinite(row.location_g)) AS narrow_location_g,
    sumIf(row.location_g, isFinite(row.location_g)) AS location_g,
    sumIf(row.market_g, isFinite(row.location_g)) AS market_g, sumIf(row.embodied_g, isFinite(row.embodied_g)) AS embodied_g,
    sumIf(row.site_water_l, isFinite(row.site_water_l)) AS site_water_l,
    sumIf(row.grid_water_l, isFinite(row.grid_water_l)) AS grid_water_l,
    sumIf(toInt128(row.energy_uj), NOT isFinite(row.location_g)) AS without_intensity_uj
FROM ledger_carbon_between(start = '1970-01-01', end = '2299-12-31', as_of = '2299-12-31 23:59:59.999') AS row
WHERE account = 'request'
GROUP BY tenant, hour, model
COMMENT 'Per tenant, hour and model: grams and litres of the energy booked to its requests, without transfers';

CREATE OR REPLACE VIEW batch_intensity{on_cluster} (
    batch_id        FixedString(32) COMMENT 'the batch',
    event_time      DateTime64(3, 'UTC') COMMENT 'start of the batch',
    zone            LowCardinality(String) COMMENT 'grid zone of the batch',
    basis           LowCardinality(String) COMMENT 'location, market or marginal',
    g_per_kwh       Float64 COMMENT 'grams of CO2 equivalent per kilowatt-hour',
    source          String COMMENT 'who says so',
    estimated       UInt8 COMMENT '1 where the source calls it an estimate',
    factor_version  UInt64 COMMENT 'version of the factor',
    valid_from      DateTime64(3, 'UTC') COMMENT 'start of the factor''s validity',
    rung            LowCardinality(String) COMMENT 'live, recent, last_week, annual or country: how near to the batch''s time and place the figure is'
) AS
SELECT
    batch.batch_id, batch.event_time, batch.zone, known.basis, known.g_per_kwh, known.source, known.estimated,
    known.factor_version, known.valid_from, known.rung
FROM current_batches AS batch
INNER JOIN zone_intensity_between(start = '1970-01-01', end = '2299-12-31', as_of = '2299-12-31 23:59:59.999') AS known
    ON batch.zone = known.zone AND batch.event_time = known.event_time
WHERE known.rung != 'none'
COMMENT 'The carbon intensity that applies to each batch; a batch without a factor on record has no row, never a zero';
