"""Moves idle energy to the tenants whose requests held the engines, where the operator's policy says so.

Policy `idle` is `provider` (idle energy stays where it is) or `residency`: the idle energy of an engine class in an
hour is shared by tenants in proportion to the engine time (`held_ns`) they held on that class over a trailing
period that ends with the hour. A function of the ledger's contents: it may run at any time and as often as wanted;
an hour that comes out different gets all its pairs again, at a higher revision.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import md5
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa

from streams.attribution import apportion
from streams.ledger.query import rows_of
from streams.ledger.sink import Sink
from streams.ledger.tables import arrow_schema
from streams.side_inputs import IdlePolicy, SideInputs

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

__all__ = ["KIND", "write_residency"]

KIND: Final = "residency_idle"
HOUR_NS: Final = 3600 * 1_000_000_000

IDLE: Final = """
SELECT
    sealed.engine_class,
    toUnixTimestamp(toStartOfHour(booked.event_time)) AS hour_s,
    sum(toInt128(booked.energy_uj)),
    sum(toInt128(booked.host_uj))
FROM current_ledger AS booked
INNER JOIN (
    SELECT event_time, batch_id, revision, inputs, engine_class
    FROM current_batches
    WHERE event_time >= fromUnixTimestamp64Nano({from_ns:Int64})
        AND event_time < fromUnixTimestamp64Nano({to_ns:Int64})
        AND engine_class IN {classes:Array(String)}
) AS sealed
    ON booked.event_time = sealed.event_time AND booked.batch_id = sealed.batch_id
    AND booked.revision = sealed.revision AND booked.inputs = sealed.inputs
WHERE booked.account = 'idle' AND booked.tenant = ''
    AND booked.event_time >= fromUnixTimestamp64Nano({from_ns:Int64})
    AND booked.event_time < fromUnixTimestamp64Nano({to_ns:Int64})
GROUP BY sealed.engine_class, hour_s
ORDER BY sealed.engine_class, hour_s
"""

HELD: Final = """
SELECT booked.tenant, sum(toInt128(booked.held_ns)) AS held_ns
FROM current_ledger AS booked
INNER JOIN (
    SELECT event_time, batch_id, revision, inputs
    FROM current_batches
    WHERE event_time >= fromUnixTimestamp64Nano({from_ns:Int64})
        AND event_time < fromUnixTimestamp64Nano({to_ns:Int64})
        AND engine_class = {engine_class:String}
) AS sealed
    ON booked.event_time = sealed.event_time AND booked.batch_id = sealed.batch_id
    AND booked.revision = sealed.revision AND booked.inputs = sealed.inputs
WHERE booked.account = 'request'
    AND booked.event_time >= fromUnixTimestamp64Nano({from_ns:Int64})
    AND booked.event_time < fromUnixTimestamp64Nano({to_ns:Int64})
GROUP BY booked.tenant
HAVING held_ns > 0
ORDER BY booked.tenant
"""

MOVED: Final = """
SELECT tenant, energy_uj, host_uj, revision
FROM current_transfers
WHERE kind = {kind:String} AND load_id = {period:String} AND side = 'to'
"""

CLASSES: Final = """
SELECT DISTINCT engine_class
FROM batches
WHERE event_time >= fromUnixTimestamp64Nano({from_ns:Int64})
    AND event_time < fromUnixTimestamp64Nano({to_ns:Int64}) AND engine_class != ''
"""

Shares = dict[str, tuple[int, int]]
"""By tenant: (accelerator, host) microjoules."""


@dataclass(frozen=True, slots=True)
class _Period:
    """One engine class in one hour."""

    engine_class: str
    start_ns: int

    @property
    def name(self) -> str:
        """What its pairs carry as `load_id`: they are replaced together."""
        hour = datetime.fromtimestamp(self.start_ns // 1_000_000_000, UTC)
        return f"idle {self.engine_class} {hour:%Y-%m-%dT%H}"


def write_residency(
    client: "Client", sink: Sink, side: SideInputs, *, from_ns: int, to_ns: int
) -> Iterator[int]:
    """Write the pairs of whole hours in `[from_ns, to_ns)`; yields the rows written per engine class and hour.

    An hour without anybody's engine time in the trailing period stays with the provider. Raises
    DatabaseUnavailable; running it again is safe.
    """
    asked: dict[str, Any] = {"from_ns": from_ns, "to_ns": to_ns}
    classes = [name for (name,) in rows_of(client, CLASSES, asked) if _may_move(side, name)]
    if not classes:
        return
    for engine_class, hour_s, energy_uj, host_uj in rows_of(client, IDLE, {**asked, "classes": classes}):
        period = _Period(engine_class, hour_s * 1_000_000_000)
        policy = side.idle_policy(engine_class, period.start_ns)
        wanted = _shares(client, period, policy, energy_uj, host_uj) if policy.moves else {}
        yield _write(client, sink, period, wanted)


def _may_move(side: SideInputs, engine_class: str) -> bool:
    """Whether any policy of the class was ever `residency`: one that was may leave pairs to take back."""
    return any(policy.moves for policy in side.idle_policies(engine_class))


def _shares(client: "Client", period: _Period, policy: IdlePolicy, energy_uj: int, host_uj: int) -> Shares:
    end_ns = period.start_ns + HOUR_NS
    asked = {
        "engine_class": period.engine_class,
        "from_ns": end_ns - round(policy.trailing_hours * HOUR_NS),
        "to_ns": end_ns,
    }
    held = rows_of(client, HELD, asked)
    if not held:
        return {}
    weights = np.asarray([float(held_ns) for _, held_ns in held])
    split = zip(apportion(weights, energy_uj).tolist(), apportion(weights, host_uj).tolist(), strict=True)
    return {tenant: share for (tenant, _), share in zip(held, split, strict=True)}


def _write(client: "Client", sink: Sink, period: _Period, wanted: Shares) -> int:
    moved = rows_of(client, MOVED, {"kind": KIND, "period": period.name})
    before: Shares = {tenant: (energy_uj, host_uj) for tenant, energy_uj, host_uj, _ in moved}
    if {t: s for t, s in before.items() if any(s)} == {t: s for t, s in wanted.items() if any(s)}:
        return 0
    revision = max((revision for *_, revision in moved), default=-1) + 1
    wanted = wanted or dict.fromkeys(before, (0, 0))
    rows = [
        row for tenant, shares in sorted(wanted.items()) for row in _pair(period, tenant, shares, revision)
    ]
    table = pa.Table.from_pylist(rows, arrow_schema("transfers"))
    sink.write({"transfers": table}, arrow_schema("batches").empty_table())
    return len(rows)


def _pair(period: _Period, tenant: str, shares: tuple[int, int], revision: int) -> Iterator[dict[str, Any]]:
    name = "\x1f".join((KIND, period.name, tenant))
    common = {
        "transfer_id": md5(name.encode(), usedforsecurity=False).hexdigest(),
        "revision": revision,
        "kind": KIND,
        "load_id": period.name,
        "tenant": tenant,
        "engine_id": "",
        "incarnation": "",
        "ordinal": -1,
        "client_request_id": "",
        "load_ordinal": 0,
        "event_time": period.start_ns // 1_000_000,
        "reason": "",
    }
    for side, account, sign in (("from", "idle", -1), ("to", "tenant", 1)):
        yield {
            **common,
            "side": side,
            "account": account,
            "energy_uj": sign * shares[0],
            "host_uj": sign * shares[1],
        }
