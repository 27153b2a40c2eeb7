"""What an energy model is fitted on: the ledger's own windows of an engine class."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

import numpy as np
from clickhouse_connect.driver.exceptions import ClickHouseError

from schemas.errors import DatabaseUnavailable
from streams.epoch_fit import FitWindows
from streams.meter_habits import OWED
from streams.uncertainty.sensors import sensor

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

__all__ = ["read_fit_windows"]

MOST_WINDOWS: Final = 5000
"""The newest so many: a fit has a dozen coefficients, and a class may have a thousand engines."""

# Without loads, overhead and gaps the meter is what the model describes: iterations and idle time. What the model
# itself estimated (tier 2), or a counter saw in part, teaches it nothing. Ordered by content, so that the same
# ledger gives the same fit.
WINDOWS: Final = """
SELECT
    start_ns, features, metered_uj, group_id, if(end_before = start_ns, features_before, map()) AS before, gpu_model
FROM (
    SELECT
        *,
        lagInFrame(end_ns) OVER in_time AS end_before,
        lagInFrame(features) OVER in_time AS features_before
    FROM current_batches
    WHERE engine_class = {engine_class:String}
        AND event_time >= fromUnixTimestamp64Nano({from_ns:Int64})
        AND event_time < fromUnixTimestamp64Nano({to_ns:Int64})
        AND start_ns >= {from_ns:Int64} AND end_ns <= {to_ns:Int64}
    WINDOW in_time AS (PARTITION BY group_id ORDER BY start_ns)
)
WHERE iterations > 0 AND metered_uj > 0 AND tier = 3 AND unmetered_ns = 0
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
        features=[_own(features) for _, features, *_ in oldest_first],
        energy_j=np.asarray([metered_uj / 1e6 for _, _, metered_uj, *_ in oldest_first]),
        start_ns=np.asarray([start_ns for start_ns, *_ in oldest_first], np.int64),
        group=tuple(group_id for _, _, _, group_id, *_ in oldest_first),
        owed=tuple(_owed(before, features, gpu) for _, features, _, _, before, gpu in oldest_first),
    )


def _own(features: Mapping[str, float]) -> dict[str, float]:
    """What the window itself did."""
    return {name: value for name, value in features.items() if not name.startswith(OWED)}


def _owed(before: Mapping[str, float], features: Mapping[str, float], gpu_model: str) -> dict[str, float]:
    """What a late counter owed at the window's start, the end of the window before, minus what it owes at its end.

    Nothing where the window before is not on record: its own debt alone would look like less work.
    """
    if not before:
        return {}
    then, now = (_debt(window, sensor(gpu_model).average_s) for window in (before, features))
    return {name: then.get(name, 0.0) - now.get(name, 0.0) for name in {*then, *now}}


def _debt(features: Mapping[str, float], average_s: float) -> dict[str, float]:
    owed = {name.removeprefix(OWED): value for name, value in features.items() if name.startswith(OWED)}
    return owed | {"idle_s": max(average_s / 2.0 - owed.pop("busy_s", 0.0), 0.0)}
