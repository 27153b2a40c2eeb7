"""The steps of `wattledger demo`, each usable alone: one run has its own directory, cluster name and group."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from confluent_kafka import Consumer, TopicPartition

from schemas.errors import WattledgerError
from schemas.kafka_address import client_settings
from schemas.topics import ENERGY, ITERATIONS, LOADS
from wattledger.local.worker import Progress, Worker

__all__ = ["Run", "begin_at_the_end", "new_run", "wait_until_sealed"]

POLL_S: Final = 0.5
STALLED_S: Final = 180.0
"""Without a new batch for so long the demo gives up and says where the worker's log is."""


@dataclass(frozen=True, slots=True)
class Run:
    """Where one run keeps its things."""

    name: str
    directory: Path

    @property
    def clickhouse(self) -> str:
        """DSN of the run's own embedded database."""
        return f"chdb://{(self.directory / 'clickhouse').resolve()}"

    @property
    def page(self) -> Path:
        """The HTML page."""
        return self.directory / "index.html"

    @property
    def log(self) -> Path:
        """What the worker said."""
        return self.directory / "worker.log"


def new_run(out: Path) -> Run:
    """A directory of its own under `out`, and a link `latest` to it."""
    stamp = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
    for attempt in range(100):
        name = stamp if attempt == 0 else f"{stamp}-{attempt}"
        directory = out / name
        try:
            directory.mkdir(parents=True)
        except FileExistsError:
            continue
        link = out / "latest"
        link.unlink(missing_ok=True)
        link.symlink_to(name)
        return Run(f"demo-{name}", directory)
    raise WattledgerError(f"{out} holds a hundred runs of this second: remove some")


def begin_at_the_end(kafka: str, group: str) -> None:
    """Commit the topics' present ends for `group`, so that its worker books only what comes from now on."""
    consumer = Consumer({**client_settings(kafka), "group.id": group, "enable.auto.commit": False})
    try:
        metadata = consumer.list_topics(timeout=10)
        ends = []
        for topic in (ITERATIONS, ENERGY, LOADS):
            for partition in metadata.topics[topic].partitions:
                _, high = consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=10)
                if high:
                    ends.append(TopicPartition(topic, partition, high))
        if ends:
            consumer.commit(offsets=ends, asynchronous=False)
    finally:
        consumer.close()


def wait_until_sealed(
    worker: Worker, groups: int, until_s: float, report: Callable[[Progress], None]
) -> Progress:
    """Wait until `groups` groups are durable up to event time `until_s` (Unix seconds).

    Raises WattledgerError when the worker ends or makes no progress for STALLED_S.
    """
    last, since = -1, time.monotonic()
    while True:
        progress = worker.progress()
        if progress is not None:
            report(progress)
            if progress.groups >= groups and progress.sealed_until_s >= until_s:
                return progress
            if progress.batches != last:
                last, since = progress.batches, time.monotonic()
        if time.monotonic() - since > STALLED_S:
            raise WattledgerError(
                f"the worker has booked no batch for {STALLED_S:.0f} s; its log is {worker.log}"
            )
        time.sleep(POLL_S)
