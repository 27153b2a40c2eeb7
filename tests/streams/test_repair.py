"""Late frames: the ledger ends as if they had come in time, whenever the job runs and however often."""

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from schemas.energy import EnergyFrame
from schemas.iterations import IterationFrame
from schemas.side_inputs import ModelVersion
from streams.attribution import EnergyModel
from streams.ledger.books import read_books
from streams.ledger.causes import Cause
from streams.ledger.query import rows_of
from streams.split import SplitRules
from streams.worker.repairing import BEYOND_RETENTION, REVISED, UNCHANGED
from tests.builders import ENGINE, GROUP, SECOND, T0, decode_frame, descriptor, energy_frame
from tests.rig.booked import Booked, state

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

Frames = list[IterationFrame | EnergyFrame]


def stream(until_s: float, *, from_s: float = 0.0, power_w: float = 500.0, **options: object) -> Frames:
    """Both streams, frame by frame; the power rises so that an interpolation over a hole is not the truth."""
    frames: Frames = []
    for number, start in enumerate(np.arange(from_s, until_s, 0.5)):
        frames.append(rising(float(start), number))
        frames.append(decode_frame(start, start + 0.5, sequence=number, context=100 + number, **options))
    return frames


def rising(start_s: float, number: int) -> EnergyFrame:
    frame = energy_frame(start_s, start_s + 0.5, sequence=number)
    seconds = (frame.reading_time_ns - T0) / SECOND
    uj = np.rint((400 * seconds + 10 * seconds**2) * 1e6).astype(np.int64) + 10**9
    return EnergyFrame(
        **{**{n: getattr(frame, n) for n in EnergyFrame.__dataclass_fields__}, "reading_uj": uj}
    )


def booked(client: "Client", frames: Frames) -> Booked:
    worker = Booked(client, [descriptor()])
    worker.send(frames)
    return worker


@pytest.fixture(scope="module")
def undisturbed(database: "Client") -> set[tuple[object, ...]]:
    booked(database, stream(31))
    return state(database)


@settings(max_examples=8, phases=[Phase.explicit, Phase.reuse, Phase.generate])
@given(data=st.data())
def test_late_frames_of_either_stream_leave_the_ledger_as_if_they_had_come_in_time(
    database: "Client", undisturbed: set[tuple[object, ...]], data: st.DataObject
) -> None:
    frames = stream(31)
    late = data.draw(st.sets(st.integers(0, 39), min_size=1, max_size=8))
    order = data.draw(st.permutations(sorted(late)))
    at = data.draw(st.integers(44, len(frames)))
    in_time = [frame for number, frame in enumerate(frames) if number not in late]
    cut = at - len(late)
    worker = booked(database, in_time[:cut])
    worker.send([frames[number] for number in order])
    if data.draw(st.booleans()):
        worker.repair()
    worker.send(in_time[cut:])
    worker.repair_all()
    assert state(database) == undisturbed
    assert read_books(database).closes


def test_a_late_frame_gives_its_windows_a_complete_revision_and_says_why(database: "Client") -> None:
    frames = stream(16)
    lost = frames.pop(7)
    assert isinstance(lost, IterationFrame)
    worker = booked(database, frames)
    assert rows_of(
        database, "SELECT unobserved_uj > 0, gap_causes FROM current_batches ORDER BY start_ns", {}
    )[0] == (
        1,
        ["sequence_gap"],
    )
    worker.send([lost])
    (done,) = worker.repair()
    assert (done.outcome, len(done.batches)) == (REVISED, 1)
    ((revision, unobserved_uj, reason),) = rows_of(
        database, "SELECT revision, unobserved_uj, reason FROM current_batches ORDER BY start_ns LIMIT 1", {}
    )
    assert (revision, unobserved_uj, reason) == (1, 0, "late_frame")
    assert read_books(database).closes


def test_running_again_or_twice_at_once_writes_nothing_more(database: "Client") -> None:
    frames = stream(16)
    lost = frames.pop(7)
    worker = booked(database, frames)
    worker.send([lost])
    causes = worker.causes()
    worker.repair(causes)
    after = state(database)
    assert worker.causes() == []
    (again,) = worker.repair(causes)
    assert again.outcome == UNCHANGED
    asked = Cause("", "asked", GROUP, 0, T0, T0 + 16 * SECOND)
    assert [done.outcome for done in worker.repair([asked])] == [UNCHANGED]
    assert state(database) == after


def test_a_late_duplicate_writes_nothing(database: "Client") -> None:
    frames = stream(16)
    worker = booked(database, frames)
    worker.send([frames[5], frames[6]])
    assert len(worker.causes()) == 2
    assert [done.outcome for done in worker.repair()] == [UNCHANGED]
    assert rows_of(database, "SELECT max(revision) FROM batches", {}) == [(0,)]
    assert worker.causes() == []


@pytest.mark.parametrize("first_fit", [True, False])
def test_a_batch_is_recomputed_with_the_model_it_was_booked_with(database: "Client", first_fit: bool) -> None:
    """Whatever has been published for its time since: a prior and a fit alike."""
    engine_class = descriptor().engine_class
    fit = EnergyModel(fixed_j=3.0, request_j=0.1, context_token_j=2e-3)
    names = ("fixed_j", "request_j", "context_token_j")
    covariance = tuple(tuple(0.01 * (i == j) for j in range(3)) for i in range(3))
    models = {
        name: ModelVersion(
            engine_class, name, from_ns, "fit", {n: scale * getattr(fit, n) for n in names}, 0.02, covariance
        )
        for name, from_ns, scale in (("fit-1", 1, 1.0), ("fit-2", 2, 7.0))
    }
    frames = stream(21)
    worker = Booked(database, [descriptor()])
    if first_fit:
        worker.side.add_model(models["fit-1"])
    worker.send(frames)
    before = state(database)
    worker.side.add_model(models["fit-2"])
    worker.send([frames[9], frames[8]])
    assert {done.outcome for done in worker.repair()} == {UNCHANGED}
    asked = Cause("", "asked", GROUP, 0, T0, T0 + 20 * SECOND)
    assert [done.outcome for done in worker.repair([asked])] == [UNCHANGED]
    assert state(database) == before


def test_what_lies_beyond_the_topics_retention_stays_unobserved_and_is_said(database: "Client") -> None:
    frames = stream(16)
    lost = frames.pop(7)
    worker = booked(database, frames)
    worker.send([lost])
    worker.retained_from = 20
    before = state(database)
    assert [done.outcome for done in worker.repair()] == [BEYOND_RETENTION]
    assert state(database) == before
    assert worker.causes() == []


def test_a_process_whose_first_frame_came_late_replaces_the_batches_of_its_window(database: "Client") -> None:
    """Its incarnation cuts the window: two batches stand where one was, which is superseded as a whole."""
    served = [
        *(decode_frame(s, s + 0.5, sequence=n) for n, s in enumerate(np.arange(0, 2, 0.5))),
        *(
            decode_frame(s, s + 0.5, sequence=n, born_s=3.0, first_ordinal=50)
            for n, s in enumerate(np.arange(3, 31, 0.5))
        ),
    ]
    metered = [rising(float(s), n) for n, s in enumerate(np.arange(0, 31, 0.5))]
    worker = booked(database, [*served[:4], *metered])
    assert rows_of(database, "SELECT count() FROM current_batches WHERE end_ns <= {t:Int64}", edge(5)) == [
        (1,)
    ]
    worker.send(served[4:])
    worker.repair_all()
    cut = rows_of(
        database,
        "SELECT (start_ns - {t:Int64}) / 1e9, (end_ns - {t:Int64}) / 1e9, length(incarnations) "
        "FROM current_batches WHERE end_ns <= {t:Int64} + 5e9 ORDER BY start_ns",
        edge(0),
    )
    assert cut == [(0, 3, 1), (3, 5, 1)]
    assert read_books(database).closes
    assert read_books(database).total.metered_uj == metered_total(database)


def edge(seconds: float) -> dict[str, int]:
    return {"t": T0 + round(seconds * SECOND)}


def metered_total(client: "Client") -> int:
    """What the one counter rose by between the outer edges of all windows."""
    ((total,),) = rows_of(
        client,
        "SELECT max(to_uj) - min(from_uj) FROM metered WHERE batch_id IN (SELECT batch_id FROM current_batches)",
        {},
    )
    return int(total)


def test_frames_before_the_groups_first_window_extend_its_time_backwards(database: "Client") -> None:
    frames = stream(21, engine_id=ENGINE)
    worker = booked(database, frames[16:])
    worker.send(frames[:16])
    worker.repair_all()
    assert rows_of(database, "SELECT min(start_ns), count() FROM current_batches", {}) == [(T0, 4)]
    assert read_books(database).total.metered_uj == metered_total(database)
    assert read_books(database).closes


def test_a_batch_is_split_again_by_the_method_it_was_split_by(database: "Client") -> None:
    """Whatever the setting is today."""
    frames = stream(16)
    lost = frames.pop(7)
    first = Booked(database, [descriptor()], split=SplitRules("truncated", 40))
    first.send(frames)
    first.send([lost])
    first.split = SplitRules()
    (done,) = first.repair()
    assert done.outcome == REVISED
    methods = rows_of(database, "SELECT DISTINCT method FROM batches WHERE batch_size > 0", {})
    assert methods == [("shapley_truncated_K40",)]
    assert [one.outcome for one in first.repair([Cause("", "asked", GROUP, 0, T0, T0 + 16 * SECOND)])] == [
        UNCHANGED
    ]
