-- Codecs of `ledger`, chosen by measurement (`python -m benchmarks.codecs`): 27 bytes a row become 13. Parts written
-- before keep theirs until they are merged; no row changes.

ALTER TABLE ledger{on_cluster}
    MODIFY COLUMN batch_id CODEC(ZSTD(1)),
    MODIFY COLUMN inputs CODEC(ZSTD(1)),
    MODIFY COLUMN engine_id CODEC(ZSTD(1)),
    MODIFY COLUMN incarnation CODEC(ZSTD(1)),
    MODIFY COLUMN group_id CODEC(ZSTD(1)),
    MODIFY COLUMN model CODEC(ZSTD(1)),
    MODIFY COLUMN load_id CODEC(ZSTD(3)),
    MODIFY COLUMN client_request_id CODEC(ZSTD(3)),
    MODIFY COLUMN ordinal CODEC(Delta, ZSTD(1)),
    MODIFY COLUMN load_ordinal CODEC(Delta, ZSTD(1)),
    MODIFY COLUMN energy_uj CODEC(ZSTD(1)),
    MODIFY COLUMN host_uj CODEC(ZSTD(1)),
    MODIFY COLUMN half_width_uj CODEC(ZSTD(1)),
    MODIFY COLUMN prefill_tokens CODEC(T64, ZSTD(1)),
    MODIFY COLUMN decode_tokens CODEC(T64, ZSTD(1)),
    MODIFY COLUMN emitted_tokens CODEC(T64, ZSTD(1)),
    MODIFY COLUMN iterations CODEC(T64, ZSTD(1)),
    MODIFY COLUMN context_sum CODEC(ZSTD(3)),
    MODIFY COLUMN shared_iterations CODEC(ZSTD(3)),
    MODIFY COLUMN term_shares CODEC(ZSTD(3)),
    MODIFY COLUMN model_loadings CODEC(ZSTD(3)),
    MODIFY COLUMN held_ns CODEC(ZSTD(1)),
    MODIFY COLUMN first_ns CODEC(Delta, ZSTD(1)),
    MODIFY COLUMN last_ns CODEC(Delta, ZSTD(1));
