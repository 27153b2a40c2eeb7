"""The jobs that every worker does for its partitions: cold starts, repairs, factors, reconciliation."""

import logging
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from streams.ledger.causes import open_causes
from streams.ledger.reconcile import coverage, reconcile, reconciliation_table
from streams.ledger.residency import write_residency
from streams.ledger.tables import arrow_schema
from streams.ledger.transfers import write_transfers
from streams.worker.factor_topics import factors_job
from streams.worker.jobs import Job, Scope
from streams.worker.metrics import WorkerMetrics
from streams.worker.repairing import Repairs, repair
from streams.worker.settings import WorkerSettings

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

__all__ = ["chores"]

log = logging.getLogger(__name__)

HOUR_NS: Final = 3600 * 1_000_000_000
TRANSFERS_REACH_NS: Final = 48 * HOUR_NS
"""A load's last request is first served within a day; another day for frames that come late."""
RESIDENCY_HOURS: Final = 3
"""Hours shared again: one worker's groups are not those of all, and a late frame may change an hour."""
RECONCILED_HOURS: Final = 6
"""Hours looked at again: a repair within this changes what `reconciliations` says."""
REPAIR_REACH_NS: Final = 7 * 24 * HOUR_NS
"""The topics' retention as declared: what is older cannot be read again."""
SHORT_REACH_NS: Final = 2 * HOUR_NS
LONG_LOOK_S: Final = 3600.0
"""Counter holes are looked for in the last two hours, and every hour in all that can be read again."""


def chores(settings: WorkerSettings, client: "Client", repairs: Repairs, metrics: WorkerMetrics) -> list[Job]:
    """The jobs of one worker, those that matter soonest first."""
    next_long_look_s = 0.0

    def move_cold_starts(scope: Scope) -> Iterator[None]:
        if scope.durable_until_ns:
            write_transfers(client, since_ns=scope.durable_until_ns - TRANSFERS_REACH_NS)
        yield

    def repair_what_came_late(scope: Scope) -> Iterator[None]:
        nonlocal next_long_look_s
        now_s = time.monotonic()
        reach_ns = REPAIR_REACH_NS if now_s >= next_long_look_s else SHORT_REACH_NS
        next_long_look_s = max(next_long_look_s, now_s + LONG_LOOK_S if reach_ns == REPAIR_REACH_NS else 0)
        found = open_causes(
            client,
            from_ns=max(0, scope.durable_until_ns - REPAIR_REACH_NS),
            holes_from_ns=max(0, scope.durable_until_ns - reach_ns),
            window_ns=settings.windows.window_ns,
        )
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

    def reconcile_closed_hours(scope: Scope) -> Iterator[None]:
        closed_ns = scope.durable_until_ns // HOUR_NS * HOUR_NS
        if not closed_ns:
            return
        as_of_ns = time.time_ns()
        hours = reconcile(
            client,
            from_ns=closed_ns - RECONCILED_HOURS * HOUR_NS,
            to_ns=closed_ns,
            as_of_ns=as_of_ns,
            partitions=scope.partitions,
        )
        yield
        if not hours:
            return
        table = reconciliation_table(hours, as_of_ns)
        repairs.sink.write({"reconciliations": table}, arrow_schema("batches").empty_table())
        last = [one for one in hours if one.hour == hours[-1].hour]
        metrics.coverage_ratio.set(coverage(last))
        metrics.unbooked_joules.set(sum(one.unbooked_uj for one in last) / 1e6)
        metrics.doubled_joules.set(sum(one.doubled_uj for one in last) / 1e6)

    def share_idle_hours(scope: Scope) -> Iterator[object]:
        closed_ns = scope.durable_until_ns // HOUR_NS * HOUR_NS
        if closed_ns and 0 in scope.partitions:  # a class's engines are on all partitions: one worker does it
            from_ns = closed_ns - RESIDENCY_HOURS * HOUR_NS
            yield from write_residency(client, repairs.sink, repairs.side, from_ns=from_ns, to_ns=closed_ns)

    return [
        Job("cold-start transfers", settings.transfers_interval_s, move_cold_starts),
        Job("repair", settings.repair_interval_s, repair_what_came_late),
        factors_job(client, settings.kafka),
        Job("idle residency", settings.residency_interval_s, share_idle_hours),
        Job("reconciliation", settings.reconcile_interval_s, reconcile_closed_hours),
    ]
