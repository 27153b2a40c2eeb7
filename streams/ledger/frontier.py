"""What the manifest says is sealed: where a worker resumes, and what it may read a second time."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

from clickhouse_connect.driver.exceptions import ClickHouseError

from schemas.errors import DatabaseUnavailable
from streams.sealed import Frontier, SealedWindow

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

__all__ = ["read_frontier"]

# Answered by the projection `sealed_until`: one row per group and part, however long the history.
SEALED: Final = """
SELECT group_id, max(end_ns)
FROM batches
WHERE topic_partition IN {partitions:Array(UInt32)}
GROUP BY group_id
"""

# A window seen by several revisions was made of all their frames. The offsets' minmax indexes leave only the
# granules that hold the newest windows of each group.
REPLAYABLE: Final = """
SELECT group_id, start_ns, end_ns, max(iteration_offsets.2), max(energy_offsets.2)
FROM batches
WHERE topic_partition = {partition:UInt32}
    AND (iteration_offsets.2 >= {iterations:Int64} OR energy_offsets.2 >= {energy:Int64})
GROUP BY group_id, start_ns, end_ns
ORDER BY group_id, start_ns
"""


def read_frontier(
    client: "Client", partitions: Sequence[int], committed: Mapping[int, tuple[int, int]]
) -> Frontier:
    """Read how far each group of `partitions` is sealed, and the windows whose frames may be read again.

    committed: by partition, the offsets from which iterations and energy will be read: the group's committed
        ones, or the oldest that the broker retains where these are later. A window is replayable if any of
        its frames lies at or after them, so the answer is as long as what is re-read, not as the history;
        with offsets far behind it is as long as the history.

    Raises DatabaseUnavailable if the database does not answer; asking again is safe.
    """
    if not partitions:
        return Frontier()
    try:
        sealed = client.query(SEALED, parameters={"partitions": sorted(partitions)}).result_rows
        replayable: dict[str, list[SealedWindow]] = defaultdict(list)
        for partition in sorted(partitions):
            iterations, energy = committed[partition]
            found = client.query(
                REPLAYABLE, parameters={"partition": partition, "iterations": iterations, "energy": energy}
            )
            for group_id, *window in found.result_rows:
                replayable[group_id].append(SealedWindow(*window))
    except (ClickHouseError, OSError) as error:
        said = str(error).splitlines()[0][:300] if str(error) else type(error).__name__
        raise DatabaseUnavailable(f"could not read what is sealed from batches: {said}") from error
    return Frontier(
        sealed_until_ns={str(group_id): int(end_ns) for group_id, end_ns in sealed},
        replayable={group_id: tuple(windows) for group_id, windows in replayable.items()},
    )
