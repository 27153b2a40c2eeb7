-- Two attempts at one revision: a worker or a repair that was taken for dead may reach the database after another
-- wrote the same revision from more frames. Neither may erase the other, and which of them counts must not depend
-- on which came first: the one with more evidence does.

ALTER TABLE batches{on_cluster} ADD COLUMN IF NOT EXISTS attempt FixedString(16) COMMENT 'equal to inputs; closes the sorting key, so that of two attempts at one revision neither erases the other',
    MODIFY ORDER BY (group_id, start_ns, batch_id, revision, attempt);

ALTER TABLE batches{on_cluster} COMMENT COLUMN IF EXISTS closed_by 'watermark, bounded_wait for a stream or group that was silent for long, or superseded: other batches stand for its time';

ALTER TABLE repairs{on_cluster} COMMENT COLUMN IF EXISTS cause 'late_frame; counter_hole: two neighbours differ in what a counter read between them; overlap: two batches claim the same time; or attempts: one revision was written twice, of different frames';

CREATE OR REPLACE VIEW batches_as_of{on_cluster} AS
SELECT *
FROM batches
WHERE stored_at <= {as_of:DateTime64(3, 'UTC')}
QUALIFY row_number() OVER (
    PARTITION BY group_id, start_ns, event_time, batch_id
    ORDER BY revision DESC, closed_by = 'superseded' DESC, iteration_frames + energy_frames DESC, inputs DESC, version DESC
) = 1 AND closed_by != 'superseded'
COMMENT 'Each batch''s highest revision among those stored by as_of; of two attempts at one revision the one made of more frames';

CREATE OR REPLACE VIEW current_batches{on_cluster} AS
SELECT *
FROM batches_as_of(as_of = '2299-12-31 23:59:59.999')
COMMENT 'Each batch''s highest revision';

ALTER TABLE loads{on_cluster} COMMENT COLUMN IF EXISTS kind 'model_load, wake_up, adapter_load; or unload: nobody is admitted any more under loads of the same what';

CREATE OR REPLACE VIEW current_loads{on_cluster} AS
SELECT *
FROM (SELECT * FROM loads FINAL)
WHERE kind != 'unload'
COMMENT 'Model loads, each once';

CREATE OR REPLACE VIEW cold_starts{on_cluster} AS
SELECT
    load.load_id AS load_id,
    load.kind AS kind,
    load.group_id AS group_id,
    load.engine_id AS engine_id,
    load.event_time AS event_time,
    load.what AS what,
    toInt64(load.amortised_over) AS amortised_over,
    booked.energy_uj AS energy_uj,
    booked.host_uj AS host_uj,
    restated.revision AS revision,
    sealed.until_ns >= load.end_ns AS known,
    -- Who was first served a day after the load pays for no part of it.
    fromUnixTimestamp64Nano(load.end_ns) + INTERVAL 24 HOUR AS deadline,
    following.load_id != '' AS followed,
    following.kind = 'unload' AS unloaded,
    fromUnixTimestamp64Nano(sealed.until_ns) >= deadline AS overdue
FROM current_loads AS load
LEFT JOIN (
    SELECT
        load_id,
        sum(toInt128(current_ledger.energy_uj)) AS energy_uj,
        sum(toInt128(current_ledger.host_uj)) AS host_uj
    FROM current_ledger
    WHERE tenant = '' AND account = 'cold_start'
    GROUP BY load_id
) AS booked ON load.load_id = booked.load_id
LEFT JOIN (
    -- Grows whenever a window that the load touches is restated, by a revision or by another attempt at one, also
    -- where that takes its energy to zero.
    SELECT
        loaded.load_id AS load_id,
        sumIf(batch.times, batch.start_ns < loaded.end_ns AND batch.end_ns > loaded.start_ns) AS revision
    FROM current_loads AS loaded
    INNER JOIN (
        SELECT group_id, start_ns, end_ns, toUInt64(revision) AS times
        FROM current_batches
        WHERE revision > 0
        UNION ALL
        SELECT group_id, start_ns, end_ns, toUInt64(uniqExact(inputs) - 1) AS times
        FROM batches
        GROUP BY group_id, start_ns, end_ns, batch_id, revision
        HAVING times > 0
    ) AS batch
        ON loaded.group_id = batch.group_id
    GROUP BY load_id
) AS restated ON load.load_id = restated.load_id
LEFT JOIN (
    SELECT group_id, max(end_ns) AS until_ns FROM batches GROUP BY group_id
) AS sealed ON load.group_id = sealed.group_id
LEFT JOIN (
    -- A load takes the place of those before it on its engine; an adapter's only of the same adapter's. An unload
    -- ends what was loaded of the same name. The first of them counts.
    SELECT earlier.load_id AS load_id, argMin(later.kind, later.start_ns) AS kind
    FROM current_loads AS earlier
    INNER JOIN (SELECT * FROM loads FINAL) AS later ON earlier.engine_id = later.engine_id
    WHERE later.start_ns > earlier.start_ns AND multiIf(
        later.kind = 'unload', earlier.what = later.what,
        later.kind = 'adapter_load', earlier.kind = 'adapter_load' AND earlier.what = later.what,
        true
    )
    GROUP BY earlier.load_id
) AS following ON load.load_id = following.load_id
COMMENT 'Per load: its energy, and whether it is known: its group is sealed past the load''s end';

CREATE OR REPLACE VIEW cold_start_balance{on_cluster} AS
SELECT
    load.load_id AS load_id,
    load.kind AS kind,
    load.group_id AS group_id,
    load.event_time AS event_time,
    load.amortised_over AS amortised_over,
    load.energy_uj AS energy_uj,
    moved.energy_uj AS claimed_uj,
    load.energy_uj - moved.energy_uj AS unclaimed_uj,
    moved.requests AS requests,
    multiIf(
        NOT load.known, 'window_not_sealed',
        unclaimed_uj = 0, '',
        unclaimed_uj < 0 OR moved.requests > load.amortised_over, 'ordinal_claimed_twice',
        load.unloaded, 'unload',
        load.followed, 'next_load',
        load.overdue, 'deadline',
        'fewer_requests_than_N'
    ) AS reason
FROM cold_starts AS load
LEFT JOIN (
    SELECT load_id, sum(toInt128(current_transfers.energy_uj)) AS energy_uj, toInt64(count()) AS requests
    FROM current_transfers
    WHERE kind = 'cold_start' AND side = 'to'
    GROUP BY load_id
) AS moved ON load.load_id = moved.load_id
COMMENT 'Per load: what requests have claimed of it, what stays in cold_start, and why';
