"""Without a meter a batch may be estimated: marked, less sure, closed in itself, and replaced when data come."""

import json
from collections.abc import Collection
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import jsonschema
import numpy as np
import pytest

from schemas.errors import InvalidMessage
from schemas.side_input_codec import decode_policy
from schemas.side_inputs import ModelVersion, Policy
from streams.answers.receipts import make_receipt
from streams.batch import ACCOUNTS, Batch
from streams.booking import book
from streams.ledger.books import read_books
from streams.ledger.rows import batch_table, ledger_table, meter_table
from streams.ledger.sink import ClickHouseSink
from streams.side_inputs import SideInputs
from streams.split import SplitRules
from streams.windows import ClosedWindow, Group, close_window
from tests.builders import ENGINE, GROUP, SECOND, T0, decode_frame, descriptor, energy_frame
from tests.rig.holding import hold
from wattledger.factors import store_shipped

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

RULES = SplitRules()
SCHEMA = json.loads(
    (Path(__file__).parents[2] / "schemas" / "receipts" / "receipt-v1.schema.json").read_text()
)


def side(policy: str = "", **changes: object) -> SideInputs:
    known = SideInputs()
    known.add_engine(descriptor(**changes))
    if policy:
        known.add_policy(Policy("unmetered", 1, {"policy": policy}))
    return known


def fitted(error: float = 0.02) -> SideInputs:
    known = side()
    model = {
        "fixed_j": 4.0,
        "request_j": 0.08,
        "context_token_j": 4e-5,
        "prefill_token_j": 0.03,
        "idle_w": 130.0,
    }
    known.add_model(ModelVersion(descriptor().engine_class, "fit-1", 1, "fit", model, error))
    return known


def window(
    *,
    metered: bool,
    at_s: float = 0.0,
    requests: int = 3,
    iterations: int = 10,
    missing: Collection[int] = (),
) -> ClosedWindow:
    group = Group(GROUP, 0)
    frames: list[object] = [
        decode_frame(s, s + 0.5, sequence=n, requests=requests, iterations=iterations, context=4000)
        for n, s in enumerate(at_s + np.arange(0, 6, 0.5))
        if n not in missing
    ]
    if metered:
        frames += [energy_frame(s, s + 0.5, sequence=n) for n, s in enumerate(at_s + np.arange(0, 6, 0.5))]
    for offset, frame in enumerate(frames):
        hold(group, frame, offset, T0)
    start_ns = T0 + round(at_s) * SECOND
    return close_window(group, start_ns, start_ns + 5 * SECOND, () if metered else (f"energy:{ENGINE}",))


def booked_uj(batch: Batch) -> int:
    return sum(batch.account_uj(account) for account in ACCOUNTS)


def test_what_nobody_counted_is_estimated_as_tier_2_and_closes_in_itself():
    batch = book(window(metered=False), side(), RULES)
    assert batch.tier == 2
    assert batch.metered_uj == booked_uj(batch) > 0
    assert batch.metered_uj == pytest.approx(batch.modelled_uj, rel=1e-6)
    assert batch.meters == ()


def test_the_policy_may_leave_it_unbooked():
    batch = book(window(metered=False), side("leave"), RULES)
    assert (batch.tier, batch.metered_uj, booked_uj(batch)) == (0, 0, 0)
    assert book(window(metered=False), side("estimate"), RULES).tier == 2


def test_a_policy_that_is_neither_is_refused_by_name():
    with pytest.raises(InvalidMessage, match=r'values\.policy: "maybe"'):
        decode_policy(b'{"name": "unmetered", "effective_from_ns": 1, "values": {"policy": "maybe"}}')


def test_the_two_policies_are_two_sets_of_inputs():
    one, two = (book(window(metered=False), side(policy), RULES) for policy in ("leave", "estimate"))
    assert one.batch_id == two.batch_id
    assert one.inputs != two.inputs


def test_an_engine_of_which_nobody_knows_the_size_is_not_estimated():
    """A generic model has the right proportions and no scale: a meter must give it one."""
    batch = book(window(metered=False), side(weight_bytes=0), RULES)
    assert (batch.tier, batch.metered_uj) == (0, 0)


def test_an_engine_that_waits_without_a_meter_is_expected_to_idle():
    batch = book(window(metered=False, requests=0, iterations=0), fitted(), RULES)
    assert (batch.tier, batch.account_uj("idle"), batch.metered_uj) == (2, 650_000_000, 650_000_000)


def test_time_of_which_neither_meter_nor_iterations_are_known_is_not_estimated():
    whole, holed = (
        book(window(metered=False, missing=missing), fitted(), RULES) for missing in ((), (3, 4, 5))
    )
    assert holed.gap_ns == 1_500_000_000
    assert holed.account_uj("unobserved") == 0
    assert holed.metered_uj == pytest.approx(0.7 * whole.metered_uj, rel=0.01)


def test_a_metered_window_is_tier_3_whatever_the_policy():
    one, two = (book(window(metered=True), side(policy), RULES) for policy in ("leave", "estimate"))
    assert one.tier == two.tier == 3
    assert one.inputs == two.inputs
    assert np.array_equal(one.requests[0].energy_uj, two.requests[0].energy_uj)


def test_an_estimate_is_less_sure_than_a_split_of_measured_energy():
    estimated = book(window(metered=False), side(), RULES).requests[0]
    measured = book(window(metered=True), side(), RULES).requests[0]
    assert (estimated.half_width_uj / estimated.energy_uj).min() > 0.1
    assert (measured.half_width_uj / measured.energy_uj).max() < 0.01, (
        "equal requests share evenly, whatever the model"
    )


def test_an_estimate_by_a_fit_carries_what_single_windows_scatter_by():
    sure, unsure = (book(window(metered=False), fitted(error), RULES) for error in (0.01, 0.05))
    assert unsure.edge_error == pytest.approx(5 * sure.edge_error)
    assert unsure.edge_error == pytest.approx(0.05 / 0.6745)
    assert unsure.requests[0].half_width_uj.sum() > sure.requests[0].half_width_uj.sum()


def test_an_estimated_share_is_made_again_from_its_terms():
    batch = book(window(metered=False), fitted(), RULES)
    (lines,) = batch.requests
    coefficients = [4.0, 0.08, 0.03, 4e-5, 0.0, 0.0, 0.0]
    again_uj = batch.request_scale * lines.term_shares @ coefficients
    assert np.abs(again_uj - lines.energy_uj).max() <= 1.0


def test_the_books_close_over_an_estimate_and_its_replacement(database: "Client"):
    sink = ClickHouseSink(database)
    for batch in (
        book(window(metered=False), side(), RULES),
        book(window(metered=True), side(), RULES, revision=1, reason="counter_hole"),
    ):
        rows = {"ledger": ledger_table([batch]), "raw_meter": meter_table([batch])}
        sink.write(rows, batch_table([batch]))
        assert read_books(database).closes
        tier, metered_uj = database.query("SELECT tier, metered_uj FROM current_batches").result_rows[0]
        assert (tier, metered_uj) == (batch.tier, batch.metered_uj)


def test_a_receipt_and_the_tenants_view_list_the_share_of_each_tier(database: "Client"):
    """A request whose batches are of both tiers: the meter was lost for its second window."""
    batches = [
        book(window(metered=True), side(), RULES),
        book(window(metered=False, at_s=5.0), side(), RULES),
    ]
    rows = {"ledger": ledger_table(batches), "raw_meter": meter_table(batches)}
    ClickHouseSink(database).write(rows, batch_table(batches))
    store_shipped(database)
    (request, *_) = database.query(
        "SELECT request_id, energy_uj, tier FROM receipts ORDER BY ordinal"
    ).result_rows
    receipt, _ = make_receipt(
        database, request[0], tenant=None, issuer="lab", base_url="http://localhost",
        issued_at=datetime(2026, 1, 1, tzinfo=UTC),
    )  # fmt: skip
    jsonschema.validate(receipt, SCHEMA)
    measured, estimated = receipt["tiers"]
    assert (measured["tier"], measured["batches"], estimated["tier"], estimated["batches"]) == (3, 1, 2, 1)
    assert receipt["tier"] == request[2] == 2
    assert measured["energy_uj"] + estimated["energy_uj"] == receipt["energy_uj"] == request[1]
    assert measured["part"] + estimated["part"] == pytest.approx(1.0)
    for basis in ("location", "market"):
        assert measured["carbon_g"][basis] + estimated["carbon_g"][basis] == pytest.approx(
            receipt["carbon_g"][basis]
        )
    period = "start = '2023-11-14', end = '2023-11-15', as_of = '2299-12-31 23:59:59.999'"
    views = {
        view: database.query(
            f"SELECT tier, sum(energy_uj), sum(location_g) FROM {view}({period}) GROUP BY tier ORDER BY tier"
        ).result_rows
        for view in ("tenant_tiers_between", "request_tiers_between")
    }
    for one, two in zip(*views.values(), strict=True):
        assert one == pytest.approx(two)
    booked = {batch.tier: batch.account_uj("request") for batch in batches}
    assert {tier: uj for tier, uj, _ in views["tenant_tiers_between"]} == booked
    ((whole,),) = database.query(
        f"SELECT count() FROM (SELECT tenant, sum(part) AS whole FROM tenant_tiers_between({period}) "
        "GROUP BY tenant, model) WHERE abs(whole - 1) < 1e-9"
    ).result_rows
    assert whole == 2
