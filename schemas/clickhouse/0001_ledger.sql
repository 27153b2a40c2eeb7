-- The ledger: append-only facts. Rows are immutable; a revision is a complete set for its batch; readers take
-- each batch's highest manifest revision (table `batches`) stored before their cut-off, with the rows made of the
-- same inputs: an attempt that crashed before its manifest leaves rows that nobody sees. `revision` closes every
-- sorting key, so a merge never erases history; the version column keeps the earliest copy of a replayed row
-- (it falls as stored_at grows). `{engine}` renders as ReplacingMergeTree or its replicated form, `{on_cluster}`
-- as nothing or the cluster's clause (streams/ledger/migrations.py).

CREATE TABLE IF NOT EXISTS batches{on_cluster} (
    batch_id            FixedString(32) COMMENT 'hex digest of group, incarnations and window',
    revision            UInt32 COMMENT '0 as first sealed; a later revision replaces the batch as a whole',
    inputs              FixedString(16) COMMENT 'hex digest of the frames, gaps, loads and models that its rows were made of: only rows with the same are its rows',
    group_id            LowCardinality(String) COMMENT 'what is metered together; the Kafka key',
    engine_ids          Array(LowCardinality(String)) COMMENT 'engines attached to the group in this window',
    incarnations        Array(String) COMMENT 'engine processes that ran, in order of engine_ids',
    engine_class        LowCardinality(String) COMMENT 'model, precision, GPU, parallelism, engine version',
    model               LowCardinality(String) COMMENT 'model served',
    gpu_model           LowCardinality(String) COMMENT 'accelerator',
    zone                LowCardinality(String) COMMENT 'grid zone',
    site                LowCardinality(String) COMMENT 'data centre',
    start_ns            Int64 COMMENT 'window start, Unix ns, inclusive',
    end_ns              Int64 COMMENT 'window end, Unix ns, exclusive',
    event_time          DateTime64(3, 'UTC') COMMENT 'window start',
    metered_uj          Int64 COMMENT 'accelerator energy by the meters, microjoules',
    request_uj          Int64 COMMENT 'booked to requests',
    idle_uj             Int64 COMMENT 'no request running',
    cold_start_uj       Int64 COMMENT 'model loading',
    overhead_uj         Int64 COMMENT 'work without a request: dummy batches, warm-up',
    unobserved_uj       Int64 COMMENT 'drawn while iteration data are missing, by an identified gap',
    host_uj             Int64 COMMENT 'host energy of the group, microjoules, shared in the same proportions',
    modelled_uj         Int64 COMMENT 'what the energy model expected of the iterations; metered minus this is the residual',
    request_scale       Float64 COMMENT 'microjoules booked to requests per joule that the energy model expected of them',
    gap_ns              Int64 COMMENT 'time without iteration data',
    gap_causes          Array(LowCardinality(String)) COMMENT 'why: sequence_gap, silent_iterations, hook_off; silent_meter where no counter reached the end',
    busy_ns             Int64 COMMENT 'time with an iteration running',
    unmetered_ns        Int64 COMMENT 'GPU time that no counter covers: driver reload, GPU lost, agent down; what nobody counted is not booked',
    iterations          UInt32 COMMENT 'forward passes that touch the window',
    batch_size          UInt32 COMMENT 'requests with energy in this batch',
    tenants             UInt32 COMMENT 'distinct tenants',
    rows                UInt64 COMMENT 'request-iterations',
    features            Map(LowCardinality(String), Float64) COMMENT 'sums of the energy model''s terms over the window, for fits',
    method              LowCardinality(String) COMMENT 'shapley_exact, shapley_series, shapley_sampled_K<k>, shapley_truncated_K<k>; empty without requests',
    permutations        UInt32 COMMENT 'permutations drawn; 0 where none were needed',
    evaluations         UInt64 COMMENT 'coalitions evaluated',
    seed                UInt64 COMMENT 'derived from batch_id',
    error_estimate      Float64 COMMENT 'largest relative error of a share by the estimator''s own account',
    converged           UInt8 COMMENT '0 where sampling stopped at its cap',
    model_version       LowCardinality(String) COMMENT 'energy model used',
    model_origin        LowCardinality(String) COMMENT 'prior or fit',
    tier                UInt8 COMMENT '3 telemetry, 2 parametric, 0 no counter covers the window',
    closed_by           LowCardinality(String) COMMENT 'watermark, bounded_wait for a silent stream, or superseded: other batches stand for its time',
    reason              LowCardinality(String) COMMENT 'why this revision exists; empty for the first',
    topic_partition     UInt32 COMMENT 'partition of the three co-partitioned topics',
    iteration_offsets   Tuple(Int64, Int64) COMMENT 'first and last offset in wattledger.iterations.v1; (-1,-1) for none',
    energy_offsets      Tuple(Int64, Int64) COMMENT 'first and last offset in wattledger.energy.v1',
    iteration_frames    UInt32 COMMENT 'iteration frames that the batch is made of',
    energy_frames       UInt32 COMMENT 'energy frames that the batch is made of',
    ingested_at         DateTime64(3, 'UTC') COMMENT 'latest broker append time among the inputs',
    stored_at           DateTime64(3, 'UTC') DEFAULT now64(3) COMMENT 'when the row reached the database',
    version             UInt64 MATERIALIZED 18446744073709551615 - toUInt64(toUnixTimestamp64Milli(stored_at)) COMMENT 'falls as stored_at grows: of a replayed row the earliest copy stays',
    -- A worker that resumes asks what is sealed, and which windows hold offsets not yet committed: both answers
    -- must stay quick after months.
    INDEX last_iteration_offset iteration_offsets.2 TYPE minmax,
    INDEX last_energy_offset energy_offsets.2 TYPE minmax,
    PROJECTION sealed_until (
        SELECT topic_partition, group_id, max(end_ns) GROUP BY topic_partition, group_id
    )
) ENGINE = {engine}(version)
PARTITION BY toYYYYMM(event_time)
ORDER BY (group_id, start_ns, batch_id, revision)
SETTINGS deduplicate_merge_projection_mode = 'rebuild'
COMMENT 'One row per batch and revision: the meter side, what it was split into, and the manifest of sealed windows';

CREATE TABLE IF NOT EXISTS ledger{on_cluster} (
    tenant              LowCardinality(String) COMMENT 'empty for accounts without a request',
    event_time          DateTime64(3, 'UTC') COMMENT 'window start',
    batch_id            FixedString(32) COMMENT 'the batch booked',
    revision            UInt32 COMMENT 'revision of that batch',
    inputs              FixedString(16) COMMENT 'what the row was made of, as in its batch: rows of an attempt that was never sealed differ',
    account             LowCardinality(String) COMMENT 'request, idle, cold_start, overhead, unobserved',
    engine_id           LowCardinality(String) COMMENT 'cluster/node/name; empty for accounts of the whole group',
    incarnation         String COMMENT 'engine process; with ordinal it identifies the request',
    ordinal             Int64 COMMENT 'the hook''s counter; -1 for accounts without a request',
    client_request_id   String COMMENT 'as the client knows it; clients repeat ids',
    group_id            LowCardinality(String) COMMENT 'what is metered together',
    model               LowCardinality(String) COMMENT 'model served',
    adapter             LowCardinality(String) COMMENT 'adapter the request used; empty for none',
    prefix_group        UInt64 COMMENT 'requests with the same value share a prompt prefix; 0 for none',
    load_id             String COMMENT 'model load this request was admitted under; for cold_start rows, the load',
    load_ordinal        Int64 COMMENT 'k-th request since that load; 0 for none',
    energy_uj           Int64 COMMENT 'accelerator energy, microjoules',
    host_uj             Int64 COMMENT 'host energy, microjoules',
    half_width_uj       Int64 COMMENT 'half width of the 90 % interval of energy_uj',
    prompt_tokens       Int64 COMMENT 'prompt length',
    cached_tokens       Int64 COMMENT 'prompt tokens found in the prefix cache',
    prefill_tokens      Int64 COMMENT 'tokens computed beyond plain decode in this window',
    decode_tokens       Int64 COMMENT 'plain decode tokens computed in this window',
    draft_tokens        Int64 COMMENT 'speculative drafts computed in this window',
    emitted_tokens      Int64 COMMENT 'tokens delivered in this window',
    iterations          UInt32 COMMENT 'iterations this request took part in, in this window',
    context_sum         Int64 COMMENT 'sum over rows of tokens in the KV cache before the row',
    shared_iterations   Float64 COMMENT 'sum over its iterations, by their part inside the window, of 1 / requests in the iteration: its part of what an iteration costs whoever is served',
    term_shares         Array(Float64) COMMENT 'its Shapley value in the game of each coefficient of the energy model alone, at 1 J: fixed, request, prefill, context, attention, experts, excess; with the batch''s request_scale and coefficients they give energy_uj again',
    held_ns             Int64 COMMENT 'iteration time shared with the batch, by the time game''s split',
    first_ns            Int64 COMMENT 'start of its first iteration in this window',
    last_ns             Int64 COMMENT 'end of its last iteration in this window',
    stored_at           DateTime64(3, 'UTC') DEFAULT now64(3) COMMENT 'when the row reached the database',
    version             UInt64 MATERIALIZED 18446744073709551615 - toUInt64(toUnixTimestamp64Milli(stored_at)) COMMENT 'falls as stored_at grows: of a replayed row the earliest copy stays'
) ENGINE = {engine}(version)
PARTITION BY toYYYYMM(event_time)
ORDER BY (tenant, event_time, batch_id, account, engine_id, incarnation, ordinal, load_id, inputs, revision)
COMMENT 'One row per batch, account and request: what was booked';

CREATE TABLE IF NOT EXISTS transfers{on_cluster} (
    transfer_id         FixedString(32) COMMENT 'hex digest of what the pair stands for',
    revision            UInt64 COMMENT 'grows when the transferred energy is restated',
    side                Enum8('from' = 0, 'to' = 1) COMMENT 'a pair: its two amounts sum to zero',
    kind                LowCardinality(String) COMMENT 'cold_start or residency_idle',
    load_id             String COMMENT 'the load whose energy is moved; for residency_idle the engine class and hour: pairs of one are replaced together',
    account             LowCardinality(String) COMMENT 'cold_start or idle on the from side, request or tenant on the to side',
    tenant              LowCardinality(String) COMMENT 'who receives, on both sides of the pair',
    engine_id           LowCardinality(String) COMMENT 'engine of the receiving request',
    incarnation         String COMMENT 'engine process; with ordinal it identifies the request',
    ordinal             Int64 COMMENT 'the receiving request; -1 for a tenant',
    client_request_id   String COMMENT 'as the client knows it',
    load_ordinal        Int64 COMMENT 'k: the receiving request was the k-th admitted since the load',
    energy_uj           Int64 COMMENT 'negative on the from side',
    host_uj             Int64 COMMENT 'host energy, moved with it',
    event_time          DateTime64(3, 'UTC') COMMENT 'when the receiving request was first served',
    reason              LowCardinality(String) COMMENT 'why the pair exists, where its kind does not say',
    stored_at           DateTime64(3, 'UTC') DEFAULT now64(3) COMMENT 'when the row reached the database',
    version             UInt64 MATERIALIZED 18446744073709551615 - toUInt64(toUnixTimestamp64Milli(stored_at)) COMMENT 'falls as stored_at grows: of a replayed row the earliest copy stays'
) ENGINE = {engine}(version)
PARTITION BY toYYYYMM(event_time)
ORDER BY (kind, load_id, transfer_id, side, revision)
COMMENT 'Energy moved between accounts after the window, as pairs that sum to zero; outside the window''s identity';

CREATE TABLE IF NOT EXISTS loads{on_cluster} (
    load_id             String COMMENT 'identity of the load',
    kind                LowCardinality(String) COMMENT 'model_load, wake_up, adapter_load',
    group_id            LowCardinality(String) COMMENT 'what is metered together',
    engine_id           LowCardinality(String) COMMENT 'engine that loaded',
    incarnation         String COMMENT 'engine process that loaded',
    start_ns            Int64 COMMENT 'start of the load, Unix ns, inclusive',
    end_ns              Int64 COMMENT 'end of the load, Unix ns, exclusive',
    event_time          DateTime64(3, 'UTC') COMMENT 'start of the load',
    what                String COMMENT 'model or adapter',
    amortised_over      UInt32 COMMENT 'N of the policy in force at the load''s start',
    stored_at           DateTime64(3, 'UTC') DEFAULT now64(3) COMMENT 'when the row reached the database',
    version             UInt64 MATERIALIZED 18446744073709551615 - toUInt64(toUnixTimestamp64Milli(stored_at)) COMMENT 'falls as stored_at grows: of a replayed row the earliest copy stays'
) ENGINE = {engine}(version)
PARTITION BY toYYYYMM(event_time)
ORDER BY (load_id)
COMMENT 'Model loads, wake-ups and adapter loads';

CREATE TABLE IF NOT EXISTS raw_meter{on_cluster} (
    batch_id            FixedString(32) COMMENT 'the batch whose edges these are',
    revision            UInt32 COMMENT 'revision of that batch',
    inputs              FixedString(16) COMMENT 'what the row was made of, as in its batch',
    meter_id            String COMMENT 'GPU UUID, or host:<node>:<group>',
    epoch               String COMMENT 'changes when the counter starts anew',
    kind                LowCardinality(String) COMMENT 'gpu or host',
    source              LowCardinality(String) COMMENT 'counter, integrated or parametric',
    event_time          DateTime64(3, 'UTC') COMMENT 'window start',
    from_ns             Int64 COMMENT 'left edge, Unix ns',
    from_before_ns      Int64 COMMENT 'the readings on either side of the left edge',
    from_before_uj      Int64 COMMENT 'cumulative microjoules at from_before_ns',
    from_after_ns       Int64 COMMENT 'equal to from_before_ns where a reading lies on the edge',
    from_after_uj       Int64 COMMENT 'cumulative microjoules at from_after_ns',
    to_ns               Int64 COMMENT 'right edge, Unix ns',
    to_before_ns        Int64 COMMENT 'the readings on either side of the right edge',
    to_before_uj        Int64 COMMENT 'cumulative microjoules at to_before_ns',
    to_after_ns         Int64 COMMENT 'equal to to_before_ns where a reading lies on the edge',
    to_after_uj         Int64 COMMENT 'cumulative microjoules at to_after_ns',
    stored_at           DateTime64(3, 'UTC') DEFAULT now64(3) COMMENT 'when the row reached the database',
    version             UInt64 MATERIALIZED 18446744073709551615 - toUInt64(toUnixTimestamp64Milli(stored_at)) COMMENT 'falls as stored_at grows: of a replayed row the earliest copy stays'
) ENGINE = {engine}(version)
PARTITION BY toYYYYMM(event_time)
ORDER BY (batch_id, meter_id, epoch, inputs, revision)
COMMENT 'Counter readings on either side of each batch''s edges, so that anyone can recompute the meter';

CREATE TABLE IF NOT EXISTS late_frames{on_cluster} (
    topic               LowCardinality(String) COMMENT 'where the frame lies',
    topic_partition     UInt32 COMMENT 'partition',
    topic_offset        Int64 COMMENT 'offset',
    group_id            LowCardinality(String) COMMENT 'what is metered together',
    engine_id           LowCardinality(String) COMMENT 'empty for energy frames',
    incarnation         String COMMENT 'engine process; empty for energy frames',
    sequence            UInt64 COMMENT 'number of the frame in its stream',
    start_ns            Int64 COMMENT 'start of the frame, Unix ns',
    end_ns              Int64 COMMENT 'end of the frame, Unix ns',
    event_time          DateTime64(3, 'UTC') COMMENT 'start of the frame',
    arrived_at          DateTime64(3, 'UTC') COMMENT 'when the broker appended it',
    stored_at           DateTime64(3, 'UTC') DEFAULT now64(3) COMMENT 'when the row reached the database',
    version             UInt64 MATERIALIZED 18446744073709551615 - toUInt64(toUnixTimestamp64Milli(stored_at)) COMMENT 'falls as stored_at grows: of a replayed row the earliest copy stays'
) ENGINE = {engine}(version)
PARTITION BY toYYYYMM(event_time)
ORDER BY (topic, topic_partition, topic_offset)
COMMENT 'Frames that arrived after their window was sealed, by position, for the repair job';

CREATE TABLE IF NOT EXISTS dead_letters{on_cluster} (
    topic               LowCardinality(String) COMMENT 'where the message lay',
    topic_partition     UInt32 COMMENT 'partition',
    topic_offset        Int64 COMMENT 'offset',
    key                 String COMMENT 'key of the message',
    reason              LowCardinality(String) COMMENT 'unknown_version, malformed, unknown_engine, ...',
    detail              String COMMENT 'what exactly was wrong',
    payload             String COMMENT 'the original bytes' CODEC(ZSTD(3)),
    arrived_at          DateTime64(3, 'UTC') COMMENT 'when the broker appended it',
    stored_at           DateTime64(3, 'UTC') DEFAULT now64(3) COMMENT 'when the row reached the database',
    version             UInt64 MATERIALIZED 18446744073709551615 - toUInt64(toUnixTimestamp64Milli(stored_at)) COMMENT 'falls as stored_at grows: of a replayed row the earliest copy stays'
) ENGINE = {engine}(version)
PARTITION BY toYYYYMM(arrived_at)
ORDER BY (topic, topic_partition, topic_offset)
COMMENT 'Messages that could not be booked, with the reason';

CREATE TABLE IF NOT EXISTS energy_models{on_cluster} (
    engine_class        LowCardinality(String) COMMENT 'model, precision, GPU, parallelism, engine version',
    model_version       String COMMENT 'name that batches refer to',
    effective_from_ns   Int64 COMMENT 'batches that start from then on use it, Unix ns',
    origin              LowCardinality(String) COMMENT 'prior or fit',
    coefficients        Map(LowCardinality(String), Float64) COMMENT 'coefficients of the energy model by term',
    fit_error           Float64 COMMENT 'median relative error on held-out windows; nan for a prior',
    covariance          Array(Array(Float64)) COMMENT 'covariance of the coefficients in order of their names; empty for a prior',
    stored_at           DateTime64(3, 'UTC') DEFAULT now64(3) COMMENT 'when the row reached the database',
    version             UInt64 MATERIALIZED 18446744073709551615 - toUInt64(toUnixTimestamp64Milli(stored_at)) COMMENT 'falls as stored_at grows: of a replayed row the earliest copy stays'
) ENGINE = {engine}(version)
ORDER BY (engine_class, effective_from_ns, model_version)
COMMENT 'Energy models that batches refer to';

CREATE TABLE IF NOT EXISTS grid_intensity{on_cluster} (
    zone                LowCardinality(String) COMMENT 'grid zone',
    basis               LowCardinality(String) COMMENT 'location or market',
    valid_from          DateTime64(3, 'UTC') COMMENT 'start of validity, inclusive',
    valid_to            DateTime64(3, 'UTC') COMMENT 'end of validity, exclusive',
    g_per_kwh           Float64 COMMENT 'grams of CO2 equivalent per kilowatt-hour',
    source              String COMMENT 'who says so',
    estimated           UInt8 COMMENT '1 where the source calls it an estimate',
    factor_version      UInt64 COMMENT 'a correction is a higher version, never an edit',
    stored_at           DateTime64(3, 'UTC') DEFAULT now64(3) COMMENT 'when the row reached the database',
    version             UInt64 MATERIALIZED 18446744073709551615 - toUInt64(toUnixTimestamp64Milli(stored_at)) COMMENT 'falls as stored_at grows: of a replayed row the earliest copy stays'
) ENGINE = {engine}(version)
ORDER BY (zone, basis, valid_from, source, factor_version)
COMMENT 'Carbon intensity of electricity by zone and time';
