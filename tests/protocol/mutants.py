"""Workers that break one rule of the protocol each: what the simulation must be able to find."""

from collections.abc import Mapping
from dataclasses import dataclass

from streams.acks import AckQueue
from streams.pipeline import Frontier
from tests.protocol.worker import Worker

__all__ = ["MUTANTS"]

Position = tuple[str, int]


class CommitsBeforeTheManifest(Worker):
    """Settles as soon as the rows are written."""

    def insert_data(self, *, answered: bool) -> None:
        """Rows, then at once the commit."""
        super().insert_data(answered=answered)
        if self.pipeline is not None and self.inserting is not None:
            self.due |= self.pipeline.settle(self.inserting.work)
            self.commit()

    def settle(self) -> None:
        """Settled before."""
        if self.inserting is not None and self.inserting.manifest_done:
            self.inserting = None


class WritesTheManifestFirst(Worker):
    """Seals windows whose rows are not there yet."""

    def insert_data(self, *, answered: bool) -> None:
        """The manifest, then the rows."""
        insert = self.inserting
        if insert is not None and not insert.data_done:
            self.store.insert_manifest(insert.rows)
            insert.data_done = answered

    def insert_manifest(self, *, answered: bool) -> None:
        """The rows, when it is too late."""
        insert = self.inserting
        if insert is not None and insert.data_done and not insert.manifest_done:
            self.store.insert_data(insert.rows)
            insert.manifest_done = answered


class ForgetsTheGate(Worker):
    """Lets messages in without having read what is sealed."""

    def frontier(self, positions: Mapping[Position, int]) -> Frontier:
        """Nothing is sealed, as far as it knows."""
        return Frontier(positions=dict(positions))


class KeepsItsState(Worker):
    """Goes on with what it had in memory when its partitions are given to it again."""

    def assign(self, partitions: frozenset[int]) -> None:
        """As before, where there was a before."""
        kept = self.kept if hasattr(self, "kept") else None
        super().assign(partitions)
        if kept is not None:
            self.pipeline = kept
        self.kept = self.pipeline


class CommitsWhatWasHandedOver(Worker):
    """As a consumer that commits its position: what Faust does with messages that it skips."""

    def commit(self) -> None:
        """Everything that was delivered."""
        self.due |= self.at
        super().commit()


@dataclass(slots=True)
class OutOfOrder(AckQueue):
    """Releases up to the last finished message, holes or not."""

    def release(self) -> int | None:
        """The end of the last finished message."""
        if not self.done:
            return None
        last = max(self.done)
        self.done.clear()
        while self.waiting and self.waiting[0] <= last:
            self.waiting.popleft()
        return last + 1


@dataclass(slots=True)
class TakesRepeats(AckQueue):
    """Believes that a consumer hands nothing over twice."""

    def is_repeat(self, offset: int) -> bool:
        """Never."""
        del offset
        return False


class AcksOutOfOrder(Worker):
    """A pipeline whose queues commit over holes."""

    def assign(self, partitions: frozenset[int]) -> None:
        """With the wrong queues."""
        super().assign(partitions)
        assert self.pipeline is not None
        _replace_queues(self, OutOfOrder)


class BelievesInOnce(Worker):
    """A pipeline that takes every message for a new one."""

    def assign(self, partitions: frozenset[int]) -> None:
        """With the wrong queues."""
        super().assign(partitions)
        _replace_queues(self, TakesRepeats)


def _replace_queues(worker: Worker, kind: type[AckQueue]) -> None:
    assert worker.pipeline is not None
    queues = worker.pipeline._acks
    for position, offset in worker.at.items():
        queues[position] = kind(offset)


MUTANTS: tuple[type[Worker], ...] = (
    CommitsBeforeTheManifest,
    WritesTheManifestFirst,
    ForgetsTheGate,
    KeepsItsState,
    CommitsWhatWasHandedOver,
    AcksOutOfOrder,
    BelievesInOnce,
)
