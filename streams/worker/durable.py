"""Makes one flush durable, in the protocol's order: rows, then the manifest, then (elsewhere) the acks.

Runs on one thread of its own: the embedded database wants one, and the event loop must stay free for the
group's heartbeats however long the database is away. Booking has another, so that it goes on meanwhile.
"""

import logging
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, wait
from dataclasses import dataclass, field
from functools import partial
from typing import Final

import pyarrow as pa

from schemas.errors import BrokerUnavailable, DatabaseUnavailable
from streams.batch import ACCOUNTS, Batch
from streams.booking import book
from streams.ledger.incident_rows import dead_letter_table, late_frame_table, load_table
from streams.ledger.model_rows import model_table
from streams.ledger.rows import batch_table, ledger_table, meter_table
from streams.ledger.sink import Sink
from streams.messages import DeadLetter
from streams.pipeline import Work
from streams.side_inputs import SideInputs
from streams.split import SplitRules
from streams.windows import ClosedWindow
from streams.worker.epochs import ModelEpochs
from streams.worker.metrics import WorkerMetrics
from streams.worker.spans import OpenSpan, no_span
from streams.worker.turns import Turns

__all__ = ["Durable"]

log = logging.getLogger(__name__)

FIRST_RETRY_S: Final = 0.2
INSERT_WINDOWS: Final = 128
"""Windows per insert: fewer cost throughput (an insert has 4-10 ms of fixed cost), more keep the first waiting."""
LONGEST_RETRY_S: Final = 5.0
"""A database that returns is noticed within this; in between, partitions are paused and nothing is dropped."""


@dataclass(frozen=True, slots=True)
class _Booked:
    """Windows that are booked, and their rows."""

    batches: list[Batch]
    rows: dict[str, pa.Table]
    manifest: pa.Table


@dataclass(frozen=True, slots=True)
class Durable:
    """What writing a flush needs."""

    sink: Sink
    side: SideInputs
    split: SplitRules
    epochs: ModelEpochs
    metrics: WorkerMetrics
    publish_dead_letters: Callable[[tuple[DeadLetter, ...]], None]
    booking: Executor
    """One thread that books while rows are inserted: it computes, and waits for nobody."""
    turned: Callable[[], None]
    """Told before each try: a database that is away is no standstill of ours."""
    span: OpenSpan = no_span
    turns: Turns = field(default_factory=Turns)
    give_up: threading.Event = field(default_factory=threading.Event)
    """Set while partitions are taken away or the worker stops: a database that is away is not waited for."""

    def write(self, work: Work) -> bool:
        """Book and insert `work`, retrying until the database takes it; False when told to give up first.

        An epoch at a time: the windows of one are in the ledger before a later one's model is fitted on them.
        """
        sizes = {"windows": len(work.windows), "dead_letters": len(work.dead_letters)}
        with self.metrics.flush_seconds.time(), self.span("flush", sizes):
            for windows in self.epochs.in_order(work.windows):
                with self.span("book", {"windows": len(windows)}):
                    if not (self._persist(partial(self.epochs.ensure, windows)) and self._store(windows)):
                        return False
            with self.span("record", {}):
                if not self._persist(partial(self._record, work)):
                    return False
        self._count(work)
        return True

    def _store(self, windows: Sequence[ClosedWindow]) -> bool:
        """Insert the windows, some at a time, while the next of them are booked."""
        parts = [windows[at : at + INSERT_WINDOWS] for at in range(0, len(windows), INSERT_WINDOWS)]
        booked = self.booking.submit(self._book, parts[0])
        for following in (*parts[1:], ()):
            ready = booked.result()
            if following:
                booked = self.booking.submit(self._book, following)
            if not self._persist(partial(self.sink.write, ready.rows, ready.manifest)):
                wait([booked])
                return False
            self.metrics.count_batches(ready.batches)
        return True

    def _book(self, windows: Sequence[ClosedWindow]) -> "_Booked":
        with self.turns.booking():
            batches = [book(closed, self.side, self.split) for closed in windows]
            for batch in batches:
                _must_balance(batch, self.metrics)
            rows = {
                "ledger": ledger_table(batches),
                "raw_meter": meter_table(batches),
                "energy_models": model_table(batches, self.side),
            }
            return _Booked(batches, rows, batch_table(batches))

    def _record(self, work: Work) -> None:
        """What is no batch: loads, late frames, dead letters."""
        self.publish_dead_letters(work.dead_letters)
        rows = {
            "loads": load_table(work.loads, self.side),
            "late_frames": late_frame_table(work.late_frames),
            "dead_letters": dead_letter_table(work.dead_letters),
        }
        self.sink.write(rows, batch_table([]))

    def _persist(self, step: Callable[[], None]) -> bool:
        """Repeat `step`, which is idempotent, until it succeeds; False when told to give up first."""
        pause_s = FIRST_RETRY_S
        while True:
            self.turned()
            try:
                step()
            except (DatabaseUnavailable, BrokerUnavailable) as error:
                self.metrics.insert_retries.inc()
                log.warning("trying again in %.1f s: %s", pause_s, error)
            else:
                return True
            if self.give_up.wait(pause_s):
                return False
            pause_s = min(2 * pause_s, LONGEST_RETRY_S)

    def _count(self, work: Work) -> None:
        for letter in work.dead_letters:
            self.metrics.dead_letters.labels(letter.message.topic, letter.reason).inc()
        for late in work.late_frames:
            self.metrics.late_frames.labels(late.message.topic).inc()


def _must_balance(batch: Batch, metrics: WorkerMetrics) -> None:
    """A batch that does not close is a bug of ours: stop before it becomes somebody's bill."""
    booked_uj = sum(batch.account_uj(account) for account in ACCOUNTS)
    if booked_uj != batch.metered_uj:
        metrics.unbalanced.inc()
        raise AssertionError(
            f"batch {batch.batch_id} of {batch.group_id}: booked {booked_uj} µJ, metered {batch.metered_uj} µJ"
        )
