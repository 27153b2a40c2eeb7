-- What people ask of the ledger. Every view and every column says what it is: `DESCRIBE TABLE receipts` reads as
-- documentation, and docs/sql.md shows questions and answers. Energy is in microjoules (1 Wh = 3.6e9 µJ) and of
-- accelerators unless a name says otherwise. `*_as_of(as_of = '...')` answers from what was stored by then.

-- Clients look their own ids up; without an index each look-up reads all of a tenant's rows.
ALTER TABLE ledger{on_cluster} ADD INDEX IF NOT EXISTS client_ids client_request_id TYPE bloom_filter(0.01) GRANULARITY 1;

CREATE OR REPLACE VIEW transfers_as_of{on_cluster} AS
SELECT *
FROM (SELECT * FROM transfers FINAL)
WHERE stored_at <= {as_of:DateTime64(3, 'UTC')}
QUALIFY rank() OVER (PARTITION BY kind, load_id ORDER BY revision DESC) = 1
COMMENT 'Pairs of each load''s highest revision among those stored by as_of';

CREATE OR REPLACE VIEW intensity_in_force{on_cluster} (
    zone            LowCardinality(String) COMMENT 'grid zone',
    basis           LowCardinality(String) COMMENT 'location or market',
    valid_from      DateTime64(3, 'UTC') COMMENT 'start of validity, inclusive',
    valid_to        DateTime64(3, 'UTC') COMMENT 'end of validity, exclusive',
    g_per_kwh       Float64 COMMENT 'grams of CO2 equivalent per kilowatt-hour',
    source          String COMMENT 'who says so',
    estimated       UInt8 COMMENT '1 where the source calls it an estimate',
    factor_version  UInt64 COMMENT 'version of the factor'
) AS
SELECT zone, basis, valid_from, valid_to, g_per_kwh, source, estimated, factor_version
FROM (SELECT * FROM grid_intensity FINAL)
QUALIFY row_number() OVER (PARTITION BY zone, basis, valid_from ORDER BY factor_version DESC, source) = 1
COMMENT 'Carbon intensity of electricity by zone, basis and start of validity: the highest version of each';

CREATE OR REPLACE VIEW batch_intensity{on_cluster} (
    batch_id        FixedString(32) COMMENT 'the batch',
    event_time      DateTime64(3, 'UTC') COMMENT 'start of the batch',
    zone            LowCardinality(String) COMMENT 'grid zone of the batch',
    basis           LowCardinality(String) COMMENT 'location or market',
    g_per_kwh       Float64 COMMENT 'grams of CO2 equivalent per kilowatt-hour in force when the batch began',
    source          String COMMENT 'who says so',
    estimated       UInt8 COMMENT '1 where the source calls it an estimate',
    factor_version  UInt64 COMMENT 'version of the factor',
    valid_from      DateTime64(3, 'UTC') COMMENT 'start of the factor''s validity'
) AS
SELECT
    batch.batch_id, batch.event_time, batch.zone, batch.basis, factor.g_per_kwh, factor.source, factor.estimated,
    factor.factor_version, factor.valid_from
FROM (
    SELECT batch_id, event_time, zone, arrayJoin(['location', 'market']) AS basis FROM current_batches
) AS batch
ASOF INNER JOIN intensity_in_force AS factor
    ON batch.zone = factor.zone AND batch.basis = factor.basis AND batch.event_time >= factor.valid_from
WHERE batch.event_time < factor.valid_to
COMMENT 'The carbon intensity that applies to each batch; a batch without a factor on record has no row, never a zero';

CREATE OR REPLACE VIEW receipts{on_cluster} (
    tenant              LowCardinality(String) COMMENT 'who asked',
    request_id          String COMMENT 'the ledger''s own id: incarnation and ordinal',
    client_request_id   String COMMENT 'as the client knows it; clients repeat ids',
    engine_id           LowCardinality(String) COMMENT 'engine that served it: cluster/node/name',
    incarnation         String COMMENT 'engine process',
    ordinal             Int64 COMMENT 'the process''s own counter',
    model               LowCardinality(String) COMMENT 'model served',
    adapter             LowCardinality(String) COMMENT 'adapter used; empty for none',
    first_served        DateTime64(3, 'UTC') COMMENT 'start of the first batch with it',
    last_served         DateTime64(3, 'UTC') COMMENT 'start of the last batch with it',
    batches             UInt64 COMMENT 'batches it took part in',
    energy_uj           Int128 COMMENT 'booked to it',
    half_width_uj       Int128 COMMENT 'half width of the 90 % interval of energy_uj; the batches'' errors taken as common',
    cold_start_uj       Int128 COMMENT 'its part of a model load, moved to it',
    host_uj             Int128 COMMENT 'host energy booked to it, without cold start',
    prompt_tokens       Int64 COMMENT 'prompt length',
    cached_tokens       Int64 COMMENT 'prompt tokens found in the prefix cache',
    prefill_tokens      Int64 COMMENT 'tokens computed beyond plain decode',
    decode_tokens       Int64 COMMENT 'plain decode tokens computed',
    emitted_tokens      Int64 COMMENT 'tokens delivered',
    iterations          UInt64 COMMENT 'iterations it took part in',
    held_ns             Int64 COMMENT 'iteration time, shared with its batches',
    tier                UInt8 COMMENT 'lowest tier of its batches: 3 telemetry, 2 parametric',
    methods             Array(LowCardinality(String)) COMMENT 'how its batches were split',
    model_versions      Array(LowCardinality(String)) COMMENT 'energy models used'
) AS
SELECT
    booked.tenant AS tenant, booked.request_id, booked.client_request_id AS client_request_id,
    booked.engine_id AS engine_id, booked.incarnation AS incarnation, booked.ordinal AS ordinal, booked.model,
    booked.adapter, booked.first_served, booked.last_served, booked.batches, booked.energy_uj, booked.half_width_uj,
    moved.energy_uj AS cold_start_uj, booked.host_uj, booked.prompt_tokens, booked.cached_tokens,
    booked.prefill_tokens, booked.decode_tokens, booked.emitted_tokens, booked.iterations, booked.held_ns,
    booked.tier, booked.methods, booked.model_versions
FROM (
    SELECT
        line.tenant AS tenant,
        line.engine_id AS engine_id,
        line.incarnation AS incarnation,
        line.ordinal AS ordinal,
        line.client_request_id AS client_request_id,
        concat(line.incarnation, '-', toString(line.ordinal)) AS request_id,
        any(line.model) AS model,
        any(line.adapter) AS adapter,
        min(line.event_time) AS first_served,
        max(line.event_time) AS last_served,
        count() AS batches,
        sum(toInt128(line.energy_uj)) AS energy_uj,
        sum(toInt128(line.half_width_uj)) AS half_width_uj,
        sum(toInt128(line.host_uj)) AS host_uj,
        max(line.prompt_tokens) AS prompt_tokens,
        max(line.cached_tokens) AS cached_tokens,
        sum(line.prefill_tokens) AS prefill_tokens,
        sum(line.decode_tokens) AS decode_tokens,
        sum(line.emitted_tokens) AS emitted_tokens,
        sum(line.iterations) AS iterations,
        sum(line.held_ns) AS held_ns,
        min(batch.tier) AS tier,
        arraySort(groupUniqArray(batch.method)) AS methods,
        arraySort(groupUniqArray(batch.model_version)) AS model_versions
    FROM (SELECT * FROM ledger FINAL) AS line
    INNER JOIN current_batches AS batch
        ON line.event_time = batch.event_time AND line.batch_id = batch.batch_id AND line.revision = batch.revision
        AND line.inputs = batch.inputs
    WHERE line.account = 'request'
    GROUP BY tenant, engine_id, incarnation, ordinal, client_request_id
) AS booked
LEFT JOIN (
    SELECT tenant, engine_id, incarnation, ordinal, sum(toInt128(current_transfers.energy_uj)) AS energy_uj
    FROM current_transfers
    WHERE side = 'to' AND kind = 'cold_start'
    GROUP BY tenant, engine_id, incarnation, ordinal
) AS moved
    ON booked.tenant = moved.tenant AND booked.engine_id = moved.engine_id
    AND booked.incarnation = moved.incarnation AND booked.ordinal = moved.ordinal
COMMENT 'One row per request and engine process that served it';

CREATE OR REPLACE VIEW tenant_usage{on_cluster} (
    tenant              LowCardinality(String) COMMENT 'who asked',
    hour                DateTime('UTC') COMMENT 'start of the hour',
    model               LowCardinality(String) COMMENT 'model served',
    requests            UInt64 COMMENT 'requests with energy in this hour; one that spans two hours counts in both',
    energy_uj           Int128 COMMENT 'booked to its requests',
    half_width_uj       Int128 COMMENT 'half width of the 90 % interval of energy_uj; errors taken as common',
    transferred_uj      Int128 COMMENT 'moved to it: cold start, residency',
    host_uj             Int128 COMMENT 'host energy booked or moved to it',
    prefill_tokens      Int64 COMMENT 'tokens computed beyond plain decode',
    decode_tokens       Int64 COMMENT 'plain decode tokens computed',
    emitted_tokens      Int64 COMMENT 'tokens delivered',
    held_ns             Int64 COMMENT 'iteration time, shared with its batches'
) AS
SELECT
    tenant,
    hour,
    model,
    uniqExactIf((engine_id, incarnation, ordinal), booked) AS requests,
    sum(energy_uj) AS energy_uj,
    sum(half_width_uj) AS half_width_uj,
    sum(transferred_uj) AS transferred_uj,
    sum(host_uj) AS host_uj,
    sum(prefill_tokens) AS prefill_tokens,
    sum(decode_tokens) AS decode_tokens,
    sum(emitted_tokens) AS emitted_tokens,
    sum(held_ns) AS held_ns
FROM (
    SELECT
        tenant, toStartOfHour(event_time) AS hour, model, engine_id, incarnation, ordinal, true AS booked,
        toInt128(current_ledger.energy_uj) AS energy_uj, toInt128(current_ledger.half_width_uj) AS half_width_uj,
        toInt128(0) AS transferred_uj, toInt128(current_ledger.host_uj) AS host_uj,
        prefill_tokens, decode_tokens, emitted_tokens, held_ns
    FROM current_ledger
    WHERE account = 'request'
    UNION ALL
    SELECT
        moved.tenant, toStartOfHour(moved.event_time), load.model, moved.engine_id, moved.incarnation, moved.ordinal,
        false, toInt128(0), toInt128(0), toInt128(moved.energy_uj), toInt128(moved.host_uj), 0, 0, 0, 0
    FROM current_transfers AS moved
    LEFT JOIN (
        SELECT group_id, max(model) AS model, load_id
        FROM current_ledger WHERE account = 'cold_start' AND tenant = '' GROUP BY group_id, load_id
    ) AS load ON moved.load_id = load.load_id
    WHERE moved.side = 'to'
)
GROUP BY tenant, hour, model
COMMENT 'Per tenant, hour and model: energy booked to its requests, and what transfers added';

CREATE OR REPLACE VIEW engine_efficiency{on_cluster} (
    group_id            LowCardinality(String) COMMENT 'what is metered together',
    hour                DateTime('UTC') COMMENT 'start of the hour',
    engine_class        LowCardinality(String) COMMENT 'model, precision, GPU, parallelism, engine version',
    model               LowCardinality(String) COMMENT 'model served',
    metered_uj          Int128 COMMENT 'drawn by the accelerators',
    request_uj          Int128 COMMENT 'of it booked to requests',
    emitted_tokens      Int64 COMMENT 'tokens delivered',
    j_per_token         Float64 COMMENT 'joules of request energy per token delivered; nan without tokens',
    mean_batch          Float64 COMMENT 'requests per iteration; nan without iterations',
    busy_share          Float64 COMMENT 'part of the time with an iteration running',
    residual            Float64 COMMENT 'modelled minus metered energy of the iterations, relative to the meter; nan where nothing ran'
) AS
SELECT
    batch.group_id,
    toStartOfHour(batch.event_time) AS hour,
    batch.engine_class,
    batch.model,
    sum(toInt128(batch.metered_uj)) AS metered_uj,
    sum(toInt128(batch.request_uj)) AS request_uj,
    sum(served.emitted_tokens) AS emitted_tokens,
    request_uj / 1e6 / emitted_tokens AS j_per_token,
    sum(batch.features['requests']) / sum(batch.features['iterations']) AS mean_batch,
    sum(batch.busy_ns) / sum(batch.end_ns - batch.start_ns) AS busy_share,
    sum(toInt128(batch.modelled_uj)) / (request_uj + sum(toInt128(batch.overhead_uj))) - 1 AS residual
FROM current_batches AS batch
LEFT JOIN (
    SELECT event_time, batch_id, sum(current_ledger.emitted_tokens) AS emitted_tokens
    FROM current_ledger
    WHERE account = 'request'
    GROUP BY event_time, batch_id
) AS served ON batch.event_time = served.event_time AND batch.batch_id = served.batch_id
WHERE batch.engine_class != ''
GROUP BY batch.group_id, hour, batch.engine_class, batch.model
COMMENT 'Per group and hour: energy per token, batch size, utilisation, and how far the energy model is off';

CREATE OR REPLACE VIEW idle_and_cold{on_cluster} (
    group_id            LowCardinality(String) COMMENT 'what is metered together',
    hour                DateTime('UTC') COMMENT 'start of the hour',
    metered_uj          Int128 COMMENT 'drawn by the accelerators',
    idle_uj             Int128 COMMENT 'no request running',
    cold_start_uj       Int128 COMMENT 'model loading, before anything moved',
    moved_uj            Int128 COMMENT 'moved from cold start or idle to requests or tenants that were served in this hour',
    overhead_uj         Int128 COMMENT 'work without a request',
    unobserved_uj       Int128 COMMENT 'drawn while iteration data are missing',
    unserved_share      Float64 COMMENT 'part of the metered energy that no request caused'
) AS
SELECT
    group_id,
    hour,
    sum(metered) AS metered_uj,
    sum(idle) AS idle_uj,
    sum(cold_start) AS cold_start_uj,
    sum(moved) AS moved_uj,
    sum(overhead) AS overhead_uj,
    sum(unobserved) AS unobserved_uj,
    if(metered_uj = 0, 0., (idle_uj + cold_start_uj + overhead_uj + unobserved_uj) / metered_uj) AS unserved_share
FROM (
    SELECT
        group_id, toStartOfHour(event_time) AS hour, toInt128(metered_uj) AS metered, toInt128(idle_uj) AS idle,
        toInt128(cold_start_uj) AS cold_start, toInt128(0) AS moved, toInt128(overhead_uj) AS overhead,
        toInt128(unobserved_uj) AS unobserved
    FROM current_batches
    UNION ALL
    SELECT
        load.group_id, toStartOfHour(pair.event_time), toInt128(0), toInt128(0), toInt128(0),
        toInt128(pair.energy_uj), toInt128(0), toInt128(0)
    FROM current_transfers AS pair
    INNER JOIN current_loads AS load ON pair.load_id = load.load_id
    WHERE pair.side = 'to'
)
GROUP BY group_id, hour
COMMENT 'Per group and hour: energy that no request caused, and what of it moved to those served later';

CREATE OR REPLACE VIEW what_token_billing_gets_wrong_as_of{on_cluster} AS
SELECT
    tenant,
    day,
    model,
    requests,
    energy_uj,
    prompt_tokens,
    emitted_tokens,
    toFloat64(sum(energy_uj) OVER (PARTITION BY day, model))
        * (prompt_tokens + {output_weight:Float64} * emitted_tokens)
        / sum(prompt_tokens + {output_weight:Float64} * emitted_tokens) OVER (PARTITION BY day, model) AS by_token_uj,
    by_token_uj - toFloat64(energy_uj) AS difference_uj
FROM (
    SELECT
        tenant, day, model, count() AS requests, sum(request_uj) AS energy_uj, sum(prompt) AS prompt_tokens,
        sum(emitted) AS emitted_tokens
    FROM (
        SELECT
            tenant, toDate(event_time, 'UTC') AS day, model, engine_id, incarnation, ordinal,
            sum(toInt128(energy_uj)) AS request_uj, max(prompt_tokens) AS prompt, sum(emitted_tokens) AS emitted
        FROM ledger_as_of(as_of = {as_of:DateTime64(3, 'UTC')})
        WHERE account = 'request'
        GROUP BY tenant, day, model, engine_id, incarnation, ordinal
    )
    GROUP BY tenant, day, model
)
COMMENT 'what_token_billing_gets_wrong for another weight of output tokens (output_weight) and cut-off (as_of)';

CREATE OR REPLACE VIEW what_token_billing_gets_wrong{on_cluster} (
    tenant              LowCardinality(String) COMMENT 'who asked',
    day                 Date COMMENT 'day, UTC',
    model               LowCardinality(String) COMMENT 'model served',
    requests            UInt64 COMMENT 'requests with energy on that day',
    energy_uj           Int128 COMMENT 'booked to them',
    prompt_tokens       Int64 COMMENT 'tokens of their prompts',
    emitted_tokens      Int64 COMMENT 'tokens delivered',
    by_token_uj         Float64 COMMENT 'what a price per token would charge for the model''s energy of the day, an output token counting as 4 input tokens',
    difference_uj       Float64 COMMENT 'by_token_uj minus energy_uj: above zero, a token price charges too much; sums to zero over tenants'
) AS
SELECT *
FROM what_token_billing_gets_wrong_as_of(output_weight = 4., as_of = '2299-12-31 23:59:59.999')
COMMENT 'Per tenant, day and model: energy booked against what a price per token would have charged';

ALTER TABLE books{on_cluster}
    COMMENT COLUMN group_id 'what is metered together',
    COMMENT COLUMN event_time 'start of the window',
    COMMENT COLUMN start_ns 'start of the window, Unix ns',
    COMMENT COLUMN end_ns 'end of the window, Unix ns',
    COMMENT COLUMN batch_id 'the batch',
    COMMENT COLUMN revision 'its revision in force',
    COMMENT COLUMN metered_uj 'accelerator energy, recomputed from the raw readings',
    COMMENT COLUMN stated_uj 'accelerator energy as the batch states it',
    COMMENT COLUMN request_uj 'booked to requests',
    COMMENT COLUMN idle_uj 'no request running',
    COMMENT COLUMN cold_start_uj 'model loading',
    COMMENT COLUMN overhead_uj 'work without a request',
    COMMENT COLUMN unobserved_uj 'drawn while iteration data are missing',
    COMMENT COLUMN booked_uj 'sum of the five accounts',
    COMMENT COLUMN ledger_uj 'sum of the ledger''s rows',
    COMMENT COLUMN host_metered_uj 'host energy, recomputed from the raw readings',
    COMMENT COLUMN host_stated_uj 'host energy as the batch states it',
    COMMENT COLUMN host_ledger_uj 'host energy of the ledger''s rows',
    COMMENT COLUMN why_open 'what differs; empty where the batch closes',
    COMMENT COLUMN closes 'whether meter, accounts and ledger agree to the microjoule';
