"""A half-open span of event time, [start, end) in UTC: what every answer is about."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from schemas.errors import DataError

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

__all__ = ["Period", "covered"]


@dataclass(frozen=True, slots=True)
class Period:
    """Windows that start at or after `start` and before `end`; both aware, in UTC."""

    start: datetime
    end: datetime

    def __post_init__(self) -> None:
        for name, value in (("from", self.start), ("to", self.end)):
            if value.tzinfo is None:
                raise DataError(f"{name} {value.isoformat()} has no time zone: add Z for UTC, or an offset")
        if self.start >= self.end:
            raise DataError(
                f"from {self.start.isoformat()} is not before to {self.end.isoformat()}: "
                "a period needs a length; its end is exclusive"
            )

    @property
    def parameters(self) -> dict[str, Any]:
        """Bound parameters `from_time` and `to_time` of a query, milliseconds since 1970."""
        return {"from_ms": _milliseconds(self.start), "to_ms": _milliseconds(self.end)}

    @property
    def duration(self) -> timedelta:
        """Its length."""
        return self.end - self.start


def _milliseconds(instant: datetime) -> int:
    return round((instant - datetime(1970, 1, 1, tzinfo=UTC)) / timedelta(milliseconds=1))


def covered(client: "Client") -> Period | None:
    """From the first to the last instant that any sealed batch covers; None for an empty ledger."""
    first_ns, last_ns = client.query("SELECT min(start_ns), max(end_ns) FROM batches").result_rows[0]
    if last_ns == 0:
        return None
    origin = datetime(1970, 1, 1, tzinfo=UTC)
    # A microsecond is what a datetime holds; windows lie on whole ones.
    return Period(
        origin + timedelta(microseconds=first_ns // 1000),
        origin + timedelta(microseconds=-(-last_ns // 1000)),
    )
