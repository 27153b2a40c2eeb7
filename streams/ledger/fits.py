"""What an energy model is fitted on: the ledger's own windows of an engine class."""

from typing import TYPE_CHECKING, Final

import numpy as np
from clickhouse_connect.driver.exceptions import ClickHouseError

from schemas.errors import DatabaseUnavailable
from streams.epoch_fit import FitWindows

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

__all__ = ["read_fit_windows"]

MOST_WINDOWS: Final = 5000
"""The newest so many: a fit has a dozen coefficients, and a class may have a thousand engines."""

# Without loads, overhead and gaps the meter is what the model describes: iterations and idle time. Ordered by
# content, so that the same ledger gives the same fit.
WINDOWS: Final = """
SELECT start_ns, features, metered_uj
FROM current_batches
WHERE engine_class = {engine_class:String}
    AND event_time >= fromUnixTimestamp64Nano({from_ns:Int64})
    AND event_time < fromUnixTimestamp64Nano({to_ns:Int64})
    AND start_ns >= {from_ns:Int64} AND end_ns <= {to_ns:Int64}
    AND iterations > 0 AND metered_uj > 0
    AND cold_start_uj = 0 AND overhead_uj = 0 AND unobserved_uj = 0
ORDER BY start_ns DESC, batch_id
LIMIT {most:UInt32}
"""


def read_fit_windows(client: "Client", engine_class: str, from_ns: int, to_ns: int) -> FitWindows:
    """Windows of `engine_class` inside `[from_ns, to_ns)`. Raises DatabaseUnavailable."""
    try:
        rows = client.query(
            WINDOWS,
            parameters={
                "engine_class": engine_class,
                "from_ns": from_ns,
                "to_ns": to_ns,
                "most": MOST_WINDOWS,
            },
        ).result_rows
    except (ClickHouseError, OSError) as error:
        said = str(error).splitlines()[0][:300] if str(error) else type(error).__name__
        raise DatabaseUnavailable(f"could not read windows of {engine_class} for a fit: {said}") from error
    oldest_first = rows[::-1]
    return FitWindows(
        features=[dict(features) for _, features, _ in oldest_first],
        energy_j=np.asarray([metered_uj / 1e6 for _, _, metered_uj in oldest_first]),
        start_ns=np.asarray([start_ns for start_ns, _, _ in oldest_first], np.int64),
    )
