"""How sure the sum of a tenant's energy is: errors in common add up, independent ones add in squares.

As the view `tenant_certainty_between`, over the tenant's rows only: the database adds up by engine class and
metering group, of which a fleet has few.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from streams.answers.report_queries import AS_OF, IN_PERIOD, tenant_batches
from streams.carbon.grams import gpu_scope
from streams.carbon.in_force import Factors
from streams.carbon.rows import read_factors
from streams.uncertainty.sums import Z_90

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

__all__ = ["Certainty", "tenant_certainty"]

ERRORS: Final = f"""
SELECT
    engine_class, group_id, gpu_model, max(gpus), sum(uj), sumForEach(loadings), sum(sampling), sum(edges)
FROM (
    SELECT
        batch.engine_class AS engine_class, batch.group_id AS group_id, batch.gpu_model AS gpu_model,
        any(batch.gpus) AS gpus, sum(toFloat64(line.energy_uj)) AS uj,
        sumForEach(arrayMap(x -> toFloat64(x), line.model_loadings)) AS loadings,
        sum(pow(line.sampling_uj, 2)) AS sampling, pow(uj * any(batch.edge_error), 2) AS edges
    FROM (
        SELECT event_time, batch_id, revision, inputs, energy_uj, model_loadings, sampling_uj
        FROM ledger FINAL
        WHERE tenant = {{tenant:String}} AND account = 'request' AND {IN_PERIOD} AND stored_at <= {AS_OF}
    ) AS line
    INNER JOIN {
    tenant_batches(
        "event_time, batch_id, revision, inputs, engine_class, group_id, gpu_model, gpus, edge_error"
    )
} AS batch
        ON line.event_time = batch.event_time AND line.batch_id = batch.batch_id AND line.revision = batch.revision
        AND line.inputs = batch.inputs
    GROUP BY line.event_time, line.batch_id, engine_class, group_id, gpu_model
)
GROUP BY engine_class, group_id, gpu_model
ORDER BY engine_class, group_id, gpu_model
"""  # noqa: S608 - constants of this module


@dataclass(frozen=True, slots=True)
class Certainty:
    """Half widths of the 90 % interval of a tenant's energy, microjoules."""

    split_uj: float
    """By the energy model's errors, sampling and counter edges: what remains when the meters are taken as true."""
    meter_uj: float | None
    """By the meters' own accuracy; None where no figure for them is on record."""


def tenant_certainty(client: "Client", parameters: dict[str, Any]) -> Certainty | None:
    """Of the tenant's requests; `parameters` are tenant, from_ms, to_ms and as_of. None without requests."""
    rows = client.query(ERRORS, parameters=parameters).result_rows
    if not rows:
        return None
    by_class: dict[tuple[str, str], list[list[float]]] = {}
    for engine_class, _, gpu_model, _, _, loadings, _, _ in rows:
        by_class.setdefault((engine_class, gpu_model), []).append(loadings)
    variance = sum(float(np.square(np.sum(parts, axis=0)).sum()) for parts in by_class.values())
    variance += sum(float(sampling) + float(edges) for *_, sampling, edges in rows)
    meters = list(
        _meter_variances(rows, Factors(read_factors(client, parameters["as_of"])), parameters["to_ms"])
    )
    return Certainty(
        split_uj=Z_90 * float(variance**0.5),
        meter_uj=Z_90 * float(sum(meters) ** 0.5) if not np.isnan(meters).any() else None,
    )


def _meter_variances(rows: Sequence[Sequence[Any]], factors: Factors, to_ms: int) -> Iterator[float]:
    """Of each kind of accelerator: its devices are off independently, its generation in common."""
    by_gpu: dict[str, list[tuple[float, int]]] = {}
    for _, _, gpu_model, gpus, energy_uj, *_ in rows:
        by_gpu.setdefault(gpu_scope(factors, gpu_model), []).append((energy_uj, gpus))
    for gpu, groups in by_gpu.items():
        device, generation = (
            factors.value(kind, gpu, to_ms * 1_000_000) for kind in ("meter_device", "meter_generation")
        )
        yield sum((uj * device) ** 2 / max(gpus, 1) for uj, gpus in groups)
        yield (sum(uj for uj, _ in groups) * generation) ** 2
