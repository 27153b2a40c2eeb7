"""A booked batch closes to the microjoule, and its numbers follow from its events alone."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.energy import ActiveLoad
from schemas.iterations import DUMMY, IterationFrame
from schemas.side_inputs import ModelVersion
from streams.attribution import EnergyModel
from streams.batch import ACCOUNTS, Batch
from streams.booking import book
from streams.side_inputs import SideInputs
from streams.split import SplitRules
from streams.windows import ClosedWindow, Group, Held, WindowRules, due_windows
from tests.builders import ENGINE, GROUP, SECOND, T0, decode_frame, descriptor, energy_frame

RULES = SplitRules()


def side(**changes: object) -> SideInputs:
    known = SideInputs()
    known.add_engine(descriptor(**changes))
    return known


def close(frames: list[object], *, group: str = GROUP) -> list[ClosedWindow]:
    holder = Group(group, 0)
    for offset, frame in enumerate(frames):
        held = Held(frame, offset, T0)
        (holder.hold_iterations if isinstance(frame, IterationFrame) else holder.hold_energy)(held)
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
