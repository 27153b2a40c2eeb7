-- What a tenant's report reads of closed hours: requests, certainty and everybody's tokens, each resolved to the
-- manifest once, when the hour is rolled up. Sorted by tenant, a month of one tenant is one short range. As with
-- every rollup a run is a complete set of rows, written before the run itself.

CREATE TABLE IF NOT EXISTS request_hours{on_cluster} (
    hour                DateTime64(3, 'UTC') COMMENT 'hour that was rolled up',
    run                 UInt64 COMMENT 'the job''s run that wrote the row',
    tenant              LowCardinality(String) COMMENT 'who asked',
    model               LowCardinality(String) COMMENT 'model served',
    engine_class        LowCardinality(String) COMMENT 'model, precision, GPU, parallelism, engine version',
    model_version       LowCardinality(String) COMMENT 'energy model used',
    request             UInt64 COMMENT 'hash of engine, incarnation and ordinal: one request of the tenant',
    tier                UInt8 COMMENT 'lowest of its batches: 3 telemetry, 2 parametric',
    methods             Array(LowCardinality(String)) COMMENT 'how its batches were split',
    prompt_tokens       Int64 COMMENT 'prompt length',
    cached_tokens       Int64 COMMENT 'prompt tokens found in the prefix cache',
    prefill_tokens      Int64 COMMENT 'tokens computed beyond plain decode',
    decode_tokens       Int64 COMMENT 'plain decode tokens computed',
    emitted_tokens      Int64 COMMENT 'tokens delivered',
    energy_uj           Int64 COMMENT 'booked to it in this hour',
    half_width_uj       Int64 COMMENT 'half width of the 90 % interval of energy_uj; errors taken as common',
    host_uj             Int64 COMMENT 'host energy booked to it',
    held_ns             Int64 COMMENT 'iteration time, shared with its batches',
    scaled_prefill      Float64 COMMENT 'sum of prefill tokens times the batch''s microjoules per modelled joule, in millions: with the model''s coefficients, what prefill drew',
    scaled_context      Float64 COMMENT 'the same of iterations times prompt tokens: what reading the prompt again drew',
    stored_at           DateTime64(3, 'UTC') DEFAULT now64(3) COMMENT 'when the row reached the database',
    version             UInt64 MATERIALIZED 18446744073709551615 - toUInt64(toUnixTimestamp64Milli(stored_at)) COMMENT 'falls as stored_at grows: of a replayed row the earliest copy stays'
) ENGINE = {engine}(version)
PARTITION BY toYYYYMM(hour)
ORDER BY (tenant, hour, run, model, request, engine_class, model_version)
COMMENT 'Requests by hour, of closed hours; each run a complete set';

CREATE TABLE IF NOT EXISTS certainty_hours{on_cluster} (
    hour                DateTime64(3, 'UTC') COMMENT 'hour that was rolled up',
    run                 UInt64 COMMENT 'the job''s run that wrote the row',
    tenant              LowCardinality(String) COMMENT 'who asked',
    engine_class        LowCardinality(String) COMMENT 'whose energy model''s errors the loadings are of',
    group_id            LowCardinality(String) COMMENT 'whose meters',
    gpu_model           LowCardinality(String) COMMENT 'accelerator',
    gpus                UInt32 COMMENT 'meters of the group, at most',
    energy_uj           Float64 COMMENT 'booked to the tenant''s requests',
    loadings            Array(Float64) COMMENT 'sums of model_loadings, microjoules by each of the model''s errors',
    sampling_uj2        Float64 COMMENT 'sum of squares of sampling_uj, which err apart',
    edges_uj2           Float64 COMMENT 'sum over batches of the squared energy times edge_error',
    stored_at           DateTime64(3, 'UTC') DEFAULT now64(3) COMMENT 'when the row reached the database',
    version             UInt64 MATERIALIZED 18446744073709551615 - toUInt64(toUnixTimestamp64Milli(stored_at)) COMMENT 'falls as stored_at grows: of a replayed row the earliest copy stays'
) ENGINE = {engine}(version)
PARTITION BY toYYYYMM(hour)
ORDER BY (tenant, hour, run, engine_class, group_id, gpu_model)
COMMENT 'Errors of a tenant''s energy by hour, of closed hours, in sums that add up; each run a complete set';

CREATE TABLE IF NOT EXISTS model_hours{on_cluster} (
    hour                DateTime64(3, 'UTC') COMMENT 'hour that was rolled up',
    run                 UInt64 COMMENT 'the job''s run that wrote the row',
    model               LowCardinality(String) COMMENT 'model served',
    energy_uj           Int128 COMMENT 'booked to requests in this hour',
    prompt_tokens       Int64 COMMENT 'prompt tokens of requests first served in this hour (not in the hour before)',
    emitted_tokens      Int64 COMMENT 'tokens delivered',
    stored_at           DateTime64(3, 'UTC') DEFAULT now64(3) COMMENT 'when the row reached the database',
    version             UInt64 MATERIALIZED 18446744073709551615 - toUInt64(toUnixTimestamp64Milli(stored_at)) COMMENT 'falls as stored_at grows: of a replayed row the earliest copy stays'
) ENGINE = {engine}(version)
PARTITION BY toYYYYMM(hour)
ORDER BY (hour, run, model)
COMMENT 'What each model drew for everyone, by closed hour: the denominator of a price per token';

CREATE TABLE IF NOT EXISTS report_runs{on_cluster} (
    hour                DateTime64(3, 'UTC') COMMENT 'start of the hour',
    run                 UInt64 COMMENT 'of an hour''s runs the highest is in force',
    as_of               DateTime64(3, 'UTC') COMMENT 'rows stored by then were counted',
    stored_at           DateTime64(3, 'UTC') DEFAULT now64(3) COMMENT 'when the row reached the database',
    version             UInt64 MATERIALIZED 18446744073709551615 - toUInt64(toUnixTimestamp64Milli(stored_at)) COMMENT 'falls as stored_at grows: of a replayed row the earliest copy stays'
) ENGINE = {engine}(version)
ORDER BY (hour, run)
COMMENT 'Hours rolled up into request_hours, certainty_hours and model_hours: written after the rows that it seals';
