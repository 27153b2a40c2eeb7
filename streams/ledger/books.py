"""Do the books close? The meter, recomputed from raw readings, against every account and ledger row."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from streams.ledger.query import moment, rows_of

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

__all__ = [
    "END_OF_TIME_NS",
    "Books",
    "GroupBooks",
    "OpenWindow",
    "Unmetered",
    "joules",
    "read_books",
    "table_of_books",
]

BY_GROUP: Final = """
SELECT
    group_id, count(), countIf(NOT closes), sum(metered_uj), sum(request_uj), sum(idle_uj),
    sum(cold_start_uj), sum(overhead_uj), sum(unobserved_uj), sum(host_metered_uj)
FROM books_as_of(as_of = {as_of:DateTime64(3, 'UTC')})
WHERE event_time >= fromUnixTimestamp64Nano({from_ns:Int64})
    AND event_time < fromUnixTimestamp64Nano({to_ns:Int64})
GROUP BY group_id
ORDER BY group_id
"""

# An estimate closes like any other batch, and is not a measurement: the books say how much of them it is.
BY_TIER: Final = """
SELECT group_id, countIf(tier = 2), sumIf(toInt128(metered_uj), tier = 2), countIf(tier = 0)
FROM batches_as_of(as_of = {as_of:DateTime64(3, 'UTC')})
WHERE event_time >= fromUnixTimestamp64Nano({from_ns:Int64})
    AND event_time < fromUnixTimestamp64Nano({to_ns:Int64}) AND tier < 3
GROUP BY group_id
ORDER BY group_id
"""

OPEN: Final = """
SELECT
    group_id, start_ns, end_ns, toString(batch_id), revision, metered_uj, stated_uj, booked_uj, ledger_uj, why_open
FROM books_as_of(as_of = {as_of:DateTime64(3, 'UTC')})
WHERE NOT closes
    AND event_time >= fromUnixTimestamp64Nano({from_ns:Int64})
    AND event_time < fromUnixTimestamp64Nano({to_ns:Int64})
ORDER BY start_ns, group_id
LIMIT {most:UInt32}
"""

# Pairs are outside the windows' identity: whatever the interval, each must sum to zero by itself.
TRANSFERS: Final = """
SELECT count(), countIf(energy_uj != 0 OR host_uj != 0 OR sides != 2), sum(moved_uj)
FROM (
    SELECT
        sum(toInt128(pair.energy_uj)) AS energy_uj,
        sum(toInt128(pair.host_uj)) AS host_uj,
        count() AS sides,
        sumIf(toInt128(pair.energy_uj), side = 'to') AS moved_uj
    FROM transfers_as_of(as_of = {as_of:DateTime64(3, 'UTC')}) AS pair
    WHERE event_time >= fromUnixTimestamp64Nano({from_ns:Int64})
        AND event_time < fromUnixTimestamp64Nano({to_ns:Int64})
    GROUP BY transfer_id
)
"""

END_OF_TIME_NS: Final = 2**62
"""The year 2116."""
MOST_OPEN: Final = 1000
"""Open windows listed: enough to see a pattern; the count says how many there are."""


@dataclass(frozen=True, slots=True)
class GroupBooks:
    """What a metering group drew and where it was booked, in microjoules."""

    group_id: str
    windows: int
    open_windows: int
    """Windows that do not close."""
    metered_uj: int
    """Recomputed from the raw readings."""
    request_uj: int
    idle_uj: int
    cold_start_uj: int
    overhead_uj: int
    unobserved_uj: int
    host_uj: int
    """Recomputed from the raw readings of host meters; outside the identity of the accelerators' accounts."""

    @property
    def booked_uj(self) -> int:
        """Sum of the accounts; equals `metered_uj` where the books close."""
        accounts = (self.request_uj, self.idle_uj, self.cold_start_uj, self.overhead_uj, self.unobserved_uj)
        return sum(accounts)


@dataclass(frozen=True, slots=True)
class Unmetered:
    """What of a group's books no meter says."""

    group_id: str
    estimated_windows: int
    """Tier 2: the energy model's figure stands for the meter's."""
    estimated_uj: int
    """Of the group's `metered_uj`."""
    unmeasured_windows: int
    """Tier 0: no estimate either; nothing is booked."""


@dataclass(frozen=True, slots=True)
class OpenWindow:
    """A window that does not close to the microjoule."""

    group_id: str
    start_ns: int
    end_ns: int
    batch_id: str
    revision: int
    metered_uj: int
    """Recomputed from the raw readings."""
    stated_uj: int
    """What the batch says the meter was."""
    booked_uj: int
    """Sum of the batch's accounts."""
    ledger_uj: int
    """Sum of its ledger rows."""
    why: tuple[str, ...]
    """`readings_out_of_order`, `meter_differs_from_batch`, `accounts_differ_from_meter`,
    `ledger_differs_from_accounts`, `host_differs`."""


@dataclass(frozen=True, slots=True)
class Books:
    """The books of an interval of event time."""

    groups: tuple[GroupBooks, ...]
    unmetered: tuple[Unmetered, ...]
    """Groups with windows that no meter covers."""
    open_windows: tuple[OpenWindow, ...]
    """The first ones; `GroupBooks.open_windows` counts all."""
    transfers: int
    """Pairs whose receiving request was first served in the interval."""
    open_transfers: int
    """Pairs that do not sum to zero, or lack a side."""
    transferred_uj: int
    """Energy that the pairs moved."""

    @property
    def total(self) -> GroupBooks:
        """All groups together."""
        columns = zip(*map(_figures, self.groups), strict=True) if self.groups else [[0]] * 9
        return GroupBooks("total", *(sum(column) for column in columns))

    @property
    def closes(self) -> bool:
        """Whether every window and every pair closes to the microjoule."""
        return self.open_transfers == 0 and all(group.open_windows == 0 for group in self.groups)


def read_books(
    client: "Client", *, from_ns: int = 0, to_ns: int = END_OF_TIME_NS, as_of_ns: int = END_OF_TIME_NS
) -> Books:
    """The books of windows that start in `[from_ns, to_ns)`, Unix nanoseconds, by what was stored by `as_of_ns`.

    Raises DatabaseUnavailable if the database does not answer.
    """
    parameters = {"from_ns": from_ns, "to_ns": to_ns, "most": MOST_OPEN, "as_of": moment(as_of_ns)}
    groups = rows_of(client, BY_GROUP, parameters)
    tiers = rows_of(client, BY_TIER, parameters)
    open_windows = rows_of(client, OPEN, parameters)
    ((transfers, open_transfers, transferred_uj),) = rows_of(client, TRANSFERS, parameters)
    return Books(
        groups=tuple(GroupBooks(*row) for row in groups),
        unmetered=tuple(Unmetered(*row) for row in tiers),
        open_windows=tuple(OpenWindow(*(*row[:-1], tuple(row[-1]))) for row in open_windows),
        transfers=transfers,
        open_transfers=open_transfers,
        transferred_uj=transferred_uj,
    )


def table_of_books(books: Books) -> str:
    """One line per group and one for all: what was metered and where it was booked, to the microjoule."""
    columns = ("metered", "request", "idle", "cold start", "overhead", "unobserved")
    width = max(len(group.group_id) for group in (*books.groups, books.total))
    heading = f"{'joules':<{width}} {'windows':>8}" + "".join(f"{name:>18}" for name in columns) + "  closes"
    return "\n".join([heading, *(_line(group, width) for group in (*books.groups, books.total))])


def joules(energy_uj: int) -> str:
    """Joules with every microjoule shown: what does not add up must be visible."""
    sign = "-" if energy_uj < 0 else ""
    whole, rest = divmod(abs(energy_uj), 1_000_000)
    return f"{sign}{whole:,}.{rest:06d}"


def _line(group: GroupBooks, width: int) -> str:
    figures = (
        group.metered_uj,
        group.request_uj,
        group.idle_uj,
        group.cold_start_uj,
        group.overhead_uj,
        group.unobserved_uj,
    )
    closes = "yes" if group.open_windows == 0 else f"no ({group.open_windows})"
    cells = "".join(f"{joules(figure):>18}" for figure in figures)
    return f"{group.group_id:<{width}} {group.windows:>8}{cells}  {closes}"


def _figures(group: GroupBooks) -> tuple[int, ...]:
    return (
        group.windows,
        group.open_windows,
        group.metered_uj,
        group.request_uj,
        group.idle_uj,
        group.cold_start_uj,
        group.overhead_uj,
        group.unobserved_uj,
        group.host_uj,
    )
