"""Moves the energy of model loads to the requests that share it, as pairs of rows that sum to zero.

A pure function of the ledger's contents: it keeps no state, may run at any time, twice, or twice at once,
and ends with the same rows. Request k of the first N since a load pays ⌊kE/N⌋ − ⌊(k−1)E/N⌋, so the shares of
all N sum to E exactly, whatever the order in which requests become known.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from clickhouse_connect.driver.exceptions import ClickHouseError

from schemas.errors import DatabaseUnavailable

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

__all__ = ["ColdStart", "cold_start_balance", "write_transfers"]

# `from` and `to` are compared one by one: an insert cut between the two is completed by the next run.
# An hour before `since_ns`: a request's first window may begin before the load it was admitted under, and the
# pair's tenant and time must not depend on where a run began to look.
WRITE: Final = r"""
INSERT INTO transfers (
    transfer_id, revision, side, kind, load_id, account, tenant, engine_id, incarnation, ordinal,
    client_request_id, load_ordinal, energy_uj, host_uj, event_time, reason
)
WITH
    load AS (
        SELECT * FROM cold_starts WHERE known AND event_time >= fromUnixTimestamp64Nano({since_ns:Int64})
    ),
    request AS (
        SELECT
            load_id,
            engine_id,
            incarnation,
            ordinal,
            toInt128(min(load_ordinal)) AS k,
            min(event_time) AS first_served,
            argMin(tenant, served.event_time) AS tenant,
            argMin(client_request_id, served.event_time) AS client_request_id
        FROM current_ledger AS served
        WHERE account = 'request' AND load_ordinal > 0
            AND served.event_time >= fromUnixTimestamp64Nano({since_ns:Int64}) - INTERVAL 1 HOUR
        GROUP BY load_id, engine_id, incarnation, ordinal
    ),
    (energy, k, n) -> intDiv(k * energy, n) - intDiv((k - 1) * energy, n) AS share
SELECT
    toFixedString(lower(hex(MD5(arrayStringConcat(
        ['cold_start', load.load_id, request.engine_id, request.incarnation, toString(request.ordinal)],
        '\x1f'
    )))), 32) AS transfer_id,
    load.revision AS revision,
    side,
    'cold_start' AS kind,
    load.load_id AS load_id,
    if(side = 'from', 'cold_start', 'request') AS account,
    request.tenant AS tenant,
    request.engine_id AS engine_id,
    request.incarnation AS incarnation,
    request.ordinal AS ordinal,
    request.client_request_id AS client_request_id,
    toInt64(request.k) AS load_ordinal,
    toInt64(sign * share(load.energy_uj, request.k, load.amortised_over)) AS energy_uj,
    toInt64(sign * share(load.host_uj, request.k, load.amortised_over)) AS host_uj,
    request.first_served AS event_time,
    '' AS reason
FROM load
INNER JOIN request ON load.load_id = request.load_id
ARRAY JOIN ['from', 'to'] AS side, [-1, 1] AS sign
WHERE request.k <= load.amortised_over AND request.first_served < load.deadline
    AND (transfer_id, revision, side) NOT IN (
        SELECT transfer_id, revision, toString(side) FROM transfers WHERE kind = 'cold_start'
    )
"""

COUNT: Final = "SELECT count() FROM transfers FINAL WHERE kind = 'cold_start'"

BALANCE: Final = """
SELECT load_id, kind, group_id, amortised_over, energy_uj, claimed_uj, unclaimed_uj, requests, reason
FROM cold_start_balance
ORDER BY event_time, load_id
"""


@dataclass(frozen=True, slots=True)
class ColdStart:
    """One load: its energy E, and what its first N requests have claimed."""

    load_id: str
    kind: str
    group_id: str
    amortised_over: int
    """N."""
    energy_uj: int
    """E, microjoules."""
    claimed_uj: int
    unclaimed_uj: int
    """What stays in `cold_start`."""
    requests: int
    """Requests that have claimed their share."""
    reason: str
    """Why something stays: `window_not_sealed` (E is not known yet), `fewer_requests_than_N` (so far), or for good
    `next_load` (the engine loaded again), `unload` (it went to sleep, or the adapter was removed),
    `deadline` (a day has passed since the load); `ordinal_claimed_twice`
    (two requests carry one ordinal: a fault of the hook). Empty if nothing stays."""


def write_transfers(client: "Client", *, since_ns: int = 0) -> int:
    """Write the pairs that are due and not yet written; returns the number of rows added.

    A pair is due when its load's energy is known (its group is sealed past the load's end) and its request is
    in the ledger. A load whose windows were restated gets all its pairs again, at a higher revision.

    since_ns: look only at loads and requests from this event time on (Unix ns), to bound the work; the shares
        do not depend on it.

    Raises DatabaseUnavailable if the database does not answer; running it again is safe.
    """
    try:
        before = int(client.query(COUNT).result_rows[0][0])
        client.command(WRITE, parameters={"since_ns": since_ns})
        return int(client.query(COUNT).result_rows[0][0]) - before
    except (ClickHouseError, OSError) as error:
        raise _unavailable("write cold-start transfers", error) from error


def cold_start_balance(client: "Client") -> tuple[ColdStart, ...]:
    """Every load, in order of time: what was claimed, what stays and why. Raises DatabaseUnavailable."""
    try:
        rows = client.query(BALANCE).result_rows
    except (ClickHouseError, OSError) as error:
        raise _unavailable("read cold starts", error) from error
    return tuple(ColdStart(*row) for row in rows)


def _unavailable(what: str, error: Exception) -> DatabaseUnavailable:
    said = str(error).splitlines()[0][:300] if str(error) else type(error).__name__
    return DatabaseUnavailable(f"could not {what}: {said}")
