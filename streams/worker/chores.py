"""The jobs that every worker does for its partitions: cold starts, repairs."""

import logging
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from streams.ledger.repairs import open_causes
from streams.ledger.transfers import write_transfers
from streams.worker.jobs import Job, Scope
from streams.worker.metrics import WorkerMetrics
from streams.worker.repairing import Repairs, repair
from streams.worker.settings import WorkerSettings

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

__all__ = ["chores"]

log = logging.getLogger(__name__)

HOUR_NS: Final = 3600 * 1_000_000_000
TRANSFERS_REACH_NS: Final = 24 * HOUR_NS
"""Loads older than a day are closed by then, or their rest stays in `cold_start`."""
REPAIR_REACH_NS: Final = 7 * 24 * HOUR_NS
"""The topics' retention as declared: what is older cannot be read again."""


def chores(settings: WorkerSettings, client: "Client", repairs: Repairs, metrics: WorkerMetrics) -> list[Job]:
    """The jobs of one worker, those that matter soonest first."""

    def move_cold_starts(scope: Scope) -> Iterator[None]:
        if scope.durable_until_ns:
            write_transfers(client, since_ns=scope.durable_until_ns - TRANSFERS_REACH_NS)
        yield

    def repair_what_came_late(scope: Scope) -> Iterator[None]:
        from_ns = max(0, scope.durable_until_ns - REPAIR_REACH_NS)
        found = open_causes(client, from_ns=from_ns, window_ns=settings.windows.window_ns)
        causes = [cause for cause in found if cause.partition in scope.partitions]
        yield
        if not causes:
            return
        for done in repair(repairs, causes):
            metrics.repairs.labels(done.outcome).inc(len(done.causes))
            log.info(
                "repaired %s: %d causes, %s, %d batches",
                done.group_id,
                len(done.causes),
                done.outcome,
                len(done.batches),
            )
            yield

    return [
        Job("cold-start transfers", settings.transfers_interval_s, move_cold_starts),
        Job("repair", settings.repair_interval_s, repair_what_came_late),
    ]
