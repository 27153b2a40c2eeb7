"""What each model drew for everyone over a period: the denominator of a price per token.

Hours that are rolled up come from the rollup; what is left over (the edges of the period, hours that changed
since) from the ledger itself.
"""

from typing import TYPE_CHECKING, Final

from streams.answers import report_queries as queries
from streams.answers.periods import Period

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

__all__ = ["fleet_totals"]

HOUR_MS: Final = 3_600_000


def fleet_totals(client: "Client", period: Period, as_of: str) -> dict[str, tuple[int, int, int]]:
    """By model: (microjoules booked to requests, prompt tokens, tokens emitted) of all tenants, as of a cut-off.

    A request that crosses from an hour that is rolled up into one that is not counts its prompt in both.
    """
    parameters = period.parameters | {"as_of": as_of}
    fresh = [row[0] for row in client.query(queries.FRESH_HOURS, parameters=parameters).result_rows]
    answers = [client.query(queries.FLEET_ROLLED, parameters={"hours": fresh}).result_rows] if fresh else []
    for left_ms, right_ms in _left_over(parameters["from_ms"], parameters["to_ms"], fresh):
        bounds = {"from_ms": left_ms, "to_ms": right_ms, "as_of": as_of}
        answers.append(client.query(queries.FLEET_BASE, parameters=bounds).result_rows)
    totals: dict[str, tuple[int, int, int]] = {}
    for rows in answers:
        for model, *figures in rows:
            known = totals.get(model, (0, 0, 0))
            totals[model] = (
                known[0] + int(figures[0]),
                known[1] + int(figures[1]),
                known[2] + int(figures[2]),
            )
    return totals


def _left_over(from_ms: int, to_ms: int, hours: list[int]) -> list[tuple[int, int]]:
    """What of [from_ms, to_ms) lies in none of the ascending `hours`."""
    gaps = []
    at_ms = from_ms
    for hour_ms in hours:
        if hour_ms > at_ms:
            gaps.append((at_ms, hour_ms))
        at_ms = hour_ms + HOUR_MS
    if at_ms < to_ms:
        gaps.append((at_ms, to_ms))
    return gaps
