"""The pipeline's own energy: every CPU second once, in a line of its own, in no account."""

import itertools
from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from streams.ledger.books import read_books
from streams.ledger.own_footprint import OwnCpu, read_own_energy
from streams.ledger.sink import ClickHouseSink
from streams.ledger.tables import arrow_schema
from tests.ledger_rows import ORIGIN_NS, Request, Window, write
from wattledger.commands.books import print_own_energy

if TYPE_CHECKING:
    import pytest
    from clickhouse_connect.driver.client import Client

EVER = {"from_ns": 0, "to_ns": 2**62, "as_of_ns": 2**62}


class Machine:
    """A clock and a process's CPU time, as a test sets them."""

    now_ns = ORIGIN_NS
    cpu_s = 0.25

    def own(self) -> OwnCpu:
        return OwnCpu("worker", "host/1/2", 3.5, lambda: self.now_ns, lambda: self.cpu_s)

    def work(self, cpu_s: float) -> None:
        self.now_ns += 300 * 10**9
        self.cpu_s += cpu_s


@given(st.lists(st.tuples(st.floats(0.0, 1000.0), st.booleans()), max_size=20))
def test_every_cpu_second_is_in_one_interval_however_often_the_database_fails(steps) -> None:
    machine = Machine()
    own, stored, told = machine.own(), {}, 0.0
    for spent_s, answers in [*steps, (0.0, True)]:
        machine.work(spent_s)
        for row in own.cut().to_pylist():
            assert stored.setdefault(row["from_ns"], row) == row
        if answers:
            told += own.stored()
        assert own.behind != answers
    assert abs(sum(row["cpu_seconds"] for row in stored.values()) - machine.cpu_s) < 1e-6
    assert abs(told - 3.5 * machine.cpu_s) < 1e-3
    edges = sorted((row["from_ns"], row["to_ns"]) for row in stored.values())
    assert all(before[1] == after[0] for before, after in itertools.pairwise(edges))


def test_it_stands_beside_the_books_and_in_none_of_their_sums(
    database: "Client", capsys: "pytest.CaptureFixture[str]"
) -> None:
    sink = ClickHouseSink(database)
    write(sink, Window(requests=(Request(1, 700),), idle_uj=1))
    before = read_books(database)
    machine = Machine()
    own = machine.own()
    for _ in range(2):
        machine.work(10.0)
        rows = own.cut()
        for _ in range(2):  # an insert whose answer was lost is made again
            sink.write({"own_footprint": rows}, arrow_schema("batches").empty_table())
        own.stored()
    assert read_books(database) == before
    (line,) = read_own_energy(database, **EVER)
    assert (line.role, line.cpu_s, line.energy_uj) == ("worker", 20.25, 70_875_000)
    assert not read_own_energy(database, **(EVER | {"as_of_ns": ORIGIN_NS}))
    ((hour, role, cpu_s, energy_uj),) = database.query(
        "SELECT toUnixTimestamp(hour), role, cpu_seconds, energy_uj FROM own_energy"
    ).result_rows
    assert (hour, role, cpu_s, energy_uj) == (ORIGIN_NS // 10**9 // 3600 * 3600, "worker", 20.25, 70_875_000)
    print_own_energy([line])
    assert capsys.readouterr().out == (
        "wattledger's own workers: 70.875000 J in 20.2 CPU seconds, estimated, in no account above\n"
    )
