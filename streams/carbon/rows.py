"""Factors as Arrow tables, column for column what schemas/clickhouse declares, and back."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

import pyarrow as pa

from schemas.factors import KINDS, Factor
from schemas.side_inputs import GridIntensity, Policy
from streams.ledger.query import rows_of
from streams.ledger.tables import arrow_schema

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

__all__ = ["factor_table", "intensity_table", "policy_factors", "read_factors", "read_intensities"]

INTENSITIES: Final = """
SELECT zone, toUnixTimestamp64Milli(valid_from), toUnixTimestamp64Milli(valid_to), g_per_kwh, basis, source,
    toBool(estimated), resolution, lag_s, spread, factor_version
FROM intensity_as_of(as_of = {as_of:DateTime64(3, 'UTC')})
WHERE zone IN {zones:Array(String)} AND valid_from < fromUnixTimestamp64Milli({to_ms:Int64}, 'UTC')
    AND (resolution = 'annual' OR valid_to >= fromUnixTimestamp64Milli({from_ms:Int64}, 'UTC') - INTERVAL 8 DAY)
ORDER BY zone, basis, resolution, valid_from
"""


FACTORS: Final = """
SELECT kind, scope, toUnixTimestamp64Milli(effective_from), value, spread, source, licence, vintage, factor_version
FROM factors_as_of(as_of = {as_of:DateTime64(3, 'UTC')})
ORDER BY kind, scope, effective_from
"""


def intensity_table(known: Iterable[GridIntensity]) -> pa.Table:
    """Rows of `grid_intensity`; validity is kept to the millisecond."""
    rows = [
        {
            "zone": one.zone,
            "basis": one.basis,
            "valid_from": one.valid_from_ns // 1_000_000,
            "valid_to": one.valid_to_ns // 1_000_000,
            "g_per_kwh": one.g_per_kwh,
            "source": one.source,
            "estimated": int(one.estimated),
            "factor_version": one.factor_version,
            "resolution": one.resolution,
            "spread": one.spread,
            "lag_s": one.lag_s,
        }
        for one in known
    ]
    return pa.Table.from_pylist(rows, arrow_schema("grid_intensity"))


def factor_table(factors: Iterable[Factor]) -> pa.Table:
    """Rows of `factors`."""
    rows = [
        {
            "kind": one.kind,
            "scope": one.scope,
            "effective_from": one.effective_from_ns // 1_000_000,
            "value": one.value,
            "unit": one.unit,
            "spread": one.spread,
            "source": one.source,
            "licence": one.licence,
            "vintage": one.vintage,
            "factor_version": one.factor_version,
        }
        for one in factors
    ]
    return pa.Table.from_pylist(rows, arrow_schema("factors"))


def policy_factors(policy: Policy, stated_ms: int) -> list[Factor]:
    """A policy's figures as factors, one per site or GPU; [] for a policy that is none (cold_start, idle).

    stated_ms: when the policy was published, Unix milliseconds: the factor's version.
    """
    if policy.name not in KINDS:
        return []
    return [
        Factor(
            kind=policy.name,
            scope=scope,
            effective_from_ns=policy.effective_from_ns,
            value=float(value),
            spread=1.0,
            source=f"policy {policy.name}",
            licence="",
            vintage="",
            factor_version=stated_ms,
        )
        for scope, value in policy.values.items()
    ]


def read_intensities(
    client: "Client", zones: Iterable[str], to_ms: int, as_of: str, *, from_ms: int = 0
) -> list[GridIntensity]:
    """What the ledger knew of `zones` at `as_of`, that may stand for a moment in [from_ms, to_ms).

    Raises DatabaseUnavailable.
    """
    asked = {"zones": sorted(set(zones)), "to_ms": to_ms, "from_ms": from_ms, "as_of": as_of}
    rows = rows_of(client, INTENSITIES, asked)
    return [
        GridIntensity(
            zone, from_ms * 1_000_000, to * 1_000_000, g, basis, source, estimated, resolution, lag, spread, v
        )
        for zone, from_ms, to, g, basis, source, estimated, resolution, lag, spread, v in rows
    ]


def read_factors(client: "Client", as_of: str) -> list[Factor]:
    """Every factor in force at any time, as known at `as_of`. Raises DatabaseUnavailable."""
    return [
        Factor(kind, scope, from_ms * 1_000_000, value, spread, source, licence, vintage, version)
        for kind, scope, from_ms, value, spread, source, licence, vintage, version in rows_of(
            client, FACTORS, {"as_of": as_of}
        )
    ]
