-- What the pipeline itself draws, apart from the meters' books: CPU time of its own processes times a stated power.
-- An estimate, never part of a batch, a receipt or a tenant's sum.

CREATE TABLE IF NOT EXISTS own_footprint{on_cluster} (
    role                LowCardinality(String) COMMENT 'which of our processes: worker',
    instance            String COMMENT 'the process: host, process id and start',
    from_ns             Int64 COMMENT 'start of the interval, Unix ns',
    to_ns               Int64 COMMENT 'end of the interval, Unix ns',
    event_time          DateTime64(3, 'UTC') COMMENT 'start of the interval',
    cpu_seconds         Float64 COMMENT 'CPU time of the process in the interval, user and system, all threads',
    watts_per_core      Float64 COMMENT 'stated power of one busy core',
    energy_uj           Int64 COMMENT 'cpu_seconds times watts_per_core, microjoules',
    stored_at           DateTime64(3, 'UTC') DEFAULT now64(3) COMMENT 'when the row reached the database',
    version             UInt64 MATERIALIZED 18446744073709551615 - toUInt64(toUnixTimestamp64Milli(stored_at)) COMMENT 'falls as stored_at grows: of a replayed row the earliest copy stays'
) ENGINE = {engine}(version)
PARTITION BY toYYYYMM(event_time)
ORDER BY (role, instance, from_ns)
COMMENT 'CPU time of the pipeline''s own processes and the energy it stands for: estimated, apart from the books';

CREATE OR REPLACE VIEW own_energy{on_cluster} (
    hour                DateTime('UTC') COMMENT 'start of the hour in which the interval began',
    role                LowCardinality(String) COMMENT 'which of our processes',
    cpu_seconds         Float64 COMMENT 'CPU time',
    energy_uj           Int128 COMMENT 'estimated energy, microjoules'
) AS
SELECT
    toStartOfHour(event_time) AS hour,
    role,
    sum(part.cpu_seconds) AS cpu_seconds,
    sum(toInt128(part.energy_uj)) AS energy_uj
FROM (SELECT * FROM own_footprint ORDER BY stored_at LIMIT 1 BY role, instance, from_ns) AS part
GROUP BY hour, role
COMMENT 'What the pipeline itself draws, by hour and role: estimated, apart from the books';
