"""One request's receipt: what it drew, how sure that is, and the hash of the lineage that shows why."""

import hashlib
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from schemas.errors import DataError
from streams.answers.lineage import make_lineage
from streams.answers.report_files import canonical

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

__all__ = ["find_requests", "make_receipt"]

UJ_PER_WH: Final = 3.6e9

# By the ledger's id (incarnation and ordinal, both in the row) or by the client's; a tenant sees its own only.
FIND: Final = """
SELECT * FROM receipts
WHERE {scope}
    AND (
        client_request_id = {{id:String}} OR (incarnation = {{incarnation:String}} AND ordinal = {{ordinal:Int64}})
    )
ORDER BY first_served, request_id
LIMIT 100
"""


def find_requests(client: "Client", request_id: str, *, tenant: str | None) -> list[dict[str, Any]]:
    """Rows of `receipts` with this id, the ledger's or the client's, of one tenant or (None) of any.

    Several, where a client repeated its id or several engines served it; [] where there is none.
    """
    incarnation, _, ordinal = request_id.rpartition("-")
    query = FIND.format(scope="tenant = {tenant:String}" if tenant is not None else "1")
    answer = client.query(
        query,
        parameters={
            "id": request_id,
            "incarnation": incarnation,
            "ordinal": int(ordinal) if ordinal.isascii() and ordinal.isdigit() and len(ordinal) < 19 else -1,
            "tenant": tenant or "",
        },
    )
    rows = [dict(zip(answer.column_names, row, strict=True)) for row in answer.result_rows]
    exact = [row for row in rows if row["request_id"] == request_id]
    return exact or [row for row in rows if row["client_request_id"] == request_id]


def make_receipt(
    client: "Client", request_id: str, *, tenant: str | None, issuer: str, base_url: str, issued_at: datetime
) -> tuple[dict[str, Any], dict[str, Any]]:
    """(receipt, lineage) of the request `request_id`, unsigned.

    Raises DataError where there is no such request of this tenant, or the client's id names several requests.
    """
    found = find_requests(client, request_id, tenant=tenant)
    if not found:
        raise DataError(f"no receipt {request_id!r}: check the id, and that its batch is sealed (about 7 s)")
    if len(found) > 1:
        names = ", ".join(str(row["request_id"]) for row in found[:5])
        raise DataError(
            f"{request_id!r} names {len(found)} requests; ask for one by the ledger's id: {names}"
        )
    request = found[0]
    lineage = make_lineage(client, request, base_url.rstrip("/"))
    total_uj = int(request["energy_uj"] + request["cold_start_uj"])
    receipt = {
        "type": "receipt",
        "version": 1,
        "issuer": issuer,
        "issued_at": issued_at.astimezone(UTC).isoformat(timespec="seconds"),
        "request_id": request["request_id"],
        "client_request_id": request["client_request_id"],
        "tenant": request["tenant"],
        "engine_id": request["engine_id"],
        "model": request["model"],
        "adapter": request["adapter"],
        "first_served": request["first_served"].replace(tzinfo=UTC).isoformat(),
        "last_served": request["last_served"].replace(tzinfo=UTC).isoformat(),
        "energy_wh": total_uj / UJ_PER_WH,
        "energy_j": total_uj / 1e6,
        "energy_uj": int(request["energy_uj"]),
        "cold_start_uj": int(request["cold_start_uj"]),
        "half_width_uj": int(request["half_width_uj"]),
        "confidence": 0.9,
        "host_uj": int(request["host_uj"]),
        "carbon_g": _grams(lineage["batches"]),
        "tier": request["tier"],
        "tiers": _tiers(lineage["batches"]),
        "boundary": "narrow: accelerators by their meters; host apart, without PUE",
        "tokens": {
            name: int(request[f"{name}_tokens"])
            for name in ("prompt", "cached", "prefill", "decode", "emitted")
        },
        "batches": int(request["batches"]),
        "attribution_methods": list(request["methods"]),
        "model_versions": list(request["model_versions"]),
        "lineage_url": lineage["id"],
        "lineage_sha256": hashlib.sha256(canonical(lineage)).hexdigest(),
    }
    return receipt, lineage


def _tiers(batches: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What of the booked energy and its grams each tier stands for, the surest first; the parts sum to 1."""
    energy_uj = sum(batch["share_uj"] for batch in batches)
    found = []
    for tier in sorted({batch["tier"] for batch in batches}, reverse=True):
        mine = [batch for batch in batches if batch["tier"] == tier]
        mine_uj = sum(batch["share_uj"] for batch in mine)
        found.append(
            {
                "tier": tier,
                "batches": len(mine),
                "energy_uj": mine_uj,
                "part": mine_uj / energy_uj if energy_uj else len(mine) / len(batches),
                "carbon_g": _grams(mine),
            }
        )
    return found


def _grams(batches: list[dict[str, Any]]) -> dict[str, float | None]:
    """Grams of the batches' energy by both methods; None unless every batch has a factor of that basis."""
    return {basis: _sum_of_grams(batches, basis) for basis in ("location", "market")}


def _sum_of_grams(batches: list[dict[str, Any]], basis: str) -> float | None:
    grams = 0.0
    for batch in batches:
        factor = next((one for one in batch["carbon"] if one["basis"] == basis), None)
        if factor is None:
            return None
        grams += batch["this_request_share_wh"] / 1000 * factor["g_per_kwh"]
    return grams
