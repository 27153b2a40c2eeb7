"""A worker without Kafka or a clock: messages in a list, the real pipeline, a ledger in the real SQL engine."""

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from schemas.energy import EnergyFrame
from schemas.frames import encode_energy, encode_iterations
from schemas.iterations import IterationFrame
from schemas.side_input_codec import encode_load
from schemas.side_inputs import EngineDescriptor, Load
from schemas.topics import ENERGY, ITERATIONS, LOADS
from streams.batch import ACCOUNTS, Batch
from streams.booking import book
from streams.ledger.causes import Cause, open_causes
from streams.ledger.frontier import read_frontier
from streams.ledger.incident_rows import dead_letter_table, late_frame_table, load_table
from streams.ledger.model_rows import model_table
from streams.ledger.query import rows_of
from streams.ledger.repairs import Position
from streams.ledger.rows import batch_table, ledger_table, meter_table
from streams.ledger.sink import ClickHouseSink, Sink
from streams.ledger.tables import declared
from streams.pipeline import Frontier, Message, Pipeline
from streams.side_inputs import SideInputs
from streams.split import SplitRules
from streams.windows import WindowRules
from streams.worker.repairing import Repaired, Repairs, repair

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

__all__ = ["Booked", "Frame", "state"]

Frame = IterationFrame | EnergyFrame | Load


@dataclass
class Booked:
    """One partition's log, and the worker that books it; arrival is the order of `send`."""

    client: "Client"
    """A migrated database; what it holds is dropped."""
    engines: Sequence[EngineDescriptor]
    rules: WindowRules = field(default_factory=WindowRules)
    split: SplitRules = field(default_factory=SplitRules)
    log: list[Message] = field(default_factory=list)
    retained_from: int = 0
    """Offsets below are gone from every topic."""
    side: SideInputs = field(default_factory=SideInputs)

    def __post_init__(self) -> None:
        for table in declared():
            self.client.command(f"TRUNCATE TABLE {table}")
        for engine in self.engines:
            self.side.add_engine(engine)
        self.sink: Sink = ClickHouseSink(self.client)
        self.pipeline = Pipeline(self.rules, self.side, Frontier())
        self._offsets: dict[str, Iterator[int]] = {}

    def send(self, frames: Iterable[Frame], *, arrives_ns: int = 0) -> None:
        """Append frames to the log, book what is due after each, and make it durable."""
        for frame in frames:
            self.receive(self._message(frame, arrives_ns or frame.end_ns))

    def receive(self, message: Message) -> None:
        self.pipeline.receive(message)
        for topic in (ITERATIONS, ENERGY):  # one log: whatever arrived before was received
            self.pipeline.log_read(topic, 0, message.arrival_ns)
        self.flush()

    def restart(self, committed: int = 0) -> None:
        """Forget everything in memory and read the log again from `committed`."""
        frontier = read_frontier(self.client, [0], {0: (committed, committed)})
        self.pipeline = Pipeline(self.rules, self.side, frontier)
        for message in self.log:
            if message.offset >= committed:
                self.receive(message)

    def flush(self) -> list[Batch]:
        booked: list[Batch] = []
        while work := self.pipeline.take():
            batches = [book(closed, self.side, self.split) for closed in work.windows]
            tables = {
                "ledger": ledger_table(batches),
                "raw_meter": meter_table(batches),
                "energy_models": model_table(batches, self.side),
                "loads": load_table(work.loads, self.side),
                "late_frames": late_frame_table(work.late_frames),
                "dead_letters": dead_letter_table(work.dead_letters),
            }
            self.sink.write(tables, batch_table(batches))
            self.pipeline.settle(work)
            booked += batches
        return booked

    def causes(self) -> list[Cause]:
        return open_causes(self.client, from_ns=0, window_ns=self.rules.window_ns, patience_s=0)

    def repair(self, causes: Sequence[Cause] | None = None) -> list[Repaired]:
        """One run of the job; the causes that are open, unless some are given."""
        needs = Repairs(self.client, self.sink, self._read, self.side, self.rules, self.split)
        return list(repair(needs, self.causes() if causes is None else causes))

    def repair_all(self) -> int:
        """Runs of the job until nothing is open."""
        for runs in itertools.count():
            if not self.causes():
                return runs
            assert runs < 5, self.causes()
            self.repair()
        raise AssertionError

    def _message(self, frame: Frame, arrival_ns: int) -> Message:
        topic, value = {
            IterationFrame: lambda f: (ITERATIONS, encode_iterations(f)),
            EnergyFrame: lambda f: (ENERGY, encode_energy(f)),
            Load: lambda f: (LOADS, encode_load(f)),
        }[type(frame)](frame)
        offset = next(self._offsets.setdefault(topic, itertools.count()))
        message = Message(topic, 0, offset, arrival_ns, frame.group_id.encode(), value)
        self.log.append(message)
        return message

    def _read(self, positions: Iterable[Position], key: bytes) -> list[Message] | None:
        wanted = {
            (topic, partition, at)
            for topic, partition, first, last in positions
            for at in range(first, last + 1)
        }
        if any(at < self.retained_from for _, _, at in wanted):
            return None
        return [m for m in self.log if (m.topic, m.partition, m.offset) in wanted and m.key == key]


def state(client: "Client") -> set[tuple[object, ...]]:
    """What the ledger says now: every row that a reader can add up, without revisions and times of storing."""
    accounts = ", ".join(f"{account}_uj" for account in ACCOUNTS)
    batches = f"""
        SELECT group_id, toString(batch_id), start_ns, end_ns, metered_uj, host_uj, {accounts}, gap_ns, gap_causes,
            busy_ns, unmetered_ns, closed_by
        FROM current_batches
    """
    ledger = """
        SELECT toString(batch_id), account, engine_id, incarnation, ordinal, tenant, load_id, energy_uj, host_uj,
            half_width_uj, prefill_tokens, decode_tokens, emitted_tokens, iterations, held_ns
        FROM current_ledger
    """
    meters = """
        SELECT toString(metered.batch_id), meter_id, epoch, from_ns, to_ns, from_uj, to_uj
        FROM metered
        INNER JOIN current_batches AS sealed ON metered.event_time = sealed.event_time
            AND metered.batch_id = sealed.batch_id AND metered.revision = sealed.revision
            AND metered.inputs = sealed.inputs
    """
    return {
        (kind, *(tuple(value) if isinstance(value, list) else value for value in row))
        for kind, query in (("batch", batches), ("ledger", ledger), ("meter", meters))
        for row in rows_of(client, query, {})
    }
