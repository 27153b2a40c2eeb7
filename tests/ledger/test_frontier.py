"""The frontier: where groups are sealed, and which sealed windows a restart reads again."""

from typing import TYPE_CHECKING

import pytest

from schemas.errors import DatabaseUnavailable
from streams.ledger.client import connect
from streams.ledger.frontier import read_frontier
from streams.ledger.sink import ClickHouseSink
from streams.pipeline import SealedWindow
from tests.ledger_rows import Window, write

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client


def windows(group_id: str, partition: int, count: int) -> list[Window]:
    """Window n of a group was made of offsets 10n to 10n + 9 of both topics."""
    return [
        Window(
            number=number,
            group_id=group_id,
            partition=partition,
            idle_uj=1,
            iteration_offsets=(10 * number, 10 * number + 9),
            energy_offsets=(10 * number, 10 * number + 9),
        )
        for number in range(count)
    ]


def test_an_empty_ledger_has_no_frontier(database: "Client") -> None:
    frontier = read_frontier(database, [0, 1], {0: (0, 0), 1: (0, 0)})
    assert frontier.sealed_until_ns == {}
    assert frontier.replayable == {}


def test_each_group_of_the_partitions_is_sealed_to_its_own_end(database: "Client") -> None:
    write(
        ClickHouseSink(database),
        *windows("a", 0, 5),
        *windows("b", 0, 3),
        *windows("c", 1, 4),
        *windows("d", 2, 9),
    )
    database.command("OPTIMIZE TABLE batches FINAL")
    frontier = read_frontier(database, [0, 1], {0: (999, 999), 1: (999, 999)})
    expected = {"a": Window(4).end_ns, "b": Window(2).end_ns, "c": Window(3).end_ns}
    assert frontier.sealed_until_ns == expected
    assert frontier.replayable == {}


def test_windows_with_offsets_not_committed_are_replayable_with_their_last_offsets(
    database: "Client",
) -> None:
    write(ClickHouseSink(database), *windows("a", 0, 5), *windows("c", 1, 4))
    frontier = read_frontier(database, [0, 1], {0: (29, 40), 1: (99, 35)})
    assert frontier.replayable == {
        "a": tuple(
            SealedWindow(Window(n).start_ns, Window(n).end_ns, 10 * n + 9, 10 * n + 9) for n in (2, 3, 4)
        ),
        "c": (SealedWindow(Window(3).start_ns, Window(3).end_ns, 39, 39),),
    }


def test_a_window_of_several_revisions_was_made_of_all_their_frames(database: "Client") -> None:
    first = Window(iteration_offsets=(0, 9), energy_offsets=(0, 4), idle_uj=1)
    second = Window(iteration_offsets=(0, 3), energy_offsets=(0, 7), idle_uj=1, revision=1)
    write(ClickHouseSink(database), first)
    write(ClickHouseSink(database), second)
    frontier = read_frontier(database, [0], {0: (0, 0)})
    assert frontier.replayable == {first.group_id: (SealedWindow(first.start_ns, first.end_ns, 9, 7),)}


def test_a_window_without_iterations_is_replayable_by_its_readings_only(database: "Client") -> None:
    write(ClickHouseSink(database), Window(iteration_offsets=(-1, -1), energy_offsets=(5, 8), idle_uj=1))
    assert read_frontier(database, [0], {0: (0, 9)}).replayable == {}
    assert len(read_frontier(database, [0], {0: (0, 8)}).replayable) == 1


def test_a_database_without_tables_is_unavailable_in_one_line(dsn: str) -> None:
    client = connect(dsn)
    with pytest.raises(DatabaseUnavailable, match="could not read what is sealed"):
        read_frontier(client, [0], {0: (0, 0)})
    client.close()
