"""Parts of a period: which of it is read from rollups, and what is left for the ledger itself."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from streams.answers.periods import Period

__all__ = ["HOUR_MS", "Spans", "in_spans", "latest_run"]

HOUR_MS: Final = 3_600_000


@dataclass(frozen=True, slots=True)
class Spans:
    """Disjoint half-open spans of event time in milliseconds since 1970, ascending."""

    bounds: tuple[tuple[int, int], ...]

    def __bool__(self) -> bool:
        return bool(self.bounds)

    @classmethod
    def merged(cls, spans: Iterable[tuple[int, int]]) -> "Spans":
        """Of ascending, disjoint spans; neighbours become one."""
        bounds: list[tuple[int, int]] = []
        for left, right in spans:
            if bounds and bounds[-1][1] == left:
                bounds[-1] = (bounds[-1][0], right)
            else:
                bounds.append((left, right))
        return cls(tuple(bounds))

    def left_of(self, period: Period) -> "Spans":
        """What of `period` lies in none of them; they lie in it."""
        at_ms, end_ms = period.parameters["from_ms"], period.parameters["to_ms"]
        edges = [at_ms, *(edge for span in self.bounds for edge in span), end_ms]
        gaps = zip(edges[::2], edges[1::2], strict=True)
        return Spans(tuple((left, right) for left, right in gaps if left < right))

    def without_hours(self, hours_ms: Iterable[int]) -> "Spans":
        """These, less the hours that begin at `hours_ms`; spans are of whole hours."""
        cut = set(hours_ms)
        return Spans.merged(
            (hour, hour + HOUR_MS)
            for left, right in self.bounds
            for hour in range(left, right, HOUR_MS)
            if hour not in cut
        )

    @property
    def parameters(self) -> dict[str, Any]:
        """Bound parameters of `in_spans`."""
        return {
            "from_ms": self.bounds[0][0],
            "to_ms": self.bounds[-1][1],
            "lefts_ms": [left for left, _ in self.bounds],
            "rights_ms": [right for _, right in self.bounds],
        }


def in_spans(column: str = "event_time") -> str:
    """Condition that an instant lies in the spans whose parameters are bound. One span needs its bounds only."""
    return (
        f"{column} >= fromUnixTimestamp64Milli({{from_ms:Int64}}, 'UTC') "
        f"AND {column} < fromUnixTimestamp64Milli({{to_ms:Int64}}, 'UTC') "
        "AND (length({lefts_ms:Array(Int64)}) = 1 OR arrayExists((a, b) -> "
        f"toUnixTimestamp64Milli({column}) >= a AND toUnixTimestamp64Milli({column}) < b, "
        "{lefts_ms:Array(Int64)}, {rights_ms:Array(Int64)}))"
    )


def latest_run(runs: str) -> str:
    """Condition that a rolled-up row is of its hour's latest run until `as_of`; `runs` remembers them."""
    return (
        f"(hour, run) IN (SELECT hour, max(run) FROM {runs} "  # noqa: S608 - a table of ours
        "WHERE as_of <= {as_of:DateTime64(3, 'UTC')} GROUP BY hour)"
    )
