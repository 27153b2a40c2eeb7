"""Workers, stores and repairs that break one rule each: what the simulation must be able to find."""

from collections.abc import Mapping
from dataclasses import dataclass

from streams.acks import AckQueue
from streams.pipeline import Frontier, Pipeline
from streams.repair import SUPERSEDED
from tests.protocol.repairs import LOGS, causes
from tests.protocol.store import Row, Sealed, Store
from tests.protocol.worker import Worker
from tests.protocol.worlds import Parts

__all__ = ["LATE_MUTANTS", "MUTANTS"]

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
        kept: Pipeline | None = getattr(self, "kept", None)
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


class TheLastToComeCounts(Store):
    """Of two attempts at one revision, readers see the one that was stored last."""

    def rank(self, sealed: Sealed, arrived: int) -> Row:
        """By time of arrival."""
        return (sealed.batch.revision, sealed.batch.closed_by == SUPERSEDED, arrived)


def _late_frames_alone(store: Store) -> dict[str, frozenset[Row]]:
    """Repairs that never look at what was written twice."""
    found = {group: {one for one in asked if one[0] in LOGS} for group, asked in causes(store).items()}
    return {group: frozenset(asked) for group, asked in found.items() if asked}


MUTANTS: dict[str, Parts] = {
    **{
        worker.__name__: Parts(worker)
        for worker in (
            CommitsBeforeTheManifest,
            WritesTheManifestFirst,
            ForgetsTheGate,
            KeepsItsState,
            CommitsWhatWasHandedOver,
            AcksOutOfOrder,
            BelievesInOnce,
        )
    }
}
"""Found by schedules without late frames."""
LATE_MUTANTS: dict[str, Parts] = {
    "TheLastToComeCounts": Parts(store=TheLastToComeCounts, causes=_late_frames_alone),
    "RepairsLateFramesAlone": Parts(causes=_late_frames_alone),
}
"""Found only where what a window is made of depends on when it is closed."""
