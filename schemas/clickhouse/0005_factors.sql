-- From joules to grams. The ledger holds energy; what turns it into carbon and water are factors, each with its
-- source, its spread and its time of validity. A late or corrected factor is a new version; rows of the ledger
-- never change. Views read both as they stood at a cut-off, so that an old statement stays reproducible.

ALTER TABLE batches{on_cluster} ADD COLUMN IF NOT EXISTS gpus UInt32 COMMENT 'accelerators of the group: its embodied carbon is theirs';
ALTER TABLE batches{on_cluster} ADD COLUMN IF NOT EXISTS edge_error Float64 COMMENT 'standard error of metered_uj by what the counter shows late at the window''s edges, relative; 0 without a meter';
ALTER TABLE ledger{on_cluster} ADD COLUMN IF NOT EXISTS model_loadings Array(Float32) COMMENT 'signed microjoules by which one standard deviation of each error of the energy model moves energy_uj; errors are common to an engine class: add loadings, then square';
ALTER TABLE ledger{on_cluster} ADD COLUMN IF NOT EXISTS sampling_uj Int64 COMMENT 'standard error of energy_uj by sampling, independent of every other row; 0 where the split is exact';
ALTER TABLE grid_intensity{on_cluster} ADD COLUMN IF NOT EXISTS resolution LowCardinality(String) COMMENT 'interval, or annual: a year''s mean that stands in where nothing better is known';
ALTER TABLE grid_intensity{on_cluster} ADD COLUMN IF NOT EXISTS spread Float64 COMMENT 'geometric standard deviation of the figure''s log-normal error, 1 or more';
ALTER TABLE grid_intensity{on_cluster} ADD COLUMN IF NOT EXISTS lag_s Float64 COMMENT 'seconds from the end of validity until the source had it; below 0 for a forecast';

CREATE TABLE IF NOT EXISTS factors{on_cluster} (
    kind                LowCardinality(String) COMMENT 'pue, wue, grid_water, embodied_gpu, embodied_host, lifetime, meter_device, meter_generation',
    scope               LowCardinality(String) COMMENT 'site, zone or GPU that it holds for; default for all others',
    effective_from      DateTime64(3, 'UTC') COMMENT 'holds from then until the next version of its kind and scope',
    value               Float64 COMMENT 'in its unit',
    unit                LowCardinality(String) COMMENT 'unit of value',
    spread              Float64 COMMENT 'geometric standard deviation of the figure''s log-normal error, 1 or more',
    source              String COMMENT 'who says so',
    licence             String COMMENT 'licence of the source',
    vintage             LowCardinality(String) COMMENT 'year or edition of the source',
    factor_version      UInt64 COMMENT 'when the source said so, Unix milliseconds: a correction is a higher version, never an edit',
    stored_at           DateTime64(3, 'UTC') DEFAULT now64(3) COMMENT 'when the row reached the database',
    version             UInt64 MATERIALIZED 18446744073709551615 - toUInt64(toUnixTimestamp64Milli(stored_at)) COMMENT 'falls as stored_at grows: of a replayed row the earliest copy stays'
) ENGINE = {engine}(version)
ORDER BY (kind, scope, effective_from, factor_version)
COMMENT 'Power usage, water, manufacturing and meter errors: what the ledger is multiplied with beside the grid';

-- The base views name their columns when they are made: made again, they have the new ones.
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
COMMENT 'Rows of each batch''s highest revision among those stored by as_of, each once';

CREATE OR REPLACE VIEW current_ledger{on_cluster} AS
SELECT *
FROM ledger_as_of(as_of = '2299-12-31 23:59:59.999')
COMMENT 'Rows of each batch''s highest revision, each once';
