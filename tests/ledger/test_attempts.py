"""Two attempts at one revision: which of them counts is told by what they are made of, never by who came first."""

from typing import TYPE_CHECKING

import pytest

from streams.ledger.books import read_books
from streams.ledger.causes import open_causes, repair_table
from streams.ledger.sink import ClickHouseSink
from streams.ledger.tables import arrow_schema
from streams.ledger.transfers import cold_start_balance, write_transfers
from tests.ledger_rows import WINDOW_NS, Request, Window, load, write

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

POORER = Window(requests=(Request(1, 600),), idle_uj=400, inputs="a" * 16, frames=10)
RICHER = Window(requests=(Request(1, 500), Request(2, 400)), idle_uj=100, inputs="b" * 16, frames=11)


def accounts(database: "Client", view: str = "current_ledger") -> dict[str, int]:
    query = f"SELECT account, toInt64(sum(energy_uj)) FROM {view} GROUP BY account"
    return dict(database.query(query).result_rows)


def begin_anew(database: "Client") -> ClickHouseSink:
    for table in ("batches", "ledger", "raw_meter", "loads", "transfers"):
        database.command(f"TRUNCATE TABLE {table}")
    return ClickHouseSink(database)


def test_the_attempt_with_more_evidence_stands_whichever_came_first_before_and_after_merges(
    database: "Client",
) -> None:
    equal = Window(requests=(Request(1, 1000),), inputs="c" * 16, frames=11)
    for order in ((POORER, RICHER, equal), (equal, POORER, RICHER), (RICHER, equal, POORER)):
        sink = begin_anew(database)
        for attempt in (*order, order[0]):
            write(sink, attempt)
        for _ in ("as written", "merged"):
            # Of two with as many frames the digest decides, so that every reader sees the same one.
            assert accounts(database) == {"request": 1000}
            for table in ("batches", "ledger"):
                database.command(f"OPTIMIZE TABLE {table} FINAL")
        assert database.command("SELECT uniqExact(inputs) FROM batches") == 3, "history stays"
        assert read_books(database).closes


def test_a_batch_that_others_stand_for_is_not_brought_back_by_an_attempt_at_the_same_revision(
    database: "Client",
) -> None:
    gone = Window(revision=1, inputs="d" * 16, closed_by="superseded")
    late = Window(requests=(Request(1, 900),), idle_uj=100, revision=1, inputs="e" * 16, frames=12)
    for order in ((gone, late), (late, gone)):
        sink = begin_anew(database)
        write(sink, POORER)
        for attempt in order:
            write(sink, attempt)
        assert accounts(database) == {}


def test_what_was_stored_before_the_better_attempt_can_be_read_for_ever(database: "Client") -> None:
    sink = ClickHouseSink(database)
    write(sink, POORER)
    cut = database.command("SELECT toString(max(stored_at)) FROM batches")
    database.command("SELECT sleep(0.05)")
    write(sink, RICHER)
    database.command("OPTIMIZE TABLE batches FINAL")
    assert accounts(database, f"ledger_as_of(as_of = '{cut}')") == {"request": 600, "idle": 400}
    assert accounts(database) == {"request": 900, "idle": 100}


def test_what_a_load_drew_by_the_attempt_that_stands_is_what_its_requests_pay(database: "Client") -> None:
    sink = ClickHouseSink(database)
    paying = (Request(1, 100, load_id="l", load_ordinal=1), Request(2, 100, load_id="l", load_ordinal=2))
    after = Window(number=1, requests=paying)
    write(sink, Window(cold_starts_uj={"l": 1000}, inputs="a" * 16, frames=10), after)
    write(sink, loads=[load("l", amortised_over=2)])
    for drawn_uj in (1000, 700):
        if drawn_uj == 700:
            write(sink, Window(cold_starts_uj={"l": 700}, idle_uj=300, inputs="b" * 16, frames=11))
        write_transfers(database)
        (balance,) = cold_start_balance(database)
        assert (balance.energy_uj, balance.claimed_uj, balance.reason) == (drawn_uj, drawn_uj, "")
        assert read_books(database).closes


def test_two_batches_that_claim_the_same_time_ask_for_a_repair_and_neighbours_do_not(
    database: "Client",
) -> None:
    sink = ClickHouseSink(database)
    write(sink, Window(idle_uj=5), Window(number=1, idle_uj=5), Window(number=2, idle_uj=5))
    assert open_causes(database, from_ns=0, window_ns=WINDOW_NS) == []
    write(sink, Window(number=1, idle_uj=6, process="reborn"))
    (cause,) = open_causes(database, from_ns=0, window_ns=WINDOW_NS)
    assert cause.kind == "overlap"
    assert (cause.from_ns, cause.to_ns) == (Window(number=1).start_ns, Window(number=1).end_ns)


def test_a_revision_that_was_written_twice_of_different_frames_asks_for_a_repair_once(
    database: "Client",
) -> None:
    sink = ClickHouseSink(database)
    write(sink, POORER, RICHER, POORER, Window(number=1, idle_uj=5))
    for _ in range(2):
        (cause,) = open_causes(database, from_ns=0, window_ns=WINDOW_NS)
        assert (cause.kind, cause.from_ns, cause.to_ns) == ("attempts", POORER.start_ns, POORER.end_ns)
    sink.write({"repairs": repair_table([cause], "unchanged", 0)}, arrow_schema("batches").empty_table())
    assert open_causes(database, from_ns=0, window_ns=WINDOW_NS) == []


@pytest.mark.parametrize(
    ("kind", "crossed"),
    [("attempts", (POORER, RICHER)), ("overlap", (Window(idle_uj=5), Window(idle_uj=6, process="reborn")))],
)
def test_what_crossed_at_a_groups_end_waits_for_the_next_window_or_until_the_group_has_ended(
    database: "Client", kind: str, crossed: tuple[Window, Window]
) -> None:
    sink = ClickHouseSink(database)
    write(sink, *crossed)
    assert open_causes(database, from_ns=0, window_ns=WINDOW_NS) == []
    (at_the_end,) = open_causes(database, from_ns=0, window_ns=WINDOW_NS, patience_s=0)
    done = repair_table([at_the_end], "unchanged", 0)
    sink.write({"repairs": done}, arrow_schema("batches").empty_table())
    assert open_causes(database, from_ns=0, window_ns=WINDOW_NS, patience_s=0) == []
    write(sink, Window(number=1, idle_uj=5))
    (settled,) = open_causes(database, from_ns=0, window_ns=WINDOW_NS)
    assert settled.cause_id != at_the_end.cause_id
    assert {(one.kind, one.from_ns) for one in (at_the_end, settled)} == {(kind, POORER.start_ns)}
