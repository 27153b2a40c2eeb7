-- How the ledger is read. Revisions and replays are resolved here, once: no reader needs FINAL, and a filter on
-- group, batch or event time reaches the tables' keys. `*_as_of(as_of = '...')` reads what was stored by then,
-- for ever the same; the plain name reads everything. Sums of microjoules are Int128: a month of ten thousand
-- GPUs does not fit Int64, which would wrap silently.

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

CREATE OR REPLACE VIEW current_transfers{on_cluster} AS
SELECT *
FROM (SELECT * FROM transfers FINAL)
QUALIFY rank() OVER (PARTITION BY kind, load_id ORDER BY revision DESC) = 1
COMMENT 'Pairs of each load''s highest revision: a restated load replaces its pairs as a whole';

CREATE OR REPLACE VIEW current_loads{on_cluster} AS
SELECT *
FROM (SELECT * FROM loads FINAL)
COMMENT 'Model loads, each once';

-- A counter at an instant, linear between the readings on either side, rounded half up in integers: the same
-- arithmetic as streams/metering.py, value_at.
CREATE OR REPLACE VIEW metered{on_cluster} AS
WITH
    (at, before_ns, before_uj, after_ns, after_uj) -> toInt128(before_uj) + if(
        after_ns = before_ns,
        toInt128(0),
        intDiv(
            2 * (toInt128(after_uj) - before_uj) * (toInt128(at) - before_ns) + (toInt128(after_ns) - before_ns),
            2 * (toInt128(after_ns) - before_ns) + (after_ns = before_ns)
        )
    ) AS value_at,
    (at, before_ns, before_uj, after_ns, after_uj) ->
        before_ns <= at AND at <= after_ns AND before_uj <= after_uj AS are_ordered
SELECT
    event_time,
    batch_id,
    revision,
    inputs,
    meter_id,
    epoch,
    kind,
    source,
    from_ns,
    to_ns,
    value_at(from_ns, from_before_ns, from_before_uj, from_after_ns, from_after_uj) AS from_uj,
    value_at(to_ns, to_before_ns, to_before_uj, to_after_ns, to_after_uj) AS to_uj,
    to_uj - from_uj AS energy_uj,
    from_ns <= to_ns
        AND are_ordered(from_ns, from_before_ns, from_before_uj, from_after_ns, from_after_uj)
        AND are_ordered(to_ns, to_before_ns, to_before_uj, to_after_ns, to_after_uj) AS in_order
FROM raw_meter FINAL
COMMENT 'Every meter at both edges of every batch, and its energy between them, recomputed from the raw readings';

CREATE OR REPLACE VIEW books_as_of{on_cluster} AS
SELECT
    batch.group_id AS group_id,
    batch.event_time AS event_time,
    batch.start_ns AS start_ns,
    batch.end_ns AS end_ns,
    batch.batch_id AS batch_id,
    batch.revision AS revision,
    -- An estimate (tier 2) has no readings: it is held against its accounts and rows alone.
    if(batch.tier = 2, toInt128(batch.metered_uj), meter.gpu_uj) AS metered_uj,
    toInt128(batch.metered_uj) AS stated_uj,
    toInt128(batch.request_uj) AS request_uj,
    toInt128(batch.idle_uj) AS idle_uj,
    toInt128(batch.cold_start_uj) AS cold_start_uj,
    toInt128(batch.overhead_uj) AS overhead_uj,
    toInt128(batch.unobserved_uj) AS unobserved_uj,
    request_uj + idle_uj + cold_start_uj + overhead_uj + unobserved_uj AS booked_uj,
    booked.energy_uj AS ledger_uj,
    meter.host_uj AS host_metered_uj,
    toInt128(batch.host_uj) AS host_stated_uj,
    booked.host_uj AS host_ledger_uj,
    arrayFilter(why -> why != '', [
        if(meter.readings = 0 OR meter.in_order, '', 'readings_out_of_order'),
        if(metered_uj = stated_uj, '', 'meter_differs_from_batch'),
        if(metered_uj = booked_uj, '', 'accounts_differ_from_meter'),
        if(booked.request_uj = request_uj AND booked.idle_uj = idle_uj AND booked.cold_start_uj = cold_start_uj
            AND booked.overhead_uj = overhead_uj AND booked.unobserved_uj = unobserved_uj
            AND ledger_uj = booked_uj, '', 'ledger_differs_from_accounts'),
        if(host_metered_uj = host_stated_uj AND host_ledger_uj = host_stated_uj, '', 'host_differs')
    ]) AS why_open,
    empty(why_open) AS closes
FROM batches_as_of(as_of = {as_of:DateTime64(3, 'UTC')}) AS batch
LEFT JOIN (
    SELECT
        event_time,
        batch_id,
        revision,
        inputs,
        sumIf(energy_uj, kind = 'gpu') AS gpu_uj,
        sumIf(energy_uj, kind = 'host') AS host_uj,
        count() AS readings,
        min(in_order) AS in_order
    FROM metered
    GROUP BY event_time, batch_id, revision, inputs
) AS meter
    ON batch.event_time = meter.event_time AND batch.batch_id = meter.batch_id AND batch.revision = meter.revision
    AND batch.inputs = meter.inputs
LEFT JOIN (
    SELECT
        event_time,
        batch_id,
        revision,
        inputs,
        sumIf(toInt128(ledger.energy_uj), account = 'request') AS request_uj,
        sumIf(toInt128(ledger.energy_uj), account = 'idle') AS idle_uj,
        sumIf(toInt128(ledger.energy_uj), account = 'cold_start') AS cold_start_uj,
        sumIf(toInt128(ledger.energy_uj), account = 'overhead') AS overhead_uj,
        sumIf(toInt128(ledger.energy_uj), account = 'unobserved') AS unobserved_uj,
        sum(toInt128(ledger.energy_uj)) AS energy_uj,
        sum(toInt128(ledger.host_uj)) AS host_uj
    FROM ledger FINAL
    GROUP BY event_time, batch_id, revision, inputs
) AS booked
    ON batch.event_time = booked.event_time AND batch.batch_id = booked.batch_id AND batch.revision = booked.revision
    AND batch.inputs = booked.inputs
COMMENT 'The books as they stood at as_of: each batch by its highest revision stored by then';

CREATE OR REPLACE VIEW books{on_cluster} AS
SELECT *
FROM books_as_of(as_of = '2299-12-31 23:59:59.999')
COMMENT 'Per batch: the meter recomputed from raw readings against the accounts and the ledger; why_open says what differs';

CREATE OR REPLACE VIEW tenant_usage{on_cluster} AS
SELECT
    tenant,
    hour,
    uniqExactIf((engine_id, incarnation, ordinal), booked) AS requests,
    sum(energy_uj) AS energy_uj,
    sum(transferred_uj) AS transferred_uj,
    sum(host_uj) AS host_uj,
    sum(prefill_tokens) AS prefill_tokens,
    sum(decode_tokens) AS decode_tokens,
    sum(emitted_tokens) AS emitted_tokens
FROM (
    SELECT
        tenant, toStartOfHour(event_time) AS hour, engine_id, incarnation, ordinal, true AS booked,
        toInt128(current_ledger.energy_uj) AS energy_uj, toInt128(0) AS transferred_uj,
        toInt128(current_ledger.host_uj) AS host_uj, prefill_tokens, decode_tokens, emitted_tokens
    FROM current_ledger
    WHERE account = 'request'
    UNION ALL
    SELECT
        tenant, toStartOfHour(event_time), engine_id, incarnation, ordinal, false,
        toInt128(0), toInt128(current_transfers.energy_uj), toInt128(current_transfers.host_uj), 0, 0, 0
    FROM current_transfers
    WHERE side = 'to'
)
GROUP BY tenant, hour
COMMENT 'Per tenant and hour: energy booked to its requests, and what transfers (cold start, residency) added';

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
    -- Grows whenever a window that the load touches is restated, also where that takes its energy to zero.
    SELECT
        loaded.load_id AS load_id,
        sumIf(toUInt64(batch.revision), batch.start_ns < loaded.end_ns AND batch.end_ns > loaded.start_ns) AS revision
    FROM current_loads AS loaded
    INNER JOIN (SELECT group_id, start_ns, end_ns, revision FROM current_batches WHERE revision > 0) AS batch
        ON loaded.group_id = batch.group_id
    GROUP BY load_id
) AS restated ON load.load_id = restated.load_id
LEFT JOIN (
    SELECT group_id, max(end_ns) AS until_ns FROM batches GROUP BY group_id
) AS sealed ON load.group_id = sealed.group_id
LEFT JOIN (
    -- A load takes the place of those before it on its engine; an adapter's only of the same adapter's.
    SELECT DISTINCT earlier.load_id AS load_id
    FROM current_loads AS earlier
    INNER JOIN current_loads AS later ON earlier.engine_id = later.engine_id
    WHERE later.start_ns > earlier.start_ns
        AND (later.kind != 'adapter_load' OR (earlier.kind = 'adapter_load' AND earlier.what = later.what))
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
