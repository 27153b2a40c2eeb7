"""Loads of every kind: who pays, what stays, and that neither crashes nor late frames change anybody's sum."""

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from schemas.energy import ActiveLoad, EnergyFrame
from schemas.iterations import IterationFrame
from schemas.side_inputs import Load, Policy
from streams.ledger.books import read_books
from streams.ledger.query import rows_of
from streams.ledger.transfers import cold_start_balance, write_transfers
from tests.builders import ENGINE, GROUP, SECOND, T0, decode_frame, descriptor, energy_frame
from tests.rig.booked import Booked

if TYPE_CHECKING:
    from collections.abc import Sequence

    from clickhouse_connect.driver.client import Client

Frames = list[IterationFrame | EnergyFrame | Load]
OTHER = "lab/node-1/other"


def load(load_id: str, from_s: float, to_s: float, *, kind: str = "model_load", engine: str = ENGINE) -> Load:
    start_ns, end_ns = (T0 + round(s * SECOND) for s in (from_s, to_s))
    what = "adapter-a" if kind == "adapter_load" else "small-8b"
    return Load(load_id, kind, GROUP, engine, "1-cafe", start_ns, end_ns, what)


def metered(until_s: float, loads: "Sequence[Load]" = (), engines: "Sequence[str]" = (ENGINE,)) -> Frames:
    frames: Frames = []
    for number, start in enumerate(np.arange(0, until_s, 0.5)):
        frame = energy_frame(start, start + 0.5, sequence=number, engines=engines)
        active = [
            ActiveLoad(
                one.load_id, one.engine_id, one.start_ns, one.end_ns if one.end_ns <= frame.end_ns else 0
            )
            for one in loads
            if one.start_ns < frame.end_ns and one.end_ns > frame.start_ns
        ]
        frames.append(replace(frame, loads=tuple(active)))
    return frames


def served(from_s: float, until_s: float, load_id: str = "", **options: object) -> Frames:
    return [
        decode_frame(s, s + 0.5, sequence=n, load_id=load_id, **options)
        for n, s in enumerate(np.arange(from_s, until_s, 0.5))
    ]


def idle(from_s: float, until_s: float, **options: object) -> Frames:
    return served(from_s, until_s, iterations=0, **options)


def booked(client: "Client", frames: Frames, *, share_by: int = 2) -> Booked:
    worker = Booked(client, [descriptor(), descriptor(OTHER)])
    worker.side.add_policy(Policy("cold_start", 1, {"amortise_over": share_by}))
    worker.send(sorted(frames, key=lambda frame: frame.end_ns))
    write_transfers(client)
    return worker


def paid(client: "Client") -> dict[tuple[str, int], int]:
    query = "SELECT load_id, load_ordinal, energy_uj FROM current_transfers WHERE side = 'to'"
    return {(load_id, k): uj for load_id, k, uj in rows_of(client, query, {})}


def test_the_first_n_requests_pay_the_load_and_nothing_stays(database: "Client") -> None:
    one = load("l", 0, 4)
    booked(database, [one, *metered(16, [one]), *idle(0, 4), *served(4, 16, "l")])
    assert paid(database) == {("l", 1): 4 * 250_000_000, ("l", 2): 4 * 250_000_000}
    (balance,) = cold_start_balance(database)
    assert (balance.energy_uj, balance.unclaimed_uj, balance.reason) == (2_000_000_000, 0, "")


def test_loads_at_the_same_time_share_their_time_evenly_and_each_has_its_own_payers(
    database: "Client",
) -> None:
    """Two engines on one GPU: a load of four seconds, and from its second on another."""
    first, second = load("a", 0, 4), load("b", 2, 4, engine=OTHER)
    booked(
        database,
        [first, second, *metered(16, [first, second], (ENGINE, OTHER)), *idle(0, 4), *idle(0, 4, engine_id=OTHER),
         *served(4, 16, "a"), *served(4, 16, "b", engine_id=OTHER)],
    )  # fmt: skip
    energy = {one.load_id: one.energy_uj for one in cold_start_balance(database)}
    assert energy == {"a": 1_500_000_000, "b": 500_000_000}
    assert paid(database) == {
        ("a", 1): 750_000_000,
        ("a", 2): 750_000_000,
        ("b", 1): 250_000_000,
        ("b", 2): 250_000_000,
    }
    assert read_books(database).closes


def test_an_adapters_load_charges_its_users_and_leaves_running_iterations_theirs(database: "Client") -> None:
    """It loads while two requests run without it; its energy is what lies between their iterations."""
    one = load("adapter", 1, 3, kind="adapter_load")
    base = served(0, 2) + idle(2, 4)
    users = [
        replace(
            frame,
            adapters=("adapter-a",),
            request_adapter=np.zeros(2, np.int32),
            request_load_ordinal=np.asarray([1, 2]),
        )
        for frame in served(4, 16, "adapter", first_ordinal=10)
    ]
    numbered = [replace(frame, sequence=n) for n, frame in enumerate([*base, *users])]
    booked(database, [one, *metered(16, [one]), *numbered])
    (balance,) = cold_start_balance(database)
    assert balance.energy_uj == 500_000_000
    assert paid(database) == {("adapter", 1): 250_000_000, ("adapter", 2): 250_000_000}
    query = "SELECT DISTINCT ordinal FROM current_transfers WHERE side = 'to' ORDER BY ordinal"
    assert [ordinal for (ordinal,) in rows_of(database, query, {})] == [10, 11]


def test_a_wake_up_is_a_load_of_its_own_and_ends_the_claims_of_the_one_before(database: "Client") -> None:
    one, again = load("l", 0, 2), load("w", 6, 7, kind="wake_up")
    booked(
        database,
        [one, again, *metered(21, [one, again]),
         *(replace(frame, sequence=n) for n, frame in enumerate(
             [*idle(0, 2), *served(2, 6, "l"), *idle(6, 7), *served(7, 21, "w", first_ordinal=0)]))],
        share_by=5,
    )  # fmt: skip
    reasons = {one.load_id: (one.energy_uj, one.requests, one.reason) for one in cold_start_balance(database)}
    assert reasons == {"l": (1_000_000_000, 2, "next_load"), "w": (500_000_000, 2, "fewer_requests_than_N")}
    assert paid(database)["l", 1] == 200_000_000


def test_a_late_frame_that_changes_the_loads_energy_restates_every_share(database: "Client") -> None:
    """The meter's frames around the load's end come late: until then its energy is interpolated."""
    one = load("l", 0, 4)
    frames = [one, *metered(21, [one]), *idle(0, 4), *served(4, 21, "l")]
    rising = [
        replace(f, reading_uj=f.reading_uj + (f.reading_time_ns - T0 > 3 * SECOND) * 10**8)
        if isinstance(f, EnergyFrame) else f
        for f in frames
    ]  # fmt: skip
    booked(database, rising)
    expected = paid(database)
    late = [f for f in rising if isinstance(f, EnergyFrame) and 6 <= f.sequence < 10]
    worker = booked(database, [f for f in rising if f not in late])
    assert paid(database) != expected
    worker.send(late)
    worker.repair_all()
    write_transfers(database)
    assert paid(database) == expected
    assert sum(expected.values()) == cold_start_balance(database)[0].energy_uj
    assert read_books(database).closes
