"""The reconciliation finds every microjoule that windows together miss or hold twice, and past states stay."""

import json
import os
import time
from typing import TYPE_CHECKING

from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from streams.ledger.books import read_books
from streams.ledger.query import moment, rows_of
from streams.ledger.reconcile import coverage, reconcile, reconciliation_table
from streams.ledger.sink import ClickHouseSink
from streams.ledger.tables import arrow_schema
from tests.ledger_fixture import fill_ledger
from tests.ledger_rows import ORIGIN_NS, WINDOW_NS, table
from wattledger.__main__ import cli

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

FAR_NS = 2**62


def windows_of_one_gpu(client: "Client", edges_uj: list[tuple[int, int]], epochs: list[str]) -> None:
    """Window k counts from edges_uj[k][0] to edges_uj[k][1], all of it idle."""
    batches, ledger, meters = [], [], []
    for number, ((from_uj, to_uj), epoch) in enumerate(zip(edges_uj, epochs, strict=True)):
        start_ns = ORIGIN_NS + number * WINDOW_NS
        common = {"batch_id": f"{number:032x}", "event_time": start_ns // 1_000_000}
        batches.append(
            {**common, "group_id": "g", "start_ns": start_ns, "end_ns": start_ns + WINDOW_NS,
             "metered_uj": to_uj - from_uj, "idle_uj": to_uj - from_uj}
        )  # fmt: skip
        ledger.append(
            {**common, "group_id": "g", "account": "idle", "ordinal": -1, "energy_uj": to_uj - from_uj}
        )
        meters.append(
            {**common, "meter_id": "GPU-0", "epoch": epoch, "kind": "gpu",
             "from_ns": start_ns, "from_before_ns": start_ns, "from_before_uj": from_uj,
             "from_after_ns": start_ns, "from_after_uj": from_uj,
             "to_ns": start_ns + WINDOW_NS, "to_before_ns": start_ns + WINDOW_NS, "to_before_uj": to_uj,
             "to_after_ns": start_ns + WINDOW_NS, "to_after_uj": to_uj}
        )  # fmt: skip
    for name in ("batches", "ledger", "raw_meter"):
        client.command(f"TRUNCATE TABLE {name}")
    ClickHouseSink(client).write(
        {"ledger": table("ledger", ledger), "raw_meter": table("raw_meter", meters)},
        table("batches", batches),
    )


@settings(max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    steps=st.lists(
        st.tuples(st.integers(0, 10**9), st.integers(-(10**6), 10**6), st.booleans()), min_size=1, max_size=6
    )
)
def test_what_windows_miss_or_hold_twice_is_found_to_the_microjoule(
    database: "Client", steps: list[tuple[int, int, bool]]
) -> None:
    """Each step is a window's energy, what the counter did before it, and whether it started anew."""
    edges, epochs, at, epoch = [], [], 10**9, 0
    missed = doubled = counted = 0
    for number, (energy_uj, jump_uj, anew) in enumerate(steps):
        if anew or number == 0:
            epoch += 1
        else:
            at += jump_uj
            missed += max(jump_uj, 0)
            doubled += max(-jump_uj, 0)
            counted += jump_uj
        edges.append((at, at + energy_uj))
        epochs.append(str(epoch))
        at += energy_uj
        counted += energy_uj
    windows_of_one_gpu(database, edges, epochs)
    hours = reconcile(database, from_ns=0, to_ns=FAR_NS, as_of_ns=FAR_NS)
    assert sum(one.unbooked_uj for one in hours) == missed
    assert sum(one.doubled_uj for one in hours) == doubled
    assert sum(one.counter_uj for one in hours) == counted
    assert sum(one.booked_uj for one in hours) == sum(energy for energy, _, _ in steps)


def test_an_undisturbed_fleet_is_covered_whole(database: "Client") -> None:
    filled = fill_ledger(database, duration_s=60.0)
    hours = reconcile(database, from_ns=0, to_ns=FAR_NS, as_of_ns=FAR_NS)
    assert len(hours) == sum(len([m for m in g.meters if m.kind == "gpu"]) for g in filled.fleet.groups)
    assert all(one.booked_uj == one.counter_uj and one.unbooked_uj == one.doubled_uj == 0 for one in hours)
    assert coverage(hours) == 1.0
    assert sum(one.booked_uj for one in hours) == read_books(database).total.metered_uj


def test_a_ledger_row_that_is_gone_shows_as_coverage_below_one(database: "Client") -> None:
    windows_of_one_gpu(database, [(0, 600), (600, 1000)], ["1", "1"])
    database.command("DELETE FROM ledger WHERE energy_uj = 400")
    hours = reconcile(database, from_ns=0, to_ns=FAR_NS, as_of_ns=FAR_NS)
    assert (hours[0].counter_uj, hours[0].booked_uj) == (1000, 600)
    assert coverage(hours) == 0.6


def test_books_and_reconciliation_reproduce_any_past_state(database: "Client", dsn: str) -> None:
    windows_of_one_gpu(database, [(0, 600), (600, 1000)], ["1", "1"])
    time.sleep(0.05)
    ((past_ms,),) = rows_of(database, "SELECT toUnixTimestamp64Milli(now64(3))", {})
    time.sleep(0.05)
    revision = {
        "batch_id": f"{1:032x}", "revision": 1, "event_time": (ORIGIN_NS + WINDOW_NS) // 1_000_000, "group_id": "g",
    }  # fmt: skip
    ClickHouseSink(database).write(
        {},
        table(
            "batches", [{**revision, "start_ns": ORIGIN_NS + WINDOW_NS, "end_ns": ORIGIN_NS + 2 * WINDOW_NS}]
        ),
    )
    past_ns = past_ms * 1_000_000
    assert read_books(database).total.metered_uj == 600
    assert read_books(database, as_of_ns=past_ns).total.metered_uj == 1000
    assert reconcile(database, from_ns=0, to_ns=FAR_NS, as_of_ns=past_ns)[0].booked_uj == 1000
    said = CliRunner().invoke(
        cli,
        ["books", "--json", "--as-of", moment(past_ns)],
        env={**os.environ, "WATTLEDGER_CLICKHOUSE": dsn},
    )
    assert json.loads(said.output)["total"]["metered_uj"] == 1000
    assert json.loads(said.output)["coverage"]["ratio"] == 1.0


def test_the_latest_look_at_an_hour_replaces_the_earlier_one(database: "Client") -> None:
    windows_of_one_gpu(database, [(0, 600)], ["1"])
    sink, nothing = ClickHouseSink(database), arrow_schema("batches").empty_table()
    for as_of_ns in (ORIGIN_NS, ORIGIN_NS + 1_000_000):
        hours = reconcile(database, from_ns=0, to_ns=FAR_NS, as_of_ns=FAR_NS)
        sink.write({"reconciliations": reconciliation_table(hours, as_of_ns)}, nothing)
    assert rows_of(
        database, "SELECT booked_uj, toUnixTimestamp64Milli(as_of) FROM reconciliations FINAL", {}
    ) == [(600, ORIGIN_NS // 1_000_000 + 1)]
