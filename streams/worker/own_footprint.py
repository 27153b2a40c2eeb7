"""The job by which a worker writes down what it draws itself."""

import logging
import os
import socket
import time
from collections.abc import Iterator

from schemas.errors import DatabaseUnavailable, MigrationError
from streams.ledger.own_footprint import OwnCpu
from streams.ledger.sink import Sink
from streams.ledger.tables import arrow_schema
from streams.worker.jobs import Job, Scope
from streams.worker.metrics import WorkerMetrics
from streams.worker.settings import WorkerSettings

__all__ = ["last_own_footprint", "own_cpu", "own_footprint_job"]

log = logging.getLogger(__name__)

INTERVAL_S = 300.0
"""What a killed worker's last words lack; each costs a row."""


def own_cpu(settings: WorkerSettings) -> OwnCpu:
    """This process's account, from now on."""
    instance = f"{socket.gethostname()}/{os.getpid()}/{time.time_ns()}"
    return OwnCpu("worker", instance, settings.own_watts_per_core)


def own_footprint_job(own: OwnCpu, sink: Sink, metrics: WorkerMetrics) -> Job:
    """Writes an interval every five minutes."""

    def steps(scope: Scope) -> Iterator[None]:
        del scope
        _write(own, sink, metrics)
        yield

    return Job("own footprint", INTERVAL_S, steps)


def last_own_footprint(own: OwnCpu, sink: Sink, metrics: WorkerMetrics) -> None:
    """Before the worker ends; a database that was away the last time is not waited for."""
    if own.behind:
        return
    try:
        _write(own, sink, metrics)
    except (DatabaseUnavailable, MigrationError) as error:
        log.warning("the last minutes of this worker's own energy are not written: %s", error)


def _write(own: OwnCpu, sink: Sink, metrics: WorkerMetrics) -> None:
    """Write what is not stored yet. Raises DatabaseUnavailable; the same rows are written next time."""
    sink.write({"own_footprint": own.cut()}, arrow_schema("batches").empty_table())
    metrics.own_joules.inc(own.stored())
