-- How long a batch's requests held it, all together: what manufacturing is divided by. On the batch, a report of one
-- tenant needs no other tenant's rows.

ALTER TABLE batches{on_cluster} ADD COLUMN IF NOT EXISTS held_ns Int64 COMMENT 'iteration time of its requests, by the time game''s split, summed; 0 in rows from before it was kept';
