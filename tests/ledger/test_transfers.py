"""Cold starts: shares of N requests sum to the load's energy, in any order, any number of times."""

import hashlib
from typing import TYPE_CHECKING

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from streams.ledger.books import read_books
from streams.ledger.sink import ClickHouseSink
from streams.ledger.transfers import cold_start_balance, write_transfers
from tests.ledger_rows import ORIGIN_NS, Request, Window, load, write

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

LOAD = "node/engine#1"


def shares(database: "Client") -> dict[int, int]:
    """Microjoules by ordinal since the load, from the receiving side."""
    query = "SELECT load_ordinal, energy_uj FROM current_transfers WHERE side = 'to' ORDER BY load_ordinal"
    return dict(database.query(query).result_rows)


def admitted(count: int, *, first: int = 1) -> tuple[Request, ...]:
    return tuple(Request(100 + k, 7, load_id=LOAD, load_ordinal=k) for k in range(first, first + count))


def reset(database: "Client") -> None:
    for table in ("ledger", "batches", "raw_meter", "loads", "transfers"):
        database.command(f"TRUNCATE TABLE {table}")


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(energy_uj=st.integers(0, 2**62), requests=st.integers(1, 60))
def test_the_shares_of_all_n_requests_sum_to_the_loads_energy(
    database: "Client", energy_uj: int, requests: int
) -> None:
    reset(database)
    sink = ClickHouseSink(database)
    write(
        sink,
        Window(cold_starts_uj={LOAD: energy_uj}),
        Window(number=1, requests=admitted(requests)),
        loads=[load(LOAD, amortised_over=requests)],
    )
    assert write_transfers(database) == 2 * requests
    paid = shares(database)
    assert sum(paid.values()) == energy_uj
    assert paid == {
        k: k * energy_uj // requests - (k - 1) * energy_uj // requests for k in range(1, requests + 1)
    }
    assert read_books(database).open_transfers == 0
    (balance,) = cold_start_balance(database)
    assert (balance.unclaimed_uj, balance.reason) == (0, "")


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(load_arrives=st.integers(0, 4), runs=st.sets(st.integers(0, 5)))
def test_the_rows_depend_neither_on_when_the_load_arrived_nor_on_when_the_job_ran(
    database: "Client", load_arrives: int, runs: set[int]
) -> None:
    reset(database)
    sink = ClickHouseSink(database)
    windows = [
        Window(cold_starts_uj={LOAD: 900}),
        Window(number=1, cold_starts_uj={LOAD: 100}, requests=admitted(1, first=4)),
        Window(number=2, requests=admitted(2)),
        Window(number=3, requests=(*admitted(1, first=3), Request(500, 9))),
    ]
    flushes = [([window], []) for window in windows]
    flushes.insert(load_arrives, ([], [load(LOAD, amortised_over=7, windows=2)]))
    for index, (sealed, loads) in enumerate(flushes):
        write(sink, *sealed, loads=loads)
        if index in runs:
            write_transfers(database)
    write_transfers(database)
    assert write_transfers(database) == 0
    assert shares(database) == {1: 142, 2: 143, 3: 143, 4: 143}
    database.command("OPTIMIZE TABLE transfers FINAL")
    assert shares(database) == {1: 142, 2: 143, 3: 143, 4: 143}


def test_nothing_moves_before_the_loads_group_is_sealed_past_its_end(database: "Client") -> None:
    sink = ClickHouseSink(database)
    write(
        sink,
        Window(cold_starts_uj={LOAD: 1000}, requests=admitted(1)),
        Window(number=9, group_id="another/group", idle_uj=1),
        loads=[load(LOAD, amortised_over=2, windows=2)],
    )
    assert write_transfers(database) == 0
    (balance,) = cold_start_balance(database)
    assert (balance.unclaimed_uj, balance.reason) == (1000, "window_not_sealed")
    write(sink, Window(number=1, cold_starts_uj={LOAD: 500}))
    assert write_transfers(database) == 2
    assert shares(database) == {1: 750}


def test_what_no_request_claimed_stays_in_cold_start_with_the_reason(database: "Client") -> None:
    write(
        ClickHouseSink(database),
        Window(cold_starts_uj={LOAD: 1000}),
        Window(number=1, requests=(*admitted(3), *admitted(1, first=11))),
        loads=[load(LOAD, amortised_over=10)],
    )
    assert write_transfers(database) == 6, "the eleventh request pays nothing"
    (balance,) = cold_start_balance(database)
    assert (balance.claimed_uj, balance.unclaimed_uj, balance.requests) == (300, 700, 3)
    assert balance.reason == "fewer_requests_than_N"


def test_what_is_unloaded_ends_its_own_loads_and_no_others(database: "Client") -> None:
    base, adapter, later = (
        load(name, amortised_over=10) | {"what": what, "kind": kind}
        for name, what, kind in (
            (LOAD, "tiny", "model_load"),
            ("a", "poet", "adapter_load"),
            ("b", "clerk", "adapter_load"),
        )
    )
    gone = load("u", amortised_over=0) | {"what": "poet", "kind": "unload"}
    gone |= {"start_ns": gone["start_ns"] + 1}
    drawn = Window(cold_starts_uj={LOAD: 1000, "a": 100, "b": 100})
    write(ClickHouseSink(database), drawn, Window(number=1), loads=[base, adapter, later, gone])
    reasons = {one.load_id: one.reason for one in cold_start_balance(database)}
    assert reasons == {LOAD: "fewer_requests_than_N", "a": "unload", "b": "fewer_requests_than_N"}
    asleep = gone | {"load_id": "v", "what": "tiny"}
    write(ClickHouseSink(database), loads=[asleep])
    assert {one.load_id: one.reason for one in cold_start_balance(database)} == reasons | {LOAD: "unload"}


def test_two_requests_that_carry_one_ordinal_are_reported(database: "Client") -> None:
    write(
        ClickHouseSink(database),
        Window(cold_starts_uj={LOAD: 1000}),
        Window(
            number=1,
            requests=(
                Request(1, 1, load_id=LOAD, load_ordinal=1),
                Request(2, 1, load_id=LOAD, load_ordinal=1),
            ),
        ),
        loads=[load(LOAD, amortised_over=1)],
    )
    write_transfers(database)
    (balance,) = cold_start_balance(database)
    assert (balance.unclaimed_uj, balance.reason) == (-1000, "ordinal_claimed_twice")


def test_a_restated_load_replaces_all_its_pairs(database: "Client") -> None:
    sink = ClickHouseSink(database)
    write(
        sink,
        Window(cold_starts_uj={LOAD: 1000}),
        Window(number=1, requests=admitted(2)),
        loads=[load(LOAD, amortised_over=2)],
    )
    write_transfers(database)
    write(sink, Window(cold_starts_uj={LOAD: 400}, idle_uj=600, revision=1))
    assert write_transfers(database) == 4
    assert shares(database) == {1: 200, 2: 200}
    write(sink, Window(idle_uj=1000, revision=2))
    assert write_transfers(database) == 4
    assert shares(database) == {1: 0, 2: 0}
    books = read_books(database)
    assert books.closes
    assert books.transferred_uj == 0


def test_an_insert_that_was_cut_between_the_two_sides_is_completed(database: "Client") -> None:
    write(
        ClickHouseSink(database),
        Window(cold_starts_uj={LOAD: 1000}),
        Window(number=1, requests=admitted(2)),
        loads=[load(LOAD, amortised_over=2)],
    )
    write_transfers(database)
    database.command(
        "ALTER TABLE transfers DELETE WHERE side = 'to' AND load_ordinal = 1 SETTINGS mutations_sync = 1"
    )
    assert read_books(database).open_transfers == 1
    assert write_transfers(database) == 1
    assert read_books(database).open_transfers == 0


def test_a_pair_names_its_request_and_its_id_can_be_recomputed(database: "Client") -> None:
    write(
        ClickHouseSink(database),
        Window(cold_starts_uj={LOAD: 1000}),
        Window(number=2, requests=(Request(41, 1, tenant="late", load_id=LOAD, load_ordinal=1),)),
        Window(number=1, requests=(Request(41, 1, tenant="acme", load_id=LOAD, load_ordinal=1),)),
        loads=[load(LOAD, amortised_over=1)],
    )
    write_transfers(database, since_ns=ORIGIN_NS)
    rows = database.query(
        "SELECT transfer_id, toString(side), account, tenant, energy_uj, toUnixTimestamp64Nano(event_time) "
        "FROM current_transfers ORDER BY side"
    ).result_rows
    identity = "\x1f".join(["cold_start", LOAD, "cluster/node/engine", "1-a", "41"])
    transfer_id = hashlib.md5(identity.encode()).hexdigest().encode()
    first_served = Window(number=1).start_ns
    assert rows == [
        (transfer_id, "from", "cold_start", "acme", -1000, first_served),
        (transfer_id, "to", "request", "acme", 1000, first_served),
    ]
