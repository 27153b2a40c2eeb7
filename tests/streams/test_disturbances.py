"""Meters, clocks and processes that misbehave: no joule that a counter counted is lost or booked twice."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from schemas.energy import EnergyFrame, Meter
from schemas.iterations import IterationFrame
from schemas.topics import ENERGY, ITERATIONS
from streams.ledger.books import read_books
from streams.ledger.query import rows_of
from streams.windows import WindowRules
from tests.builders import ENGINE, GROUP, SECOND, T0, decode_frame, descriptor, energy_frame
from tests.rig.booked import Booked, state

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

Frames = list[IterationFrame | EnergyFrame]


def metered(
    start_s: float,
    number: int,
    gpus: Sequence[tuple[str, str]] = (("GPU-0", "boot-1"),),
    *,
    agent: str = "agent-1",
    counted_from_s: float = 0.0,
    group_id: str = GROUP,
    engines: Sequence[str] = (ENGINE,),
) -> EnergyFrame:
    """Half a second of counters that rise ever faster since `counted_from_s`, read every 0.1 s."""
    frame = energy_frame(start_s, start_s + 0.5, sequence=number, group_id=group_id, engines=engines)
    seconds = (frame.reading_time_ns - T0) / SECOND - counted_from_s
    uj = np.rint((400 * seconds + 2 * seconds**2) * 1e6).astype(np.int64)
    count = len(gpus)
    return replace(
        frame,
        incarnation=agent,
        meters=tuple(Meter(name, "gpu", epoch, "gpu", "counter") for name, epoch in gpus),
        reading_meter=np.repeat(np.arange(count, dtype=np.int32), len(uj)),
        reading_time_ns=np.tile(frame.reading_time_ns, count),
        reading_uj=np.tile(uj, count),
    )


def served(start_s: float, number: int, **options: object) -> IterationFrame:
    return decode_frame(start_s, start_s + 0.5, sequence=number, **options)


def halves(from_s: float, to_s: float) -> list[tuple[float, int]]:
    return [(float(start), round(start * 2)) for start in np.arange(from_s, to_s, 0.5)]


def in_order(frames: Frames) -> Frames:
    return sorted(frames, key=lambda frame: frame.end_ns)


def rise_uj(from_s: float, to_s: float) -> int:
    """What one of `metered`'s counters rises by."""
    return round((400 * (to_s - from_s) + 2 * (to_s**2 - from_s**2)) * 1e6)


def total(client: "Client") -> int:
    books = read_books(client)
    assert books.closes
    assert books.total.booked_uj == books.total.metered_uj
    return books.total.metered_uj


def windows(client: "Client", columns: str) -> list[tuple[object, ...]]:
    asked = f"SELECT {columns} FROM current_batches ORDER BY start_ns"
    return [tuple(row) for row in rows_of(client, asked, {})]


def test_a_meter_silent_for_minutes_is_waited_for_and_then_booked_when_its_counter_returns(
    database: "Client",
) -> None:
    """Until then windows are estimated, and their books close; no reading is needed from the time between."""
    worker = Booked(database, [descriptor()])
    worker.send(in_order([metered(*at) for at in halves(0, 4)] + [served(*at) for at in halves(0, 90)]))
    sealed = windows(database, "closed_by, gap_causes, tier, metered_uj, unmetered_ns")
    assert sealed[0] == ("bounded_wait", ["silent_meter"], 3, rise_uj(0, 4), 1 * SECOND)
    estimated_uj = sealed[1][3]
    assert sealed[1] == ("bounded_wait", ["silent_meter"], 2, estimated_uj, 5 * SECOND)
    assert len(sealed) == 6  # 90 s less the 60 s that a meter is waited for
    assert total(database) == rise_uj(0, 4) + 5 * estimated_uj
    (unmetered,) = read_books(database).unmetered
    assert (unmetered.estimated_windows, unmetered.estimated_uj) == (5, 5 * estimated_uj)
    assert estimated_uj > 0
    worker.send(in_order([f(*at) for at in halves(90, 106) for f in (metered, served)]))
    worker.repair_all()
    assert total(database) == rise_uj(0, 105)
    assert all(uj > 0 for (uj,) in windows(database, "metered_uj"))
    assert all(row == (3, 0) for row in windows(database, "tier, unmetered_ns"))
    assert read_books(database).unmetered == ()


def test_a_meter_back_within_the_wait_costs_no_second_revision(database: "Client") -> None:
    worker = Booked(database, [descriptor()])
    worker.send(
        in_order(
            [metered(*at) for at in halves(0, 4) + halves(40, 51)] + [served(*at) for at in halves(0, 51)]
        )
    )
    assert worker.causes() == []
    assert total(database) == rise_uj(0, 50)
    assert set(windows(database, "closed_by, revision")) == {("watermark", 0)}


def test_a_gpu_that_is_lost_and_returns_with_its_counter_loses_no_joule(database: "Client") -> None:
    both = (("GPU-0", "boot-1"), ("GPU-1", "boot-1"))
    frames = [metered(start, n, both[:1] if 3 <= start < 82 else both) for start, n in halves(0, 96)]
    worker = Booked(database, [descriptor()])
    worker.send(in_order(frames + [served(*at) for at in halves(0, 96)]))
    worker.repair_all()
    assert total(database) == 2 * rise_uj(0, 95)


def test_a_counter_that_starts_anew_is_never_negative_and_its_dead_time_is_recorded(
    database: "Client",
) -> None:
    """A driver reload at 6.0 s; the new counter is first read at 8.0 s: two seconds nobody counted."""
    frames = [metered(*at) for at in halves(0, 6)]
    frames += [metered(start, n, (("GPU-0", "boot-2"),), counted_from_s=8.0) for start, n in halves(8, 16)]
    worker = Booked(database, [descriptor()])
    worker.send(in_order(frames + [served(*at) for at in halves(0, 16)]))
    worker.repair_all()
    fresh_uj = round((400 * 7 + 2 * 7**2) * 1e6)
    assert total(database) == rise_uj(0, 6) + fresh_uj
    assert windows(database, "unmetered_ns") == [(0,), (2 * SECOND,), (0,)]


def test_a_gpu_that_is_replaced_is_another_counter(database: "Client") -> None:
    frames = [metered(*at) for at in halves(0, 6)]
    frames += [metered(start, n, (("GPU-new", "boot-1"),), counted_from_s=7.0) for start, n in halves(7, 16)]
    worker = Booked(database, [descriptor()])
    worker.send(in_order(frames + [served(*at) for at in halves(0, 16)]))
    assert total(database) == rise_uj(0, 6) + round((400 * 8 + 2 * 8**2) * 1e6)


def test_an_agent_that_restarts_with_an_old_spool_leaves_the_ledger_as_if_it_had_not(
    database: "Client",
) -> None:
    """Its new life begins with sequence 0; what it had spooled arrives minutes later."""
    frames = in_order([f(*at) for at in halves(0, 31) for f in (metered, served)])
    worker = Booked(database, [descriptor()])
    worker.send(frames)
    expected = state(database)
    spooled = [frame for frame in frames if 4 * SECOND < frame.start_ns - T0 < 12 * SECOND]
    new_life = [
        replace(frame, incarnation="agent-2", sequence=frame.sequence - 24)
        if isinstance(frame, EnergyFrame) and frame.start_ns - T0 >= 12 * SECOND
        else frame
        for frame in frames
        if not 4 * SECOND < frame.start_ns - T0 < 12 * SECOND
    ]
    again = Booked(database, [descriptor()])
    again.send(new_life)
    again.send(spooled, arrives_ns=T0 + 600 * SECOND)
    again.repair_all()
    assert state(database) == expected


@pytest.mark.parametrize("back_s", [0.7, 3.0, 8.0])
def test_a_clock_set_back_books_every_joule_in_the_time_that_is_claimed_twice(
    database: "Client", back_s: float
) -> None:
    """At 12 s by its own clock the node's clock goes back; counter and engine run on."""
    frames = [metered(*at) for at in halves(0, 12)]
    for start, n in halves(12, 40):
        late = metered(start, n)
        shift = round(back_s * SECOND)
        frames.append(
            replace(
                late,
                start_ns=late.start_ns - shift,
                end_ns=late.end_ns - shift,
                watermark_ns=late.watermark_ns - shift,
                reading_time_ns=late.reading_time_ns - shift,
            )
        )
    worker = Booked(database, [descriptor()])
    for frame in frames:
        worker.send([frame])
    worker.repair_all()
    sealed_s = (max(end for (end,) in windows(database, "end_ns")) - T0) / SECOND
    assert total(database) == rise_uj(0, sealed_s + back_s)


def test_a_clock_set_forward_leaves_a_stretch_that_the_counter_bridges(database: "Client") -> None:
    frames = [metered(*at) for at in halves(0, 7)] + [served(*at) for at in halves(0, 7)]
    ahead = round(6.3 * SECOND)
    for start, n in halves(7, 30):
        meter, ran = metered(start, n), served(start, n)
        frames.append(
            replace(
                meter,
                start_ns=meter.start_ns + ahead,
                end_ns=meter.end_ns + ahead,
                watermark_ns=meter.watermark_ns + ahead,
                reading_time_ns=meter.reading_time_ns + ahead,
            )
        )
        frames.append(
            replace(
                ran,
                start_ns=ran.start_ns + ahead,
                end_ns=ran.end_ns + ahead,
                watermark_ns=ran.watermark_ns + ahead,
                iteration_start_ns=ran.iteration_start_ns + ahead,
                iteration_end_ns=ran.iteration_end_ns + ahead,
            )
        )
    worker = Booked(database, [descriptor()])
    worker.send(in_order(frames))
    worker.repair_all()
    assert total(database) == rise_uj(0, 35 - 6.3)
    assert windows(database, "gap_ns > 0")[1] == (1,)


def test_frames_dated_far_ahead_are_refused_and_the_counter_bridges_them(database: "Client") -> None:
    frames = in_order([f(*at) for at in halves(0, 31) for f in (metered, served)])
    worker = Booked(database, [descriptor()])
    for frame in frames:
        wrong = 6 * SECOND <= frame.start_ns - T0 < 8 * SECOND
        arrives_ns = frame.end_ns - 3600 * SECOND if wrong else frame.end_ns
        worker.send([frame], arrives_ns=arrives_ns)
    assert rows_of(database, "SELECT count() FROM dead_letters", {}) == [(8,)]
    assert total(database) == rise_uj(0, 30)
    assert windows(database, "round(gap_ns / 1e9, 3)")[1] == (2.0,)


def test_a_process_that_restarts_while_the_old_ones_frames_still_come_is_cut_apart(
    database: "Client",
) -> None:
    old = [served(*at) for at in halves(0, 7)]
    new = [served(start, n - 13, born_s=6.5, first_ordinal=50) for start, n in halves(6.5, 16)]
    worker = Booked(database, [descriptor()])
    worker.send(in_order([metered(*at) for at in halves(0, 16)] + old + new))
    assert windows(database, "round((start_ns % 1000000000000) / 1e9, 1), length(incarnations)")[1:3] == [
        (5.0, 1),
        (6.5, 2),
    ]
    assert total(database) == rise_uj(0, 15)


OTHER = "lab/node-2/engine"
ENDING = WindowRules(park_ns=30 * SECOND)


def elsewhere(from_s: float, to_s: float) -> list[EnergyFrame]:
    return [metered(*at, (("GPU-9", "boot-1"),), group_id=OTHER, engines=()) for at in halves(from_s, to_s)]


def test_a_group_that_ended_is_sealed_to_its_last_word_and_holds_no_commit_back(database: "Client") -> None:
    here = in_order([f(*at) for at in halves(0, 8) for f in (metered, served)])
    worker = Booked(database, [descriptor()], rules=ENDING)
    worker.send([*here, *elsewhere(8, 96)])
    assert list(worker.pipeline.groups) == [OTHER]
    assert worker.pipeline.held_bytes < 20 * len(worker.log[0].value) * 10
    mine = [
        (until, uj)
        for group, until, uj in windows(database, "group_id, end_ns, metered_uj")
        if group == GROUP
    ]
    assert [until for until, _ in mine] == [T0 + 5 * SECOND, T0 + 8 * SECOND]
    assert sum(uj for _, uj in mine) == rise_uj(0, 8)
    before = state(database)
    worker.restart()
    assert state(database) == before
    assert read_books(database).closes


def test_a_group_alone_on_its_partition_is_sealed_when_its_log_is_known_to_be_read(
    database: "Client",
) -> None:
    worker = Booked(database, [descriptor()], rules=ENDING)
    worker.send(in_order([f(*at) for at in halves(0, 8) for f in (metered, served)]))
    now_ns = T0 + 60 * SECOND
    assert worker.pipeline.quiet(now_ns) == {0: T0 + 8 * SECOND}
    for topic in (ITERATIONS, ENERGY):
        worker.pipeline.log_read(topic, 0, now_ns)
    worker.flush()
    assert sum(uj for (uj,) in windows(database, "metered_uj")) == rise_uj(0, 8)
    assert (worker.pipeline.groups, worker.pipeline.held_bytes, worker.pipeline.quiet(now_ns)) == ({}, 0, {})


def test_a_group_that_had_ended_loses_nothing_when_it_returns(database: "Client") -> None:
    here = in_order([f(*at) for at in halves(0, 8) for f in (metered, served)])
    worker = Booked(database, [descriptor()], rules=ENDING)
    worker.send([*here, *elsewhere(8, 96)])
    worker.send(in_order([f(*at) for at in halves(96, 112) for f in (metered, served)]))
    worker.repair_all()
    mine = sum(uj for group, uj in windows(database, "group_id, metered_uj") if group == GROUP)
    assert mine == rise_uj(0, 110)
    assert read_books(database).closes


def test_neighbours_share_their_readings_at_every_edge_at_every_moment(database: "Client") -> None:
    """Also while late frames wait for their repair: what one window ended with the next begins with."""
    frames = in_order([f(*at) for at in halves(0, 41) for f in (metered, served)])
    late = [
        frame for frame in frames if isinstance(frame, EnergyFrame) and frame.sequence in (9, 10, 19, 20, 29)
    ]
    worker = Booked(database, [descriptor()])
    for frame in frames:
        if frame not in late:
            worker.send([frame])
        for one in late:
            if (
                frame is not one
                and frame.end_ns == one.end_ns + round(1.5 * SECOND)
                and isinstance(frame, EnergyFrame)
            ):
                worker.send([one])
    assert total(database) == rise_uj(0, 40)
    worker.repair_all()
    assert total(database) == rise_uj(0, 40)
