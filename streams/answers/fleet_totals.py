"""What each model drew for everyone over a period: the denominator of a price per token.

Hours that are rolled up come from the rollup; what is left over (the edges of the period, hours that changed
since) from the ledger itself.
"""

from typing import TYPE_CHECKING

from streams.answers import report_queries as queries
from streams.answers.periods import Period
from streams.answers.report_rollups import rolled_spans
from streams.answers.spans import Spans

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

__all__ = ["fleet_totals"]


def fleet_totals(
    client: "Client", period: Period, as_of: str, rolled: Spans | None = None
) -> dict[str, tuple[int, int, int]]:
    """By model: (microjoules booked to requests, prompt tokens, tokens emitted) of all tenants, as of a cut-off.

    `rolled`: what rollups hold of the period, if that is known already. A request that crosses from an hour that
    is rolled up into one that is not counts its prompt in both.
    """
    if rolled is None:
        rolled = rolled_spans(client, period, as_of).reports
    answers = []
    if rolled:
        asked = rolled.parameters | {"as_of": as_of}
        answers.append(client.query(queries.FLEET_ROLLED, parameters=asked).result_rows)
    for left_ms, right_ms in rolled.left_of(period).bounds:
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
