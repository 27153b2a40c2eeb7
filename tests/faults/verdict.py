"""What a run did to the ledger, against what an undisturbed run of the same events books."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa

from streams.ledger.books import read_books
from tests.faults.traffic import Destroyed
from tests.rig.ledgers import current_rows, differences

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

__all__ = ["Verdict", "judge"]

NOT_COMPARED: Final = (
    # Where frames lay and when they came depends on the faults; what was booked must not.
    "iteration_offsets", "energy_offsets", "topic_partition", "ingested_at",
    # A frame that came late is in the batch's next revision, which says so.
    "revision", "reason", "inputs", "attempt", "closed_by",
)  # fmt: skip
TABLES: Final = ("batches", "ledger", "raw_meter", "transfers", "loads")


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was found; `broken` is empty where everything is as it must be."""

    lost_uj: int
    """Metered in peace and not here."""
    duplicated_uj: int
    """Here and not metered in peace."""
    moved_uj: int
    """Moved to `unobserved` in the windows of destroyed frames."""
    windows_hit: int
    """Windows that differ, all of them hit by a destroyed frame."""
    broken: tuple[str, ...]


def judge(expected: "Client", actual: "Client", cluster: str, destroyed: Sequence[Destroyed]) -> Verdict:
    """Compare two ledgers of one cluster."""
    broken: list[str] = []
    books = read_books(actual)
    if not books.closes:
        broken.append(f"books do not close: {books.open_windows[:2]}, {books.open_transfers} transfers")
    rows = current_rows(expected, cluster, but=NOT_COMPARED, tables=TABLES)
    found = current_rows(actual, cluster, but=NOT_COMPARED, tables=TABLES)
    metered = [_metered(tables["batches"]) for tables in (rows, found)]
    lost_uj = sum(max(0, uj - metered[1].get(group, 0)) for group, uj in metered[0].items())
    duplicated_uj = sum(max(0, uj - metered[0].get(group, 0)) for group, uj in metered[1].items())
    if not destroyed:
        broken += differences(rows, found)
        return Verdict(lost_uj, duplicated_uj, 0, 0, tuple(broken))
    changed = _changed_windows(rows["batches"], found["batches"])
    broken += [
        f"window {key} differs, and no frame of it was destroyed"
        for key in changed
        if not any(_hits(one, *key) for one in destroyed)
    ]
    moved_uj = sum(_moved_uj(changed[key]) for key in changed)
    broken += [
        f"window {key}: {why}"
        for key, pair in changed.items()
        if (why := _not_only_unobserved(pair, key, destroyed))
    ]
    return Verdict(lost_uj, duplicated_uj, moved_uj, len(changed), tuple(broken))


Window = tuple[str, int, int]
Pair = tuple[dict[str, Any] | None, dict[str, Any] | None]
ACCOUNTS: Final = ("request_uj", "idle_uj", "cold_start_uj", "overhead_uj", "unobserved_uj")


def _metered(batches: pa.Table) -> dict[str, int]:
    totals: dict[str, int] = {}
    for row in batches.select(["group_id", "metered_uj"]).to_pylist():
        totals[row["group_id"]] = totals.get(row["group_id"], 0) + row["metered_uj"]
    return totals


def _changed_windows(expected: pa.Table, found: pa.Table) -> dict[Window, Pair]:
    """Windows whose accounts differ, with both batches."""
    sides: list[dict[Window, dict[str, Any]]] = [
        {(row["group_id"], row["start_ns"], row["end_ns"]): row for row in table.to_pylist()}
        for table in (expected, found)
    ]
    names = ("metered_uj", "host_uj", *ACCOUNTS)
    changed: dict[Window, Pair] = {}
    for key in sides[0].keys() | sides[1].keys():
        one, two = sides[0].get(key), sides[1].get(key)
        if one is None or two is None or any(one[name] != two[name] for name in names):
            changed[key] = (one, two)
    return changed


def _hits(one: Destroyed, group_id: str, start_ns: int, end_ns: int) -> bool:
    """A lost energy frame may have held the reading beside either edge; a frame may hold an earlier iteration."""
    margin_ns = 1_000_000_000
    return (
        one.group_id == group_id and one.start_ns < end_ns + margin_ns and one.end_ns > start_ns - margin_ns
    )


def _moved_uj(pair: Pair) -> int:
    one, two = pair
    return int((two or {}).get("unobserved_uj", 0)) - int((one or {}).get("unobserved_uj", 0))


def _not_only_unobserved(pair: Pair, key: Window, destroyed: Sequence[Destroyed]) -> str:
    """Why the change is more than energy moved to `unobserved`; empty if it is no more."""
    one, two = pair
    if one is None or two is None:
        return "is there in one ledger only"
    if any(hit.topic.endswith("energy.v1") and _hits(hit, *key) for hit in destroyed):
        return ""  # fewer readings: the same joules, told apart less finely
    if one["metered_uj"] != two["metered_uj"]:
        return f"metered {two['metered_uj']} µJ instead of {one['metered_uj']}"
    grown = [name for name in ACCOUNTS[:-1] if two[name] > one[name] * 1.001 + 1_000_000]
    return f"{grown} grew" if grown else ""
