"""One batch opened up: who was in it, and of what each share is made.

A share has two parts: a request's part of what its iterations cost whoever is served (reading the weights), and
what its own tokens and context add. The first is fixed_j · Σ 1/n over its iterations, scaled to the meter as
the whole split is (`shared_iterations` of the ledger, `fixed_j` of the batch's model); the second is the rest.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from streams.answers.periods import Period

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

__all__ = ["OpenedBatch", "RequestShare", "open_batch", "telling_batch"]

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
    batch.model_version, batch.model_origin, batch.modelled_uj, batch.features['overhead_iterations'],
    model.coefficients
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
    emitted_tokens, iterations, context_sum, shared_iterations
FROM current_ledger
WHERE batch_id = {batch_id:String} AND account = 'request'
ORDER BY energy_uj DESC, engine_id, incarnation, ordinal
"""


@dataclass(frozen=True, slots=True)
class RequestShare:
    """One request's part in the batch."""

    tenant: str
    client_request_id: str
    energy_uj: int
    half_width_uj: int
    shared_uj: float | None
    """Its part of what the iterations cost whoever is served; None where the batch's model is not on record."""
    prefill_tokens: int
    decode_tokens: int
    emitted_tokens: int
    iterations: int
    mean_context: float
    """Tokens in the KV cache, on average over its iterations."""

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
        permutations, model_version, model_origin, modelled_uj, overhead_iterations, coefficients,
    ) = found[0]  # fmt: skip
    fixed_j = coefficients.get("fixed_j")
    # Energy of iterations without a request is modelled too, but apart: then the scale is not known from here.
    scale = request_uj / modelled_uj if modelled_uj and not overhead_iterations else None
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
        shares=tuple(_share(row, fixed_j, scale) for row in rows),
    )


def _share(row: Sequence[Any], fixed_j: float | None, scale: float | None) -> RequestShare:
    (
        tenant,
        client_request_id,
        _,
        _,
        energy_uj,
        half_width_uj,
        prefill,
        decode,
        emitted,
        iterations,
        context,
        parts,
    ) = row
    return RequestShare(
        tenant=tenant,
        client_request_id=client_request_id,
        energy_uj=energy_uj,
        half_width_uj=half_width_uj,
        shared_uj=None if fixed_j is None or scale is None else 1e6 * fixed_j * parts * scale,
        prefill_tokens=prefill,
        decode_tokens=decode,
        emitted_tokens=emitted,
        iterations=iterations,
        mean_context=context / iterations if iterations else 0.0,
    )
