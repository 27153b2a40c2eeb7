"""One simulated worker: the real pipeline, and around it the shell's protocol step by step.

Each method is one step between which anything may happen. The order of `streams/worker`: rows, manifest,
settle, commit; a new pipeline from the manifest's frontier after every assignment, before the first message.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from schemas.topics import ENERGY, ITERATIONS, LOADS
from streams.pipeline import Frontier, Pipeline, Work
from tests.protocol.log import RULES, Log, side_inputs
from tests.protocol.store import Rows, Store, rows_of

__all__ = ["Broker", "Insert", "Worker"]

Position = tuple[str, int]
TOPICS = (ITERATIONS, ENERGY, LOADS)


@dataclass(slots=True)
class Broker:
    """The log and the consumer group's committed offsets."""

    log: Log
    committed: dict[Position, int] = field(default_factory=dict)

    def must_be_durable(self, position: Position, until: int, store: Store) -> None:
        """Every message that a commit at `until` lets go is in the store, as far as it says anything."""
        sealed = store.sealed_until_ns()
        for message in self.log.messages[position][self.committed.get(position, 0) : until]:
            at = (message.topic, message.partition, message.offset)
            if ("dead_letters", at) in store.data or ("late_frames", at) in store.data:
                continue
            assert at not in self.log.refused, f"{at} is committed and no dead letter"
            if message.topic == LOADS:
                assert any(table == "loads" for table, _ in store.data), f"{at} is committed and no row"
            else:
                end_ns = self.log.frames[at].end_ns
                assert sealed.get(message.key.decode(), 0) >= end_ns, (
                    f"{at} is committed, its window is not sealed"
                )

    def positions(self, partitions: frozenset[int]) -> dict[Position, int]:
        """Where a member that is given `partitions` begins to read."""
        return {
            (topic, partition): self.committed.get((topic, partition), 0)
            for topic in TOPICS
            for partition in partitions
        }


@dataclass(slots=True)
class Insert:
    """A flush on its way into the store."""

    work: Work
    rows: Rows
    data_done: bool = False
    manifest_done: bool = False


@dataclass(slots=True)
class Worker:
    """A member of the group; `partitions` is empty while it has none."""

    broker: Broker
    store: Store
    partitions: frozenset[int] = frozenset()
    pipeline: Pipeline | None = None
    at: dict[Position, int] = field(default_factory=dict)
    inserting: Insert | None = None
    due: dict[Position, int] = field(default_factory=dict)
    most_windows: int = 500

    def assign(self, partitions: frozenset[int]) -> None:
        """Partitions were given: nothing of before counts, the manifest says where to begin."""
        self.partitions = partitions
        self.at = self.broker.positions(partitions)
        self.pipeline = Pipeline(RULES, side_inputs(), self.frontier(self.at))
        self.due = {}
        self.inserting = None

    def frontier(self, positions: Mapping[Position, int]) -> Frontier:
        """What the manifest says."""
        return self.store.frontier(self.partitions, positions)

    def revoke(self) -> Insert | None:
        """Partitions are taken: returns the insert that was under way; it is finished or given up by then."""
        self.partitions, self.pipeline, self.due = frozenset(), None, {}
        insert, self.inserting = self.inserting, None
        return insert

    def deliver(self, position: Position, count: int) -> int:
        """Hand over up to `count` messages of one log; returns how many there were."""
        if self.pipeline is None or position not in self.at:
            return 0
        begin = self.at[position]
        messages = self.broker.log.messages[position][begin : begin + count]
        for message in messages:
            assert not self.pipeline.missing_before(message)
            self.pipeline.receive(message)
        self.at[position] = begin + len(messages)
        return len(messages)

    def deliver_again(self) -> None:
        """The consumer seeks to the committed offsets: what was handed over since comes a second time."""
        self.at = self.broker.positions(self.partitions)

    def look_for_silence(self) -> None:
        """Tell the pipeline which logs are read to their end."""
        if self.pipeline is None:
            return
        for partition, arrival_ns in self.pipeline.overdue().items():
            for topic in (ITERATIONS, ENERGY):
                end = len(self.broker.log.messages[topic, partition])
                if self.pipeline.position(topic, partition) >= end:
                    self.pipeline.log_read(topic, partition, arrival_ns)

    def take(self) -> bool:
        """Begin a flush; False where there is nothing to do or one is under way."""
        if self.pipeline is None or self.inserting is not None:
            return False
        self.look_for_silence()
        work = self.pipeline.take(self.most_windows)
        if not work:
            return False
        self.inserting = Insert(work, rows_of(work))
        return True

    def advance(self, *, answered: bool) -> None:
        """The next step of the flush under way: rows, manifest, settle."""
        insert = self.inserting
        if insert is None:
            return
        if not insert.data_done:
            self.insert_data(answered=answered)
        elif not insert.manifest_done:
            self.insert_manifest(answered=answered)
        else:
            self.settle()

    def insert_data(self, *, answered: bool) -> None:
        """The rows reach the store; without an answer the worker will write them again."""
        if self.inserting is not None and not self.inserting.data_done:
            self.store.insert_data(self.inserting.rows)
            self.inserting.data_done = answered

    def insert_manifest(self, *, answered: bool) -> None:
        """The manifest, after the rows; a retry begins with the rows."""
        insert = self.inserting
        if insert is None or not insert.data_done or insert.manifest_done:
            return
        self.store.insert_manifest(insert.rows)
        insert.manifest_done = answered
        insert.data_done = answered

    def settle(self) -> None:
        """All of it is durable: what it dealt with may be committed."""
        insert = self.inserting
        if self.pipeline is not None and insert is not None and insert.manifest_done:
            self.due |= self.pipeline.settle(insert.work)
            self.inserting = None

    def commit(self) -> None:
        """Commit what is due, all of which must be durable."""
        for position, offset in self.due.items():
            self.broker.must_be_durable(position, offset, self.store)
        self.broker.committed |= self.due
        self.due = {}

    def finish(self) -> bool:
        """Read, flush and commit until nothing moves; whether anything did."""
        moved = sum(self.deliver(position, 10**6) for position in self.at) > 0
        while self.inserting is not None or self.take():
            self.advance(answered=True)
            moved = True
        self.commit()
        return moved


def landed(store: Store, insert: Insert, *, manifest: bool) -> None:
    """An insert of a worker that was written off reaches the store after all."""
    store.insert_data(insert.rows)
    if manifest:
        store.insert_manifest(replace(insert.rows))
