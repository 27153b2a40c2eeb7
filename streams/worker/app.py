"""The Faust application: three agents that only hand fetches on, and the shell that owns everything else."""

import os
from collections.abc import Awaitable, Callable
from typing import Any, Final

import faust

from schemas.kafka_address import servers_of
from schemas.topics import ENERGY, ITERATIONS, LOADS
from streams.worker.assignor import AssignorByName
from streams.worker.credentials import faust_credentials
from streams.worker.fetches import FetchTransport
from streams.worker.settings import WorkerSettings
from streams.worker.shell import Shell

__all__ = ["create_app"]

FETCHES_AHEAD: Final = 16
"""Fetches of a topic, of at most 1 MB each, that wait for its agent; more bring no speed, only memory."""
CO_PARTITIONED: Final = (ITERATIONS, ENERGY, LOADS)


def create_app(settings: WorkerSettings, shell: Shell, data_dir: str) -> faust.App:
    """The application of one worker; `shell` does the work, Faust brings messages and partitions.

    Each option that is not a default answers a failure that was reproduced; docs/architecture.md lists them.
    """
    os.makedirs(data_dir, exist_ok=True)  # noqa: PTH103 - Faust wants the directory's parent to exist
    app = faust.App(
        settings.group,
        broker=[f"kafka://{server}" for server in servers_of(settings.kafka).split(",")],
        broker_credentials=faust_credentials(settings.kafka),
        datadir=data_dir,
        key_serializer="raw",
        value_serializer="raw",
        store="memory://",
        topic_disable_leader=True,
        topic_allow_declare=False,
        # 0 would switch to round-robin assignment when there are no tables, and break co-partitioning.
        table_standby_replicas=1,
        stream_wait_empty=False,
        stream_buffer_maxsize=FETCHES_AHEAD,
        consumer_auto_offset_reset="earliest",
        consumer_group_instance_id=settings.instance_id or None,
        PartitionAssignor=AssignorByName,
        broker_session_timeout=settings.session_timeout_s,
        broker_heartbeat_interval=settings.heartbeat_s,
        worker_redirect_stdouts=False,
        web_enabled=False,
    )
    app.transport = FetchTransport(app.conf.broker_consumer, app)
    for name in CO_PARTITIONED:
        # Without acks: Faust acks what it skips (an earlier generation's messages), see streams/worker/commits.py.
        topic = app.topic(name, key_serializer="raw", value_serializer="raw", acks=False)
        app.agent(topic, name=name, concurrency=1)(_ingest(shell))

    on_revoked, on_assigned = _rebalance_handlers(shell)
    app.on_partitions_revoked.connect(on_revoked)
    app.on_partitions_assigned.connect(on_assigned)
    app.task(_task(app, "flush", shell.flush_forever))
    app.task(_task(app, "commit", shell.commit_forever))
    app.task(_task(app, "watch", shell.watch_forever))
    return app


def _rebalance_handlers(shell: Shell) -> tuple[Any, Any]:
    async def on_revoked(sender: faust.App, revoked: Any, **kwargs: Any) -> None:
        del sender, revoked, kwargs
        await shell.close_gate()

    async def on_assigned(sender: faust.App, assigned: Any, **kwargs: Any) -> None:
        del kwargs
        await shell.open_gate({(tp.topic, tp.partition) for tp in assigned}, sender.consumer)

    return on_revoked, on_assigned


def _task(app: faust.App, name: str, run: Callable[[Callable[[], bool]], Awaitable[None]]) -> Any:
    async def task() -> None:
        await run(lambda: app.should_stop)

    task.__name__ = name
    return task


def _ingest(shell: Shell) -> Any:
    """An agent that lets no exception out: Faust would carry on with the next message."""

    async def ingest(stream: Any) -> None:
        async for event in stream.noack().events():
            await shell.receive(event)

    return ingest
