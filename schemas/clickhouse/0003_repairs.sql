-- What was done about late frames and holes between counter readings, and whether the ledger covers the meters.

CREATE TABLE IF NOT EXISTS repairs{on_cluster} (
    cause_id            FixedString(32) COMMENT 'hex digest of what asked for the repair: it is not asked for twice',
    cause               LowCardinality(String) COMMENT 'late_frame; or counter_hole: two neighbours differ in what a counter read between them',
    group_id            LowCardinality(String) COMMENT 'what is metered together',
    from_ns             Int64 COMMENT 'start of the event time in question, Unix ns',
    to_ns               Int64 COMMENT 'its end',
    event_time          DateTime64(3, 'UTC') COMMENT 'start of the event time in question',
    outcome             LowCardinality(String) COMMENT 'revised, unchanged, or beyond_retention: a frame that is needed is no longer in its topic',
    batches             UInt32 COMMENT 'batches written for it and what was repaired with it',
    stored_at           DateTime64(3, 'UTC') DEFAULT now64(3) COMMENT 'when the row reached the database',
    version             UInt64 MATERIALIZED 18446744073709551615 - toUInt64(toUnixTimestamp64Milli(stored_at)) COMMENT 'falls as stored_at grows: of a replayed row the earliest copy stays'
) ENGINE = {engine}(version)
PARTITION BY toYYYYMM(event_time)
ORDER BY (cause_id)
COMMENT 'Late frames and counter holes dealt with, and how';

CREATE TABLE IF NOT EXISTS reconciliations{on_cluster} (
    hour                DateTime64(3, 'UTC') COMMENT 'hour of event time, UTC',
    group_id            LowCardinality(String) COMMENT 'what is metered together',
    meter_id            String COMMENT 'GPU UUID',
    metered_ns          Int64 COMMENT 'time that windows of this hour cover by this counter',
    counter_uj          Int64 COMMENT 'what the counter rose by from its first to its last edge of the hour, epoch by epoch',
    booked_uj           Int64 COMMENT 'what ledger rows of the same windows sum to, the GPU''s part of its group',
    unbooked_uj         Int64 COMMENT 'rise between windows that none of them holds',
    doubled_uj          Int64 COMMENT 'rise that two windows hold',
    as_of               DateTime64(3, 'UTC') COMMENT 'rows stored by then were read',
    stored_at           DateTime64(3, 'UTC') DEFAULT now64(3) COMMENT 'when the row reached the database',
    version             UInt64 MATERIALIZED toUInt64(toUnixTimestamp64Milli(as_of)) COMMENT 'the latest look at an hour counts'
) ENGINE = {engine}(version)
PARTITION BY toYYYYMM(hour)
ORDER BY (hour, group_id, meter_id)
COMMENT 'Counter totals against booked totals, per GPU and hour';
