"""The meter at an instant: SQL and Python interpolate to the same microjoule."""

from typing import TYPE_CHECKING

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from streams.ledger.sink import ClickHouseSink
from streams.metering import value_at
from tests.ledger_rows import Window, table

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

# A counter step of up to a day and a gigajoule, at nanosecond positions around 2023.
EDGE = st.tuples(
    st.integers(0, 2 * 10**18),
    st.integers(0, 86_400 * 10**9),
    st.integers(0, 10**15),
    st.integers(0, 10**15),
    st.floats(0, 1),
).map(lambda d: (d[0] + int(d[4] * d[1]), d[0], d[2], d[0] + d[1], d[2] + d[3]))


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(edges=st.lists(st.tuples(EDGE, EDGE), min_size=1, max_size=40))
def test_sql_and_python_interpolate_to_the_same_microjoule(
    database: "Client", edges: list[tuple[tuple[int, ...], tuple[int, ...]]]
) -> None:
    database.command("TRUNCATE TABLE raw_meter")
    names = ("ns", "before_ns", "before_uj", "after_ns", "after_uj")
    rows = [
        Window().meter_row()
        | {"meter_id": f"{number:06d}"}
        | {
            f"{side}_{name}": value
            for side, edge in zip(("from", "to"), pair, strict=True)
            for name, value in zip(names, edge, strict=True)
        }
        for number, pair in enumerate(edges)
    ]
    ClickHouseSink(database).write({"raw_meter": table("raw_meter", rows)}, table("batches", []))
    found = database.query("SELECT energy_uj FROM metered ORDER BY meter_id").result_rows
    assert [row[0] for row in found] == [value_at(*right) - value_at(*left) for left, right in edges]


def test_half_a_microjoule_rounds_up_once(database: "Client") -> None:
    assert value_at(1, 0, 0, 2, 1) == 1
    row = Window().meter_row() | {
        "from_ns": 0, "from_before_ns": 0, "from_after_ns": 0,
        "to_ns": 1, "to_before_ns": 0, "to_before_uj": 0, "to_after_ns": 2, "to_after_uj": 1,
    }  # fmt: skip
    ClickHouseSink(database).write({"raw_meter": table("raw_meter", [row])}, table("batches", []))
    assert database.query("SELECT energy_uj FROM metered").result_rows == [(1,)]
