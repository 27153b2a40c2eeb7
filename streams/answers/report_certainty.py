"""How sure the sum of a tenant's energy is: errors in common add up, independent ones add in squares.

As the view `tenant_certainty_between`, over the tenant's rows only: the database adds up by engine class and
metering group, of which a fleet has few, from rollups where they hold.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from streams.answers.report_queries import AS_OF, TENANTS_ROWS, batches_of
from streams.answers.spans import Spans, in_spans, latest_run
from streams.carbon.grams import gpu_scope
from streams.carbon.in_force import Factors
from streams.carbon.rows import read_factors
from streams.uncertainty.sums import Z_90

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

__all__ = ["Certainty", "tenant_certainty"]

BATCH: Final = "event_time, batch_id, revision, inputs, engine_class, group_id, gpu_model, gpus, edge_error"

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
        WHERE {TENANTS_ROWS} AND stored_at <= {AS_OF}
    ) AS line
    INNER JOIN {batches_of(BATCH, TENANTS_ROWS, in_spans())} AS batch
        ON line.event_time = batch.event_time AND line.batch_id = batch.batch_id AND line.revision = batch.revision
        AND line.inputs = batch.inputs
    GROUP BY line.event_time, line.batch_id, engine_class, group_id, gpu_model
)
GROUP BY engine_class, group_id, gpu_model
ORDER BY engine_class, group_id, gpu_model
"""  # noqa: S608 - constants of this module

ERRORS_ROLLED: Final = f"""
SELECT
    engine_class, group_id, gpu_model, max(one.gpus), sum(one.energy_uj), sumForEach(one.loadings),
    sum(one.sampling_uj2), sum(one.edges_uj2)
FROM (
    SELECT *
    FROM certainty_hours
    WHERE tenant = {{tenant:String}} AND {in_spans("hour")} AND {latest_run("report_runs")}
    LIMIT 1 BY hour, run, engine_class, group_id, gpu_model
) AS one
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


def tenant_certainty(
    client: "Client", asked: dict[str, Any], rolled: Spans, left: Spans, to_ms: int
) -> Certainty | None:
    """Of the tenant's requests in the spans `rolled` (read from rollups) and `left`; None without requests.

    asked: tenant and as_of. The meters' figures are those in force at `to_ms`.
    """
    rows = [
        row
        for query, spans in ((ERRORS_ROLLED, rolled), (ERRORS, left))
        if spans
        for row in client.query(query, parameters=asked | spans.parameters).result_rows
    ]
    if not rows:
        return None
    by_class: dict[tuple[str, str], list[list[float]]] = {}
    for engine_class, _, gpu_model, _, _, loadings, _, _ in rows:
        by_class.setdefault((engine_class, gpu_model), []).append(loadings)
    variance = sum(float(np.square(_summed(parts)).sum()) for parts in by_class.values())
    variance += sum(float(sampling) + float(edges) for *_, sampling, edges in rows)
    meters = list(_meter_variances(rows, Factors(read_factors(client, asked["as_of"])), to_ms))
    return Certainty(
        split_uj=Z_90 * float(variance**0.5),
        meter_uj=Z_90 * float(sum(meters) ** 0.5) if not np.isnan(meters).any() else None,
    )


def _summed(parts: Sequence[Sequence[float]]) -> NDArray[np.float64]:
    """Element by element; shorter ones are followed by zeros, as sumForEach has it."""
    total = np.zeros(max(map(len, parts)))
    for part in parts:
        total[: len(part)] += part
    return total


def _meter_variances(rows: Sequence[Sequence[Any]], factors: Factors, to_ms: int) -> Iterator[float]:
    """Of each kind of accelerator: its devices are off independently, its generation in common."""
    by_group: dict[tuple[str, str, str], tuple[float, int]] = {}
    for engine_class, group_id, gpu_model, gpus, energy_uj, *_ in rows:
        group = engine_class, group_id, gpu_model
        known_uj, known_gpus = by_group.get(group, (0.0, 0))
        by_group[group] = known_uj + energy_uj, max(known_gpus, gpus)
    by_gpu: dict[str, list[tuple[float, int]]] = {}
    for (_, _, gpu_model), figures in by_group.items():
        by_gpu.setdefault(gpu_scope(factors, gpu_model), []).append(figures)
    for gpu, groups in by_gpu.items():
        device, generation = (
            factors.value(kind, gpu, to_ms * 1_000_000) for kind in ("meter_device", "meter_generation")
        )
        yield sum((uj * device) ** 2 / max(gpus, 1) for uj, gpus in groups)
        yield (sum(uj for uj, _ in groups) * generation) ** 2
