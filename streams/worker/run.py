"""Assembles one worker from its settings and runs it until it is told to stop."""

import asyncio
import gc
import logging
import tempfile
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import faust
import uvloop

from schemas.metrics.endpoint import serve_endpoint
from streams.ledger.client import connect
from streams.ledger.migrations import require_current
from streams.ledger.sink import ClickHouseSink
from streams.preparation import prepare_booking
from streams.side_inputs import SideInputs
from streams.trust import open_trust
from streams.worker.app import create_app
from streams.worker.chores import chores
from streams.worker.dead_letters import DeadLetterTopic, bury_in
from streams.worker.durable import Durable
from streams.worker.epochs import ModelEpochs
from streams.worker.frontier import FrontierReader
from streams.worker.health import Health
from streams.worker.jobs import Jobs
from streams.worker.metrics import WorkerMetrics
from streams.worker.own_footprint import last_own_footprint, own_cpu, own_footprint_job
from streams.worker.repairing import Repairs
from streams.worker.settings import WorkerSettings
from streams.worker.shell import Shell
from streams.worker.side_reader import SideReader
from streams.worker.spans import no_span, otlp_spans
from streams.worker.topic_ranges import TopicRanges

__all__ = ["GC_ALLOCATIONS", "run_worker"]

GC_ALLOCATIONS: Final = 50_000
"""Between looks for cycles: none of the objects that frames and batches are made of is in one."""


def run_worker(settings: WorkerSettings) -> None:
    """Run until SIGTERM or SIGINT.

    Raises BrokerUnavailable, DatabaseUnavailable or MigrationError where it cannot start.
    """
    # The embedded database answers one thread only; a server does not mind.
    thread = ThreadPoolExecutor(1, thread_name_prefix="ledger")
    booking = ThreadPoolExecutor(1, thread_name_prefix="booking")
    client = thread.submit(connect, settings.clickhouse).result()
    thread.submit(require_current, client).result()
    metrics, health, own = WorkerMetrics.create(), Health(), own_cpu(settings)
    side = SideInputs()
    dead_letters = DeadLetterTopic(settings.kafka)
    check = open_trust(settings.node_registry)
    sink = ClickHouseSink(client)
    side_reader = SideReader(settings.kafka, side, bury_in(sink, dead_letters), check)
    thread.submit(side_reader.refresh).result()
    if settings.metrics_port:
        serve_endpoint(settings.metrics_port, metrics.registry, live=health.live, ready=health.ready)

    prepare_booking()  # seconds of Numba's that the first frames and the first flush would pay
    uvloop.install()
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    with tempfile.TemporaryDirectory(prefix="wattledger-worker-") as data_dir:
        epochs = ModelEpochs(client, settings.kafka, side, side_reader, settings.epochs, metrics)
        ranges = TopicRanges(settings.kafka, check)
        repairs = Repairs(client, sink, ranges.read, side, settings.windows, settings.split)
        span = otlp_spans() if settings.traces else no_span
        durable = Durable(
            sink, side, settings.split, epochs, metrics, dead_letters.publish, booking, health.turned, span
        )
        shell = Shell(
            settings=settings,
            side=side,
            side_reader=side_reader,
            frontier=FrontierReader(client, settings.kafka, settings.group),
            durable=durable,
            metrics=metrics,
            thread=thread,
            jobs=Jobs([*chores(settings, client, repairs, metrics), own_footprint_job(own, sink, metrics)]),
            health=health,
            check=check,
        )
        app = create_app(settings, shell, data_dir)
        # The log is the command's to set up: Faust would give the root logger a form of its own.
        worker = faust.Worker(app, loop=loop, quiet=True, redirect_stdouts=False, override_logging=False)
        worker.spinner = None  # its escape sequences would stand between the log's lines
        logging.getLogger("streams").setLevel(logging.INFO)
        # What was imported stays: the collector need not look through it again with every thousand frames.
        gc.collect()
        gc.freeze()
        gc.set_threshold(GC_ALLOCATIONS)
        try:
            worker.execute_from_commandline()
        finally:
            durable.give_up.set()
            thread.submit(last_own_footprint, own, sink, metrics).result()
            thread.submit(client.close).result()
            thread.shutdown()
            booking.shutdown()
            side_reader.close()
            ranges.close()
