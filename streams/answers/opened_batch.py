"""One batch opened up: who was in it, of what each share is made, and between which marginal contributions it lies.

A share is request_scale · Σ coefficient · term, so that it comes apart into what each term of the energy model
asks for: a part of the iterations' fixed cost, its own tokens, its context. The Shapley value averages what a
request adds over all orders of joining. Whoever joins first adds its own terms and the whole fixed cost of its
iterations; whoever joins last adds its own terms only.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from streams.answers.periods import Period
from streams.uncertainty.loadings import COEFFICIENTS

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

__all__ = ["PARTS", "OpenedBatch", "RequestShare", "open_batch", "telling_batch"]

PARTS: Final = {
    "fixed": (0,),
    "tokens": (1,),
    "prompt": (2,),
    "context": (3, 4),
    "experts": (5,),
    "knee": (6,),
}
"""What a share is made of, by the terms of the energy model (places in COEFFICIENTS)."""

# Of one engine and one method, with several tenants, some of them still in their prompts; about a dozen
# requests fit a page. Ties go by id, so that the same ledger opens the same batch.
TELLING: Final = """
SELECT batch_id
FROM current_batches
WHERE event_time >= fromUnixTimestamp64Milli({from_ms:Int64}, 'UTC')
    AND event_time < fromUnixTimestamp64Milli({to_ms:Int64}, 'UTC')
    AND batch_size > 0 AND length(incarnations) = 1
ORDER BY abs(toInt64(batch_size) - 14) - 3 * least(tenants, 6) - 6 * (features['prefill_tokens'] > 500), batch_id
LIMIT 1
"""

BATCH: Final = """
SELECT
    batch.batch_id, batch.group_id, batch.model, batch.gpu_model, batch.start_ns, batch.end_ns, batch.metered_uj,
    batch.request_uj, batch.iterations, batch.batch_size, batch.tenants, batch.method, batch.permutations,
    batch.model_version, batch.model_origin, batch.request_scale, model.coefficients
FROM current_batches AS batch
LEFT JOIN (
    SELECT engine_class, model_version, any(coefficients) AS coefficients
    FROM energy_models GROUP BY engine_class, model_version
) AS model ON batch.engine_class = model.engine_class AND batch.model_version = model.model_version
WHERE batch.batch_id = {batch_id:String}
"""

SHARES: Final = """
SELECT
    tenant, client_request_id, engine_id, ordinal, energy_uj, half_width_uj, prefill_tokens, decode_tokens,
    emitted_tokens, iterations, context_sum, concat(incarnation, '-', toString(ordinal)), term_shares
FROM current_ledger
WHERE batch_id = {batch_id:String} AND account = 'request'
ORDER BY energy_uj DESC, engine_id, incarnation, ordinal
"""


@dataclass(frozen=True, slots=True)
class RequestShare:
    """One request's part in the batch."""

    tenant: str
    client_request_id: str
    request_id: str
    """The ledger's own id."""
    energy_uj: int
    half_width_uj: int
    parts_uj: dict[str, float]
    """The share by PARTS; {} where it was sampled or the batch's model is not on record."""
    last_uj: float | None
    """What it adds to all others, at least; None where the model's terms do not say."""
    first_uj: float | None
    """What it would have drawn alone, about."""
    prefill_tokens: int
    decode_tokens: int
    emitted_tokens: int
    iterations: int
    mean_context: float
    """Tokens in the KV cache, on average over its iterations."""

    @property
    def shared_uj(self) -> float | None:
        """Its part of what the iterations cost whoever is served."""
        return self.parts_uj.get("fixed")

    @property
    def own_uj(self) -> float | None:
        """What its own tokens and context add."""
        return None if self.shared_uj is None else self.energy_uj - self.shared_uj


@dataclass(frozen=True, slots=True)
class OpenedBatch:
    """A batch with its requests, the largest share first."""

    batch_id: str
    group_id: str
    model: str
    gpu_model: str
    start: datetime
    seconds: float
    metered_uj: int
    request_uj: int
    iterations: int
    tenants: int
    method: str
    permutations: int
    model_version: str
    model_origin: str
    fixed_j: float | None
    """What one iteration costs before anyone is served, by the model; None where it is not on record."""
    shares: tuple[RequestShare, ...]


def telling_batch(client: "Client", period: Period) -> str | None:
    """The id of a batch worth looking at; None where no request was served."""
    rows = client.query(TELLING, parameters=period.parameters).result_rows
    return str(rows[0][0], "ascii") if rows else None


def open_batch(client: "Client", batch_id: str) -> OpenedBatch | None:
    """The batch `batch_id` as last booked; None where there is none of that name."""
    found = client.query(BATCH, parameters={"batch_id": batch_id}).result_rows
    if not found:
        return None
    (
        _, group_id, model, gpu_model, start_ns, end_ns, metered_uj, request_uj, iterations, _, tenants, method,
        permutations, model_version, model_origin, scale, coefficients,
    ) = found[0]  # fmt: skip
    fixed_j = coefficients.get("fixed_j")
    rows = client.query(SHARES, parameters={"batch_id": batch_id}).result_rows
    return OpenedBatch(
        batch_id=batch_id,
        group_id=group_id,
        model=model,
        gpu_model=gpu_model,
        start=datetime.fromtimestamp(start_ns / 1e9, UTC),
        seconds=(end_ns - start_ns) / 1e9,
        metered_uj=metered_uj,
        request_uj=request_uj,
        iterations=iterations,
        tenants=tenants,
        method=method,
        permutations=permutations,
        model_version=model_version,
        model_origin=model_origin,
        fixed_j=fixed_j,
        shares=tuple(_share(row, coefficients, scale, len(rows)) for row in rows),
    )


def _share(row: Sequence[Any], coefficients: dict[str, float], scale: float, size: int) -> RequestShare:
    (
        tenant, client_request_id, _, _, energy_uj, half_width_uj, prefill, decode, emitted, iterations, context,
        request_id, terms,
    ) = row  # fmt: skip
    last_uj, first_uj = _marginals_uj(coefficients, terms, scale) if size > 1 else (None, None)
    return RequestShare(
        tenant=tenant,
        client_request_id=client_request_id,
        request_id=request_id,
        energy_uj=energy_uj,
        half_width_uj=half_width_uj,
        parts_uj=_parts_uj(coefficients, terms, scale),
        last_uj=last_uj,
        first_uj=first_uj,
        prefill_tokens=prefill,
        decode_tokens=decode,
        emitted_tokens=emitted,
        iterations=iterations,
        mean_context=context / iterations if iterations else 0.0,
    )


def _parts_uj(coefficients: dict[str, float], terms: Sequence[float], scale: float) -> dict[str, float]:
    if not coefficients or not scale or len(terms) != len(COEFFICIENTS):
        return {}
    drawn = [
        scale * coefficients.get(name, 0.0) * term for name, term in zip(COEFFICIENTS, terms, strict=True)
    ]
    parts = {part: sum(drawn[place] for place in places) for part, places in PARTS.items()}
    return {part: uj for part, uj in parts.items() if uj}


def _marginals_uj(
    coefficients: dict[str, float], terms: Sequence[float], scale: float
) -> tuple[float, float] | tuple[None, None]:
    """(what it adds when it joins last, when it joins first); terms beyond a knee depend on who else is there."""
    beyond = coefficients.get("excess_token_j", 0.0) or any(name.startswith("hinge") for name in coefficients)
    if not coefficients or not scale or beyond or len(terms) != len(COEFFICIENTS):
        return None, None
    own_j = sum(coefficients.get(name, 0.0) * terms[i] for i, name in enumerate(COEFFICIENTS[:5]) if i)
    iterations, prefill = terms[1], terms[2]
    unused = 1.0 - coefficients.get("expert_fraction", 0.0)
    # Alone, an iteration reads the experts that its own tokens touch; tokens are taken as spread evenly.
    touched = 1.0 - unused ** (1.0 + prefill / iterations) if iterations else 0.0
    alone_j = iterations * (coefficients.get("fixed_j", 0.0) + coefficients.get("experts_j", 0.0) * touched)
    return scale * own_j, scale * (own_j + alone_j)
