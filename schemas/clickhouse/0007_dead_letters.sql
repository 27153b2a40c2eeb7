-- Which dead letters were published again, so that nobody does it twice without meaning to.

CREATE TABLE IF NOT EXISTS dead_letter_replays{on_cluster} (
    topic               LowCardinality(String) COMMENT 'where the message lay, and was published again',
    topic_partition     UInt32 COMMENT 'partition in which it lay',
    topic_offset        Int64 COMMENT 'offset at which it lay',
    replay_partition    UInt32 COMMENT 'partition of its copy',
    replay_offset       Int64 COMMENT 'offset of its copy',
    replayed_at         DateTime64(3, 'UTC') COMMENT 'when the broker took the copy',
    stored_at           DateTime64(3, 'UTC') DEFAULT now64(3) COMMENT 'when the row reached the database',
    version             UInt64 MATERIALIZED 18446744073709551615 - toUInt64(toUnixTimestamp64Milli(stored_at)) COMMENT 'falls as stored_at grows: of a replayed row the earliest copy stays'
) ENGINE = {engine}(version)
PARTITION BY toYYYYMM(replayed_at)
ORDER BY (topic, topic_partition, topic_offset, replay_partition, replay_offset)
COMMENT 'Dead letters that were published again';
