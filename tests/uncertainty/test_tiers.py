"""Without a meter a batch may be estimated: marked, less sure, closed in itself, and replaced when data come."""

from typing import TYPE_CHECKING

import numpy as np
import pytest

from schemas.iterations import IterationFrame
from streams.batch import ACCOUNTS, Batch
from streams.booking import book
from streams.ledger.books import read_books
from streams.ledger.rows import batch_table, ledger_table, meter_table
from streams.ledger.sink import ClickHouseSink
from streams.side_inputs import SideInputs
from streams.split import SplitRules
from streams.windows import ClosedWindow, Group, Held, close_window
from tests.builders import ENGINE, GROUP, SECOND, T0, decode_frame, descriptor, energy_frame

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

RULES = SplitRules()


def side() -> SideInputs:
    known = SideInputs()
    known.add_engine(descriptor())
    return known


def window(*, metered: bool, requests: int = 3) -> ClosedWindow:
    group = Group(GROUP, 0)
    frames: list[object] = [
        decode_frame(s, s + 0.5, sequence=n, requests=requests, context=4000)
        for n, s in enumerate(np.arange(0, 6, 0.5))
    ]
    if metered:
        frames += [energy_frame(s, s + 0.5, sequence=n) for n, s in enumerate(np.arange(0, 6, 0.5))]
    for offset, frame in enumerate(frames):
        held = Held(frame, offset, T0)
        (group.hold_iterations if isinstance(frame, IterationFrame) else group.hold_energy)(held)
    return close_window(group, T0, T0 + 5 * SECOND, () if metered else (f"energy:{ENGINE}",))


def booked_uj(batch: Batch) -> int:
    return sum(batch.account_uj(account) for account in ACCOUNTS)


def test_what_nobody_counted_is_not_booked_unless_an_estimate_is_asked_for():
    batch = book(window(metered=False), side(), RULES)
    assert (batch.tier, batch.metered_uj, booked_uj(batch)) == (0, 0, 0)


def test_an_estimate_is_tier_2_and_closes_in_itself():
    batch = book(window(metered=False), side(), RULES, estimate=True)
    assert batch.tier == 2
    assert batch.metered_uj == booked_uj(batch) > 0
    assert batch.metered_uj == pytest.approx(batch.modelled_uj, rel=1e-6)


def test_a_metered_window_is_tier_3_whether_estimates_are_asked_for_or_not():
    one, two = (book(window(metered=True), side(), RULES, estimate=flag) for flag in (False, True))
    assert one.tier == two.tier == 3
    assert np.array_equal(one.requests[0].energy_uj, two.requests[0].energy_uj)


def test_an_estimate_is_less_sure_than_a_split_of_measured_energy():
    estimated = book(window(metered=False), side(), RULES, estimate=True).requests[0]
    measured = book(window(metered=True), side(), RULES).requests[0]
    assert (estimated.half_width_uj / estimated.energy_uj).min() > 0.1
    assert (measured.half_width_uj / measured.energy_uj).max() < 0.01, (
        "equal requests share evenly, whatever the model"
    )


def test_the_books_close_over_an_estimate_and_its_replacement(database: "Client"):
    sink = ClickHouseSink(database)
    for batch in (
        book(window(metered=False), side(), RULES, estimate=True),
        book(window(metered=True), side(), RULES, revision=1, reason="counter_hole"),
    ):
        rows = {"ledger": ledger_table([batch]), "raw_meter": meter_table([batch])}
        sink.write(rows, batch_table([batch]))
        assert read_books(database).closes
        tier, metered_uj = database.query("SELECT tier, metered_uj FROM current_batches").result_rows[0]
        assert (tier, metered_uj) == (batch.tier, batch.metered_uj)
