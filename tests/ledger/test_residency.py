"""Idle energy goes to those who held the engines, to the microjoule, only where the policy in force says so."""

from hashlib import md5
from typing import TYPE_CHECKING

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from schemas.side_inputs import Policy
from streams.ledger.books import read_books
from streams.ledger.query import rows_of
from streams.ledger.residency import write_residency
from streams.ledger.sink import ClickHouseSink
from streams.side_inputs import SideInputs
from tests.ledger_rows import table

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

HOUR_NS = 3600 * 1_000_000_000
NOON_NS = 472_000 * HOUR_NS
CLASS = "model|fp8|gpu|tp1pp1dp1|engine"


def policies(*published: tuple[str, int, str]) -> SideInputs:
    side = SideInputs()
    for name, hour, policy in published:
        side.add_policy(Policy(name, NOON_NS + hour * HOUR_NS, {"policy": policy, "trailing_hours": 2}))
    return side


def fill(
    client: "Client", hours: list[tuple[int, dict[str, int]]], *, engine_class: str = CLASS, revision: int = 0
) -> None:
    """One batch at the start of each hour: its idle energy, and the time that each tenant held."""
    batches, ledger, meters = [], [], []
    for number, (idle_uj, held_ns) in enumerate(hours):
        start_ns = NOON_NS + number * HOUR_NS
        identity = {
            "batch_id": md5(f"{engine_class}/{number}".encode()).hexdigest(),
            "event_time": start_ns // 1_000_000,
            "revision": revision,
        }
        common = {**identity, "group_id": engine_class}
        batches.append(
            {**common, "engine_class": engine_class, "start_ns": start_ns, "end_ns": start_ns + 5,
             "metered_uj": idle_uj, "idle_uj": idle_uj}
        )  # fmt: skip
        ledger.append({**common, "account": "idle", "ordinal": -1, "energy_uj": idle_uj})
        ledger += [
            {**common, "account": "request", "ordinal": n, "tenant": tenant, "held_ns": held}
            for n, (tenant, held) in enumerate(held_ns.items())
        ]
        meters.append(
            {**identity, "meter_id": engine_class, "epoch": str(number), "kind": "gpu",
             "from_ns": start_ns, "from_before_ns": start_ns, "from_after_ns": start_ns,
             "to_ns": start_ns + 5, "to_before_ns": start_ns + 5, "to_after_ns": start_ns + 5,
             "to_before_uj": idle_uj, "to_after_uj": idle_uj}
        )  # fmt: skip
    ClickHouseSink(client).write(
        {"ledger": table("ledger", ledger), "raw_meter": table("raw_meter", meters)},
        table("batches", batches),
    )


def share(client: "Client", side: SideInputs, hours: int = 24) -> int:
    sink = ClickHouseSink(client)
    return sum(write_residency(client, sink, side, from_ns=NOON_NS, to_ns=NOON_NS + hours * HOUR_NS))


def moved(client: "Client") -> dict[tuple[int, str], int]:
    """By hour and tenant."""
    query = """
        SELECT intDiv(toUnixTimestamp(event_time), 3600) - {noon:Int64}, tenant, energy_uj
        FROM current_transfers WHERE side = 'to' AND kind = 'residency_idle' AND energy_uj != 0
    """
    rows = rows_of(client, query, {"noon": NOON_NS // HOUR_NS})
    return {(hour, tenant): energy_uj for hour, tenant, energy_uj in rows}


def test_without_a_policy_idle_stays_with_the_provider(database: "Client") -> None:
    fill(database, [(1000, {"a": 1})])
    assert share(database, SideInputs()) == 0
    assert share(database, policies(("idle", -1, "provider"))) == 0


def test_tenants_pay_by_the_time_they_held_over_the_trailing_period(database: "Client") -> None:
    fill(database, [(0, {"a": 100}), (0, {"a": 30, "b": 10}), (1001, {"b": 20, "c": 40})])
    assert share(database, policies(("idle", -9, "residency"))) > 0
    # The last two hours: 30 of a's, 30 of b's and 40 of c's time; the odd microjoule has the largest remainder.
    assert moved(database) == {(2, "a"): 300, (2, "b"): 300, (2, "c"): 401}


def test_a_policy_holds_from_its_time_on_and_a_classs_own_comes_before_the_one_for_all(
    database: "Client",
) -> None:
    fill(database, [(100, {"a": 1})] * 3)
    fill(database, [(100, {"a": 1})] * 3, engine_class="other")
    share(database, policies(("idle", 1, "residency"), (f"idle/{CLASS}", 2, "provider")))
    query = "SELECT load_id FROM current_transfers WHERE side = 'to' ORDER BY load_id"
    classes = [name.split(" ")[1] for (name,) in rows_of(database, query, {})]
    assert classes == [CLASS, "other", "other"]


@settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    idle=st.lists(st.integers(0, 10**12), min_size=1, max_size=4),
    held=st.dictionaries(st.sampled_from("abcdef"), st.integers(1, 10**12), min_size=1),
)
def test_pairs_sum_to_the_idle_energy_and_running_again_writes_nothing(
    database: "Client", idle: list[int], held: dict[str, int]
) -> None:
    for name in ("batches", "ledger", "raw_meter", "transfers"):
        database.command(f"TRUNCATE TABLE {name}")
    fill(database, [(energy_uj, held) for energy_uj in idle])
    side = policies(("idle", -1, "residency"))
    share(database, side)
    for hour, energy_uj in enumerate(idle):
        assert sum(uj for (at, _), uj in moved(database).items() if at == hour) == energy_uj
    assert share(database, side) == 0
    books = read_books(database)
    assert books.closes
    assert books.transferred_uj == sum(idle)


def test_a_restated_hour_replaces_its_pairs_as_a_whole(database: "Client") -> None:
    side = policies(("idle", -1, "residency"))
    fill(database, [(1000, {"a": 1, "b": 1})])
    share(database, side)
    fill(database, [(600, {"b": 1, "c": 2})], revision=1)
    share(database, side)
    assert moved(database) == {(0, "b"): 200, (0, "c"): 400}
    fill(database, [(600, {})], revision=2)
    share(database, side)
    assert moved(database) == {}
    assert read_books(database).closes
