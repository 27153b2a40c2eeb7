"""Energy models in force as rows of `energy_models`: what anyone needs to recompute a batch that names one."""

from collections.abc import Iterable

import pyarrow as pa

from streams.batch import Batch
from streams.ledger.tables import arrow_schema
from streams.models import model_in_force
from streams.side_inputs import SideInputs

__all__ = ["model_table"]


def model_table(batches: Iterable[Batch], side: SideInputs) -> pa.Table:
    """One row per engine class and model version that split any of `batches`; repeats are the table's to drop."""
    rows = {}
    for batch in batches:
        for lines in batch.requests:
            descriptor = side.engine(lines.window.engine_id, batch.start_ns)
            assert descriptor is not None, f"{lines.window.engine_id} was booked without a descriptor"
            model = model_in_force(descriptor, side, batch.start_ns)
            published = side.model(descriptor.engine_class, batch.start_ns)
            rows[descriptor.engine_class, model.version] = {
                "engine_class": descriptor.engine_class,
                "model_version": model.version,
                "effective_from_ns": published.effective_from_ns if published else 0,
                "origin": model.origin,
                # As published: the covariance is in the order of these.
                "coefficients": list(
                    (published.coefficients if published else model.energy.coefficients()).items()
                ),
                "fit_error": model.relative_error,
                "covariance": [list(row) for row in published.covariance] if published else [],
            }
    return pa.Table.from_pylist(list(rows.values()), arrow_schema("energy_models"))
