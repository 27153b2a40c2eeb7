-- What reports need beside the ledger: who the tenants are, statements as issued, and hourly rollups.
-- A rollup is a re-runnable job over closed hours (streams/answers/rollups.py), never an incremental view: one
-- duplicate would stay in a view's sums for ever. A run writes a complete set for its hour, then its row in
-- `rollup_runs`; readers take each hour's latest run.

CREATE TABLE IF NOT EXISTS tenants{on_cluster} (
    tenant              LowCardinality(String) COMMENT 'name, as the ledger''s rows carry it',
    changed_at          DateTime64(6, 'UTC') COMMENT 'when this change was made; the latest row of a tenant is in force',
    action              LowCardinality(String) COMMENT 'added, disabled, enabled, priced, key_rotated',
    role                LowCardinality(String) COMMENT 'tenant: sees itself; operator: sees everyone',
    enabled             UInt8 COMMENT '0: its key opens nothing',
    price_per_kwh       Float64 COMMENT 'tariff per kilowatt-hour in currency; 0 where none was agreed',
    currency            LowCardinality(String) COMMENT 'ISO 4217; empty where no tariff was agreed',
    key_id              String COMMENT 'public part of the API key; empty for none',
    key_sha256          String COMMENT 'SHA-256 of the secret part, hexadecimal: 256 random bits need no slow hash',
    stored_at           DateTime64(3, 'UTC') DEFAULT now64(3) COMMENT 'when the row reached the database',
    version             UInt64 MATERIALIZED 18446744073709551615 - toUInt64(toUnixTimestamp64Milli(stored_at)) COMMENT 'falls as stored_at grows: of a replayed row the earliest copy stays'
) ENGINE = {engine}(version)
ORDER BY (tenant, changed_at, action)
COMMENT 'Every change to every tenant';

CREATE OR REPLACE VIEW current_tenants{on_cluster} (
    tenant              LowCardinality(String) COMMENT 'name',
    added_at            DateTime64(6, 'UTC') COMMENT 'first change',
    changed_at          DateTime64(6, 'UTC') COMMENT 'last change',
    role                LowCardinality(String) COMMENT 'tenant or operator',
    enabled             UInt8 COMMENT '0: its key opens nothing',
    price_per_kwh       Float64 COMMENT 'tariff per kilowatt-hour in currency',
    currency            LowCardinality(String) COMMENT 'ISO 4217; empty for none',
    key_id              String COMMENT 'public part of its API key; empty for none',
    key_sha256          String COMMENT 'SHA-256 of the secret part'
) AS
SELECT
    tenant,
    min(tenants.changed_at) AS added_at,
    max(tenants.changed_at) AS changed_at,
    argMax(tenants.role, tenants.changed_at) AS role,
    argMax(tenants.enabled, tenants.changed_at) AS enabled,
    argMax(tenants.price_per_kwh, tenants.changed_at) AS price_per_kwh,
    argMax(tenants.currency, tenants.changed_at) AS currency,
    argMax(tenants.key_id, tenants.changed_at) AS key_id,
    argMax(tenants.key_sha256, tenants.changed_at) AS key_sha256
FROM tenants
GROUP BY tenant
COMMENT 'Every tenant as last changed';

CREATE TABLE IF NOT EXISTS statements{on_cluster} (
    number              String COMMENT 'what is printed on it: tenant and running number',
    tenant              LowCardinality(String) COMMENT 'for whom',
    running             UInt32 COMMENT 'counts a tenant''s statements from 1',
    from_time           DateTime64(3, 'UTC') COMMENT 'start of the period, inclusive',
    to_time             DateTime64(3, 'UTC') COMMENT 'end of the period, exclusive',
    as_of               DateTime64(3, 'UTC') COMMENT 'rows stored by then were counted',
    issued_at           DateTime64(3, 'UTC') COMMENT 'when it was issued',
    data                String COMMENT 'canonical JSON of its figures' CODEC(ZSTD(3)),
    html                String COMMENT 'the page as issued' CODEC(ZSTD(3)),
    html_sha256         String COMMENT 'SHA-256 of html, hexadecimal',
    stored_at           DateTime64(3, 'UTC') DEFAULT now64(3) COMMENT 'when the row reached the database',
    version             UInt64 MATERIALIZED 18446744073709551615 - toUInt64(toUnixTimestamp64Milli(stored_at)) COMMENT 'falls as stored_at grows: of two with one number the first issued stays'
) ENGINE = {engine}(version)
ORDER BY (tenant, running)
COMMENT 'Statements as issued: the same number gives the same bytes for ever';

CREATE TABLE IF NOT EXISTS tenant_hours{on_cluster} (
    hour                DateTime64(3, 'UTC') COMMENT 'start of the hour',
    run                 UInt64 COMMENT 'the job''s run that wrote the row',
    tenant              LowCardinality(String) COMMENT 'who asked',
    model               LowCardinality(String) COMMENT 'model served',
    zone                LowCardinality(String) COMMENT 'grid zone',
    requests            UInt64 COMMENT 'requests first served in this hour (not in the hour before)',
    prompt_tokens       Int64 COMMENT 'tokens of their prompts',
    energy_uj           Int128 COMMENT 'booked to requests in this hour',
    half_width_uj       Int128 COMMENT 'half width of the 90 % interval of energy_uj; errors taken as common',
    host_uj             Int128 COMMENT 'host energy booked to requests in this hour',
    prefill_tokens      Int64 COMMENT 'tokens computed beyond plain decode',
    decode_tokens       Int64 COMMENT 'plain decode tokens computed',
    emitted_tokens      Int64 COMMENT 'tokens delivered',
    held_ns             Int64 COMMENT 'iteration time, shared with its batches',
    stored_at           DateTime64(3, 'UTC') DEFAULT now64(3) COMMENT 'when the row reached the database',
    version             UInt64 MATERIALIZED 18446744073709551615 - toUInt64(toUnixTimestamp64Milli(stored_at)) COMMENT 'falls as stored_at grows: of a replayed row the earliest copy stays'
) ENGINE = {engine}(version)
PARTITION BY toYYYYMM(hour)
ORDER BY (hour, run, tenant, model, zone)
COMMENT 'Hourly totals by tenant, model and zone; each run a complete set';

CREATE TABLE IF NOT EXISTS rollup_runs{on_cluster} (
    hour                DateTime64(3, 'UTC') COMMENT 'start of the hour',
    run                 UInt64 COMMENT 'of an hour''s runs the highest is in force',
    as_of               DateTime64(3, 'UTC') COMMENT 'rows stored by then were counted',
    stored_at           DateTime64(3, 'UTC') DEFAULT now64(3) COMMENT 'when the row reached the database',
    version             UInt64 MATERIALIZED 18446744073709551615 - toUInt64(toUnixTimestamp64Milli(stored_at)) COMMENT 'falls as stored_at grows: of a replayed row the earliest copy stays'
) ENGINE = {engine}(version)
ORDER BY (hour, run)
COMMENT 'Hours rolled up: written after the rows that it seals';

CREATE OR REPLACE VIEW tenant_hourly{on_cluster} (
    hour                DateTime64(3, 'UTC') COMMENT 'start of the hour',
    tenant              LowCardinality(String) COMMENT 'who asked',
    model               LowCardinality(String) COMMENT 'model served',
    zone                LowCardinality(String) COMMENT 'grid zone',
    requests            UInt64 COMMENT 'requests first served in this hour',
    prompt_tokens       Int64 COMMENT 'tokens of their prompts',
    energy_uj           Int128 COMMENT 'booked to requests in this hour',
    half_width_uj       Int128 COMMENT 'half width of the 90 % interval of energy_uj',
    host_uj             Int128 COMMENT 'host energy booked to requests in this hour',
    prefill_tokens      Int64 COMMENT 'tokens computed beyond plain decode',
    decode_tokens       Int64 COMMENT 'plain decode tokens computed',
    emitted_tokens      Int64 COMMENT 'tokens delivered',
    held_ns             Int64 COMMENT 'iteration time, shared with its batches'
) AS
SELECT
    total.hour, total.tenant, total.model, total.zone, total.requests, total.prompt_tokens, total.energy_uj,
    total.half_width_uj, total.host_uj, total.prefill_tokens, total.decode_tokens, total.emitted_tokens, total.held_ns
FROM (SELECT * FROM tenant_hours LIMIT 1 BY hour, run, tenant, model, zone) AS total
INNER JOIN (SELECT hour, max(run) AS run FROM rollup_runs GROUP BY hour) AS latest
    ON total.hour = latest.hour AND total.run = latest.run
COMMENT 'Hourly totals by tenant, model and zone, of the hours rolled up: cheap over long periods';
