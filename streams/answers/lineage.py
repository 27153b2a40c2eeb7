"""Where a request's energy comes from, batch by batch: a JSON-LD document from which the share is made again.

It carries the request's own rows and what all requests of a batch have in common (size, total, scale, the energy
model's coefficients), and nothing of any other request. A batch of fewer than PRIVATE_BELOW tenants would tell one
tenant of another: its totals are rounded and its meter readings left out.
"""

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.resources import files
from typing import TYPE_CHECKING, Any, Final

from streams.carbon.ladder import Intensities, Rung
from streams.carbon.rows import read_intensities
from streams.uncertainty.loadings import COEFFICIENTS

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

__all__ = ["CONTEXT", "PRIVATE_BELOW", "context_document", "make_lineage"]

CONTEXT: Final = "/v1/context.jsonld"
"""Where the API serves the context of schemas/receipts; checking a receipt never fetches it."""
PRIVATE_BELOW: Final = 3
UJ_PER_WH: Final = 3.6e9
EVER: Final = "2299-12-31 23:59:59.999"

BATCHES: Final = """
SELECT
    line.batch_id, batch.start_ns, batch.end_ns, batch.revision, batch.batch_size, batch.tenants, batch.request_uj,
    batch.metered_uj, line.energy_uj, line.half_width_uj, line.prefill_tokens, line.decode_tokens,
    line.emitted_tokens, line.iterations, line.term_shares, batch.request_scale, batch.method, batch.permutations,
    batch.seed, batch.model_version, batch.model_origin, model.coefficients, batch.tier,
    batch.zone
FROM current_ledger AS line
INNER JOIN current_batches AS batch
    ON line.event_time = batch.event_time AND line.batch_id = batch.batch_id AND line.revision = batch.revision
    AND line.inputs = batch.inputs
LEFT JOIN (
    SELECT engine_class, model_version, any(coefficients) AS coefficients
    FROM energy_models GROUP BY engine_class, model_version
) AS model ON batch.engine_class = model.engine_class AND batch.model_version = model.model_version
WHERE line.tenant = {tenant:String} AND line.account = 'request' AND line.engine_id = {engine_id:String}
    AND line.incarnation = {incarnation:String} AND line.ordinal = {ordinal:Int64}
    AND line.event_time >= fromUnixTimestamp64Milli({from_ms:Int64}, 'UTC')
    AND line.event_time <= fromUnixTimestamp64Milli({to_ms:Int64}, 'UTC')
ORDER BY batch.start_ns
"""

READINGS: Final = """
SELECT
    raw.batch_id, raw.meter_id, raw.source, raw.from_ns, raw.from_before_ns, raw.from_before_uj, raw.from_after_ns,
    raw.from_after_uj, raw.to_ns, raw.to_before_ns, raw.to_before_uj, raw.to_after_ns, raw.to_after_uj
FROM (SELECT * FROM raw_meter FINAL WHERE batch_id IN {batches:Array(String)} AND kind = 'gpu') AS raw
INNER JOIN (
    SELECT batch_id, revision, inputs FROM current_batches WHERE batch_id IN {batches:Array(String)}
) AS batch
    ON raw.batch_id = batch.batch_id AND raw.revision = batch.revision AND raw.inputs = batch.inputs
ORDER BY raw.batch_id, raw.meter_id
"""

REVISIONS: Final = """
SELECT batch_id, revision, any(reason), min(stored_at)
FROM batches WHERE batch_id IN {batches:Array(String)}
GROUP BY batch_id, revision ORDER BY batch_id, revision
"""

COLD_START: Final = """
SELECT moved.load_id, moved.load_ordinal, load.amortised_over, moved.energy_uj, load.energy_uj
FROM current_transfers AS moved
INNER JOIN cold_start_balance AS load ON moved.load_id = load.load_id
WHERE moved.side = 'to' AND moved.kind = 'cold_start' AND moved.engine_id = {engine_id:String}
    AND moved.incarnation = {incarnation:String} AND moved.ordinal = {ordinal:Int64}
ORDER BY moved.load_id
"""


def context_document() -> dict[str, Any]:
    """The published @context."""
    text = files("schemas").joinpath("receipts", "context-v1.jsonld").read_text(encoding="utf-8")
    document: dict[str, Any] = json.loads(text)
    return document


def make_lineage(client: "Client", request: dict[str, Any], base_url: str) -> dict[str, Any]:
    """The lineage of one request, a row of the view `receipts`; `base_url` is where the API answers."""
    key = {name: request[name] for name in ("tenant", "engine_id", "incarnation", "ordinal")}
    bounds = {
        "from_ms": round(request["first_served"].replace(tzinfo=UTC).timestamp() * 1000),
        "to_ms": round(request["last_served"].replace(tzinfo=UTC).timestamp() * 1000),
    }
    rows = client.query(BATCHES, parameters=key | bounds).result_rows
    batches = {"batches": [_text(row[0]) for row in rows]}
    readings = _by_batch(client.query(READINGS, parameters=batches).result_rows)
    revisions = _by_batch(client.query(REVISIONS, parameters=batches).result_rows)
    intensities = _intensities(client, {str(row[-1]) for row in rows}, bounds)
    return {
        "@context": f"{base_url}{CONTEXT}",
        "id": f"{base_url}/v1/receipts/{request['request_id']}/lineage",
        "type": "Lineage",
        "request_id": request["request_id"],
        "batches": [_batch(row, readings, revisions, intensities) for row in rows],
        "cold_start": [_cold_start(row) for row in client.query(COLD_START, parameters=key).result_rows],
    }


def _intensities(client: "Client", zones: set[str], bounds: dict[str, int]) -> Intensities:
    places = zones | {zone.partition("-")[0] for zone in zones}
    until_ms = bounds["to_ms"] + 1
    return Intensities(read_intensities(client, places, until_ms, EVER, from_ms=bounds["from_ms"]))


def _factors(intensities: Intensities, zone: str, start_ns: int) -> list[dict[str, Any]]:
    """The carbon intensity of a batch by basis; market-based is location-based where no other is on record."""
    found = {basis: intensities.at(zone, basis, start_ns) for basis in ("location", "market")}
    if found["market"].intensity is None and found["location"].intensity is not None:
        found["market"] = Rung(f"location:{found['location'].name}", found["location"].intensity)
    return [
        {"basis": basis, "g_per_kwh": one.intensity.g_per_kwh, "source": one.intensity.source,
         "estimated": one.intensity.estimated, "factor_version": one.intensity.factor_version, "zone": zone,
         "rung": one.name}
        for basis, one in found.items()
        if one.intensity is not None
    ]  # fmt: skip


def _batch(
    row: Sequence[Any],
    readings: dict[str, list[Sequence[Any]]],
    revisions: dict[str, list[Sequence[Any]]],
    intensities: Intensities,
) -> dict[str, Any]:
    (
        batch_id, start_ns, end_ns, revision, size, tenants, request_uj, metered_uj, energy_uj, half_width_uj,
        prefill, decode, emitted, iterations, terms, scale, method, permutations, seed, model_version, model_origin,
        coefficients, tier, zone,
    ) = row  # fmt: skip
    name = _text(batch_id)
    private = tenants < PRIVATE_BELOW
    total_wh = request_uj / UJ_PER_WH
    return {
        "type": "Batch",
        "batch_id": name,
        "start": _time(start_ns),
        "end": _time(end_ns),
        "revision": revision,
        "revisions": [
            {"revision": number, "reason": reason, "stored_at": stored.replace(tzinfo=UTC).isoformat()}
            for _, number, reason, stored in revisions.get(name, [])
        ],
        "tier": tier,
        "aggregates": "rounded" if private else "exact",
        "batch_size": rounded(size) if private else size,
        "batch_total_wh": rounded(total_wh) if private else total_wh,
        "metered_uj": None if private else metered_uj,
        "meter": [] if private else [_reading(one) for one in readings.get(name, [])],
        "this_request_share_wh": energy_uj / UJ_PER_WH,
        "share_uj": energy_uj,
        "half_width_uj": half_width_uj,
        "prefill_tokens": prefill,
        "decode_tokens": decode,
        "emitted_tokens": emitted,
        "iterations": iterations,
        "attribution_method": method,
        "shapley_sample_count": permutations,
        "seed": str(seed),
        "model_version": model_version,
        "model_origin": model_origin,
        "coefficients": {term: coefficients.get(term, 0.0) for term in COEFFICIENTS},
        "terms": dict(zip(COEFFICIENTS, terms, strict=False)),
        "request_scale": scale,
        "carbon": _factors(intensities, zone, start_ns),
    }  # fmt: skip


def _reading(row: Sequence[Any]) -> dict[str, Any]:
    names = (
        "meter_id", "source", "from_ns", "from_before_ns", "from_before_uj", "from_after_ns", "from_after_uj",
        "to_ns", "to_before_ns", "to_before_uj", "to_after_ns", "to_after_uj",
    )  # fmt: skip
    return dict(zip(names, row[1:], strict=True))


def _cold_start(row: Sequence[Any]) -> dict[str, Any]:
    load_id, ordinal, amortised_over, share_uj, load_uj = row
    return {
        "load_id": load_id,
        "k": ordinal,
        "n": int(amortised_over),
        "load_uj": int(load_uj),
        "share_uj": int(share_uj),
    }


def rounded(value: float) -> float:
    """To one significant digit."""
    return float(f"{value:.0e}")


def _by_batch(rows: Sequence[Sequence[Any]]) -> dict[str, list[Sequence[Any]]]:
    found: dict[str, list[Sequence[Any]]] = {}
    for row in rows:
        found.setdefault(_text(row[0]), []).append(row)
    return found


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value


def _time(instant_ns: int) -> str:
    return datetime.fromtimestamp(instant_ns / 1e9, UTC).isoformat(timespec="milliseconds")
