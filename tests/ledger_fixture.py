"""A ledger filled in process: the simulated fleet through the worker's own core, without Kafka or a clock."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from producers.simulation.fleet import Fleet, FleetEvent, events, simulate_fleet
from producers.simulation.presets import demo_scenario
from schemas.energy import EnergyFrame
from schemas.frames import encode_energy, encode_iterations
from schemas.iterations import IterationFrame
from schemas.side_input_codec import encode_load
from schemas.side_inputs import EngineDescriptor, Load
from schemas.topics import ENERGY, ITERATIONS, LOADS
from streams.batch import Batch
from streams.booking import book
from streams.ledger.incident_rows import dead_letter_table, late_frame_table, load_table
from streams.ledger.model_rows import model_table
from streams.ledger.rows import batch_table, ledger_table, meter_table
from streams.ledger.sink import ClickHouseSink
from streams.ledger.transfers import write_transfers
from streams.pipeline import Frontier, Message, Pipeline, Work
from streams.side_inputs import SideInputs
from streams.split import SplitRules
from streams.windows import WindowRules

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

__all__ = ["ORIGIN_NS", "Filled", "fill_ledger"]

ORIGIN_NS: Final = 1_788_253_200_000_000_000
"""2026-09-01 09:00 UTC, a whole hour: a test's figures by hour do not depend on when it runs."""


@dataclass(frozen=True, slots=True)
class Filled:
    """What went into the ledger."""

    fleet: Fleet
    side: SideInputs
    batches: tuple[Batch, ...]
    start_ns: int
    end_ns: int


@dataclass(slots=True)
class _Broker:
    """Numbers messages as one partition of each topic would."""

    offsets: dict[str, Iterator[int]] = field(default_factory=dict)

    def message(self, topic: str, event: FleetEvent, value: bytes) -> Message:
        offset = next(self.offsets.setdefault(topic, itertools.count()))
        return Message(topic, 0, offset, event.at_ns, event.group_id.encode(), value)


def fill_ledger(
    client: "Client",
    *,
    duration_s: float = 120.0,
    seed: int = 1,
    origin_ns: int = ORIGIN_NS,
    rules: SplitRules | None = None,
) -> Filled:
    """Simulate the demo fleet and book it into `client`'s migrated, empty database, cold-start pairs included."""
    fleet = simulate_fleet(demo_scenario(duration_s=duration_s, seed=seed))
    side = SideInputs()
    pipeline = Pipeline(WindowRules(), side, Frontier())
    broker = _Broker()
    sink = ClickHouseSink(client)
    batches: list[Batch] = []
    for event in events(fleet, origin_ns):
        if isinstance(event.value, EngineDescriptor):
            side.add_engine(event.value)
        else:
            pipeline.receive(_encoded(broker, event))
    while work := pipeline.take():
        booked = [book(closed, side, rules or SplitRules()) for closed in work.windows]
        sink.write(_tables(work, booked, side), batch_table(booked))
        pipeline.settle(work)
        batches += booked
    write_transfers(client)
    return Filled(
        fleet=fleet,
        side=side,
        batches=tuple(batches),
        start_ns=min(batch.start_ns for batch in batches),
        end_ns=max(batch.end_ns for batch in batches),
    )


def _encoded(broker: _Broker, event: FleetEvent) -> Message:
    match event.value:
        case IterationFrame() as frame:
            return broker.message(ITERATIONS, event, encode_iterations(frame))
        case EnergyFrame() as frame:
            return broker.message(ENERGY, event, encode_energy(frame))
        case Load() as load:
            return broker.message(LOADS, event, encode_load(load))
        case other:
            raise TypeError(f"{type(other).__name__} is no message of the three topics")


def _tables(work: Work, booked: list[Batch], side: SideInputs) -> "dict[str, object]":
    return {
        "ledger": ledger_table(booked),
        "raw_meter": meter_table(booked),
        "energy_models": model_table(booked, side),
        "loads": load_table(work.loads, side),
        "late_frames": late_frame_table(work.late_frames),
        "dead_letters": dead_letter_table(work.dead_letters),
    }
