"""Repairs that meet each other, or a worker taken for dead: what stands in the end is made of every frame."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pyarrow as pa

from schemas.iterations import IterationFrame
from streams.ledger.books import read_books
from streams.ledger.query import rows_of
from streams.ledger.sink import Sink
from streams.worker.repairing import OVERTAKEN
from tests.builders import decode_frame, descriptor, energy_frame
from tests.rig.booked import Booked, state

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

Insert = tuple[Mapping[str, pa.Table], pa.Table]

UNTIL_S = 12
LATE = (7, 9)
"""Frames of the iteration stream that come after their windows are sealed."""


def ran(number: int) -> IterationFrame:
    return decode_frame(number / 2, number / 2 + 0.5, sequence=number, context=100 + number)


@dataclass
class Held:
    """A sink whose rows reach the database when they are let go."""

    inserts: list[Insert] = field(default_factory=list)

    def write(self, tables: Mapping[str, pa.Table], manifest: pa.Table) -> None:
        self.inserts.append((tables, manifest))


@dataclass
class Crossed:
    """A sink that lets another's insert in just after its own first: between a repair's write and its look."""

    sink: Sink
    other: Insert | None

    def write(self, tables: Mapping[str, pa.Table], manifest: pa.Table) -> None:
        self.sink.write(tables, manifest)
        if self.other is not None:
            self.sink.write(*self.other)
            self.other = None


def booked(database: "Client", late: tuple[int, ...]) -> Booked:
    worker = Booked(database, [descriptor()])
    for number in range(2 * UNTIL_S):
        worker.send([energy_frame(number / 2, number / 2 + 0.5, sequence=number)])
        if number not in late:
            worker.send([ran(number)])
    return worker


def held_up(worker: Booked) -> Insert:
    """A repair by a process that is killed while its insert is on its way."""
    sink, held = worker.sink, Held()
    worker.sink = held
    worker.repair()
    worker.sink = sink
    (insert,) = held.inserts
    return insert


def test_of_two_repairs_at_one_revision_the_one_that_knew_more_stands_whichever_comes_last(
    database: "Client",
) -> None:
    booked(database, ())
    undisturbed = state(database)
    for poorer_is_last in (True, False):
        worker = booked(database, LATE)
        worker.send([ran(LATE[0])])
        poorer = held_up(worker)
        worker.send([ran(LATE[1])])
        if not poorer_is_last:
            worker.sink.write(*poorer)
        worker.repair_all()
        if poorer_is_last:
            worker.sink.write(*poorer)
        assert state(database) == undisturbed
        worker.repair_all()  # two attempts at one revision are looked at once more
        assert state(database) == undisturbed
        assert read_books(database).closes


def test_a_cause_is_done_only_when_what_was_computed_for_it_is_what_readers_see(database: "Client") -> None:
    booked(database, ())
    undisturbed = state(database)
    worker = booked(database, LATE)
    for number in LATE:
        worker.send([ran(number)])
    richer = held_up(worker)
    database.command("ALTER TABLE late_frames DELETE WHERE sequence = 9 SETTINGS mutations_sync = 1")
    worker.sink = Crossed(worker.sink, richer)
    (done,) = worker.repair()
    assert done.outcome == OVERTAKEN
    assert rows_of(database, "SELECT count() FROM repairs", {}) == [(0,)]
    worker.send([ran(LATE[1])])
    worker.repair_all()
    assert state(database) == undisturbed
