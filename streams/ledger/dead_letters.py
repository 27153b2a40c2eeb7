"""The dead letters as the ledger holds them: what was refused, why, and whether it was published again."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from streams.ledger.query import rows_of

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

__all__ = ["Letter", "LetterGroup", "count_letters", "find_letters"]

# Bytes come as hexadecimal: drivers read a String as text.
FIND: Final = """
SELECT
    letter.topic, letter.topic_partition, letter.topic_offset, hex(key), reason, detail, hex(payload), arrived_at,
    copies.replayed
FROM (SELECT * FROM dead_letters FINAL) AS letter
LEFT JOIN (
    SELECT topic, topic_partition, topic_offset, count() AS replayed
    FROM dead_letter_replays
    GROUP BY topic, topic_partition, topic_offset
) AS copies
    ON letter.topic = copies.topic AND letter.topic_partition = copies.topic_partition
    AND letter.topic_offset = copies.topic_offset
WHERE ({topic:String} = '' OR letter.topic = {topic:String})
    AND ({reason:String} = '' OR reason = {reason:String})
    AND ({partition:Int64} < 0 OR letter.topic_partition = {partition:Int64})
    AND ({offset:Int64} < 0 OR letter.topic_offset = {offset:Int64})
    AND arrived_at >= fromUnixTimestamp64Nano({from_ns:Int64})
    AND ({replayed:UInt8} OR copies.replayed = 0)
ORDER BY arrived_at, letter.topic, letter.topic_partition, letter.topic_offset
LIMIT {most:UInt32}
"""

COUNT: Final = """
SELECT topic, reason, count(), min(arrived_at), max(arrived_at), any(detail)
FROM (SELECT * FROM dead_letters FINAL)
WHERE arrived_at >= fromUnixTimestamp64Nano({from_ns:Int64})
GROUP BY topic, reason
ORDER BY count() DESC
"""


@dataclass(frozen=True, slots=True)
class Letter:
    """One message that could not be booked."""

    topic: str
    partition: int
    offset: int
    key: bytes
    reason: str
    detail: str
    payload: bytes
    """The original bytes."""
    arrived_at: datetime
    replays: int
    """How often it was published again."""

    @property
    def position(self) -> str:
        """As the command line names it."""
        return f"{self.topic}/{self.partition}/{self.offset}"


@dataclass(frozen=True, slots=True)
class LetterGroup:
    """Dead letters of one topic with one reason."""

    topic: str
    reason: str
    count: int
    first_at: datetime
    last_at: datetime
    example: str


def find_letters(
    client: "Client",
    *,
    topic: str = "",
    reason: str = "",
    position: tuple[int, int] = (-1, -1),
    from_ns: int = 0,
    replayed: bool = True,
    most: int = 1000,
) -> Sequence[Letter]:
    """Dead letters in order of arrival. `position` is (partition, offset); `replayed` lets in those that were
    published again. Raises DatabaseUnavailable.
    """
    asked = {
        "topic": topic,
        "reason": reason,
        "partition": position[0],
        "offset": position[1],
        "from_ns": from_ns,
        "replayed": int(replayed),
        "most": most,
    }
    return [_letter(row) for row in rows_of(client, FIND, asked)]


def count_letters(client: "Client", *, from_ns: int = 0) -> Sequence[LetterGroup]:
    """How many of each topic and reason, most first. Raises DatabaseUnavailable."""
    return [LetterGroup(*row) for row in rows_of(client, COUNT, {"from_ns": from_ns})]


def _letter(row: Sequence[Any]) -> Letter:
    topic, partition, offset, key, reason, detail, payload, arrived_at, replays = row
    return Letter(
        topic,
        partition,
        offset,
        bytes.fromhex(key),
        reason,
        detail,
        bytes.fromhex(payload),
        arrived_at,
        replays,
    )
