"""A booked batch closes to the microjoule, and its numbers follow from its events alone."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.energy import ActiveLoad, Meter
from schemas.iterations import DUMMY, IterationFrame
from schemas.side_inputs import ModelVersion
from streams.attribution import EnergyModel
from streams.batch import ACCOUNTS, Batch
from streams.booking import book
from streams.side_inputs import SideInputs
from streams.split import SplitRules
from streams.windows import ClosedWindow, Group, WindowRules, due_windows
from tests.builders import ENGINE, GROUP, SECOND, T0, decode_frame, descriptor, energy_frame
from tests.rig.holding import hold

RULES = SplitRules()


def side(**changes: object) -> SideInputs:
    known = SideInputs()
    known.add_engine(descriptor(**changes))
    return known


def close(frames: list[object], *, group: str = GROUP) -> list[ClosedWindow]:
    holder = Group(group, 0)
    for offset, frame in enumerate(frames):
        hold(holder, frame, offset, T0)
    return list(due_windows(holder, WindowRules()))


def metered(until_s: float = 6.0, **options: object) -> list[object]:
    return [energy_frame(s, s + 0.5, sequence=n, **options) for n, s in enumerate(np.arange(0, until_s, 0.5))]


def served(until_s: float = 6.0, **options: object) -> list[object]:
    return [decode_frame(s, s + 0.5, sequence=n, **options) for n, s in enumerate(np.arange(0, until_s, 0.5))]


def accounts(batch: Batch) -> dict[str, int]:
    return {name: batch.account_uj(name) for name in ACCOUNTS if batch.account_uj(name)}


@pytest.mark.parametrize("method", ["auto", "truncated"])
@given(requests=st.integers(1, 9), power_w=st.floats(1.0, 5000.0), iterations=st.integers(0, 20))
def test_accounts_sum_to_the_meter_exactly(method, requests, power_w, iterations):
    frames = [*metered(power_w=power_w), *served(requests=requests, iterations=iterations)]
    (closed,) = close(frames)
    batch = book(
        closed, side(), SplitRules(method=method, permutations=20 if method == "truncated" else None)
    )
    assert sum(accounts(batch).values()) == batch.metered_uj == batch.meters[0].energy_uj
    assert all((lines.energy_uj >= 0).all() for lines in batch.requests)


def test_equal_requests_pay_equal_energy_up_to_the_one_microjoule_that_cannot_be_split():
    (closed,) = close([*metered(), *served(requests=7)])
    paid = book(closed, side(), RULES).requests[0].energy_uj
    assert paid.max() - paid.min() <= 1
    assert paid.sum() == 5 * 500_000_000


def test_recomputing_a_batch_gives_the_same_microjoules():
    (closed,) = close([*metered(), *served(requests=5)])
    rules = SplitRules(method="truncated", permutations=10)
    one, two = book(closed, side(), rules), book(closed, side(), rules)
    assert one.batch_id == two.batch_id
    assert one.seed == two.seed
    assert np.array_equal(one.requests[0].energy_uj, two.requests[0].energy_uj)


def test_an_iteration_across_an_edge_pays_in_each_window_and_is_counted_in_one():
    long = decode_frame(4.0, 6.0, iterations=1, requests=2, sequence=8)
    frames = [*metered(11), *served(4.0), long, *(
        decode_frame(s, s + 0.5, sequence=9 + n) for n, s in enumerate(np.arange(6, 11, 0.5))
    )]  # fmt: skip
    first, second = (book(closed, side(), RULES) for closed in close(frames))
    assert first.account_uj("request") == second.account_uj("request") == 5 * 500_000_000
    windows = [batch.requests[0].window for batch in (first, second)]
    assert windows[0].iteration_share[-1] == pytest.approx(0.5)
    assert [bool(w.iteration_ends_here[i]) for w, i in zip(windows, (-1, 0), strict=True)] == [False, True]


def test_energy_without_a_request_has_a_named_account():
    load = ActiveLoad("load-1", ENGINE, T0 + 1 * SECOND, T0 + 2 * SECOND)
    dummy = decode_frame(2.0, 3.0, kind=DUMMY, sequence=1, born_s=0)
    frames = [
        *metered(loads=(load,)),
        decode_frame(0.0, 2.0, iterations=0, sequence=0),
        dummy,
        *(decode_frame(s, s + 0.5, iterations=0, sequence=n) for n, s in enumerate(np.arange(4, 6, 0.5), 2)),
    ]
    (closed,) = close(frames)
    batch = book(closed, side(), RULES)
    assert accounts(batch) == {
        "idle": 2 * 500_000_000,
        "cold_start": 500_000_000,
        "overhead": 500_000_000,
        "unobserved": 500_000_000,
    }
    assert batch.gap_causes == ("sequence_gap",)
    assert {line.load_id for line in batch.accounts if line.account == "cold_start"} == {"load-1"}


def test_a_meter_that_stands_still_books_zero_to_every_request():
    (closed,) = close([*metered(power_w=0.0), *served(requests=3)])
    batch = book(closed, side(), RULES)
    assert batch.metered_uj == 0
    assert batch.requests[0].energy_uj.tolist() == [0, 0, 0]
    assert batch.requests[0].window.requests.ordinal.tolist() == [0, 1, 2]


def test_a_published_model_takes_effect_at_its_event_time_and_a_prior_is_marked():
    frames = [*metered(11), *served(11)]
    known = side()
    fitted = EnergyModel(fixed_j=3.0, request_j=0.1)
    known.add_model(
        ModelVersion(descriptor().engine_class, "fit-1", T0 + 5 * SECOND, "fit", fitted.coefficients(), 0.02)
    )
    first, second = (book(closed, known, RULES) for closed in close(frames))
    assert first.model_origin == "prior"
    assert (second.model_origin, second.model_version) == ("fit", "fit-1")


def test_an_engine_of_unknown_size_is_split_by_a_generic_model_that_says_so():
    (closed,) = close([*metered(), *served()])
    batch = book(closed, side(weight_bytes=0), RULES)
    assert batch.model_origin == "generic"
    assert batch.account_uj("request") == batch.metered_uj


def dropped(frame: IterationFrame, rows: dict[int, int]) -> IterationFrame:
    """The frame with decode rows whose token was not delivered: by position, new tokens."""
    zeros = np.zeros(len(rows), np.int32)
    return replace(
        frame,
        exception_row=np.asarray(list(rows), np.int32),
        exception_new_tokens=np.asarray(list(rows.values()), np.int32),
        exception_drafts=zeros,
        exception_rejected=zeros,
        exception_emitted=zeros,
    )


def test_output_dropped_after_a_stop_is_overhead_and_costs_its_request_nothing():
    """Two requests, ten iterations a frame; in the first frame the second's last row was dropped."""
    frames = [*metered(), *served(requests=2)]
    whole = book(close(frames)[0], side(), RULES)
    cut = [dropped(f, {19: 1}) if isinstance(f, IterationFrame) and f.sequence == 0 else f for f in frames]
    batch = book(close(cut)[0], side(), RULES)
    rows = 200  # request-iterations in the window, all alike but for a little context
    assert batch.account_uj("overhead") == pytest.approx(whole.metered_uj / rows, rel=0.05)
    (before,), (after,) = whole.requests, batch.requests
    assert after.energy_uj[0] == pytest.approx(int(before.energy_uj[0]), rel=1e-6)
    assert after.energy_uj[1] + batch.account_uj("overhead") == pytest.approx(
        int(before.energy_uj[1]), rel=1e-6
    )
    assert sum(accounts(batch).values()) == batch.metered_uj


def test_a_chunk_of_a_prompt_delivers_nothing_and_is_its_requests_all_the_same():
    frames = [*metered(), *served(requests=2, context=0)]  # prompts of 50 tokens
    chunks = [
        dropped(f, {0: 20, 10: 1}) if isinstance(f, IterationFrame) and f.sequence == 0 else f for f in frames
    ]
    assert book(close(chunks)[0], side(), RULES).account_uj("overhead") == 0


def test_overlapping_iterations_of_a_pipeline_add_up_and_close():
    """Two stages busy at once: the time counts once, the energy of both."""
    one = served(requests=2)
    overlapped = [
        replace(f, iteration_start_ns=np.maximum(f.iteration_start_ns - 20_000_000, T0)) for f in one
    ]
    batch = book(close([*metered(), *overlapped])[0], side(), RULES)
    assert accounts(batch) == {"request": batch.metered_uj}
    assert batch.busy_ns == 5 * SECOND


def test_a_gap_of_one_engine_beside_another_on_the_same_gpu_is_shared_between_them():
    other = "lab/node-1/other"
    known = side()
    known.add_engine(descriptor(other))
    lost = [f for f in served(requests=2, engine_id=other) if not 4 <= f.sequence < 6]
    (closed,) = close([*metered(engines=(ENGINE, other)), *served(requests=2), *lost])
    batch = book(closed, known, RULES)
    assert batch.gap_causes == ("sequence_gap",)
    assert sum(accounts(batch).values()) == batch.metered_uj
    # The gap is one of five seconds, and the other engine ran on meanwhile.
    assert 0 < batch.account_uj("unobserved") < 0.7 * batch.metered_uj / 5


def test_host_energy_goes_where_the_accelerators_does():
    host = Meter("host:node-1:g", "host", "boot-1", "host", "counter")
    frames = []
    for frame in metered():
        count = len(frame.reading_meter)
        frames.append(
            replace(
                frame,
                meters=(*frame.meters, host),
                reading_meter=np.repeat(np.arange(2, dtype=np.int32), count),
                reading_time_ns=np.tile(frame.reading_time_ns, 2),
                reading_uj=np.concatenate((frame.reading_uj, frame.reading_uj // 4)),
            )
        )
    busy = [f for f in served(requests=2) if f.sequence < 5 or f.sequence > 9]
    quiet = [
        decode_frame(s, s + 0.5, sequence=n, iterations=0) for n, s in enumerate(np.arange(2.5, 5, 0.5), 5)
    ]
    batch = book(close([*frames, *busy, *quiet])[0], side(), RULES)
    of_requests = int(sum(lines.host_uj.sum() for lines in batch.requests))
    of_accounts = sum(line.host_uj for line in batch.accounts)
    assert of_requests + of_accounts == batch.host_uj
    assert of_requests / batch.host_uj == pytest.approx(
        batch.account_uj("request") / batch.metered_uj, rel=1e-6
    )


def test_engines_that_share_a_gpu_play_one_game_under_their_own_models():
    other = "lab/node-1/other"
    known = side()
    known.add_engine(descriptor(other, model="large-70b", weight_bytes=140_000_000_000))
    frames = [
        *metered(engines=(ENGINE, other)),
        *served(requests=2),
        *served(requests=2, engine_id=other),
    ]
    (closed,) = close(frames)
    batch = book(closed, known, RULES)
    small, large = (int(lines.energy_uj.sum()) for lines in batch.requests)
    assert small + large == batch.metered_uj
    assert large > 5 * small
    assert batch.model == "small-8b+large-70b"


def test_the_batch_id_changes_with_what_it_stands_for():
    (first,) = close([*metered(), *served()])
    (reborn,) = close([*metered(), *served(born_s=-1.0)])
    ids = {book(first, side(), RULES).batch_id, book(reborn, side(), RULES).batch_id}
    assert len(ids) == 2
