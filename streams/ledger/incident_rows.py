"""What is not a batch, as Arrow tables: loads, frames that came late, messages that could not be booked."""

from collections.abc import Iterable

import pyarrow as pa

from schemas.side_inputs import Load
from streams.ledger.tables import arrow_schema
from streams.messages import DeadLetter, LateFrame
from streams.side_inputs import SideInputs

__all__ = ["dead_letter_table", "late_frame_table", "load_table"]


def load_table(loads: Iterable[Load], side: SideInputs) -> pa.Table:
    """Rows of `loads`, each with the N of the policy in force when it began."""
    rows = [
        {
            **{name: getattr(load, name) for name in Load.__dataclass_fields__},
            "event_time": load.start_ns // 1_000_000,
            "amortised_over": side.amortised_over(load.start_ns),
        }
        for load in loads
    ]
    return pa.Table.from_pylist(rows, arrow_schema("loads"))


def late_frame_table(late_frames: Iterable[LateFrame]) -> pa.Table:
    """Rows of `late_frames`: where the repair job finds each frame."""
    rows = [
        {
            "topic": late.message.topic,
            "topic_partition": late.message.partition,
            "topic_offset": late.message.offset,
            "group_id": late.group_id,
            "engine_id": late.engine_id,
            "incarnation": late.incarnation,
            "sequence": late.sequence,
            "start_ns": late.start_ns,
            "end_ns": late.end_ns,
            "event_time": late.start_ns // 1_000_000,
            "arrived_at": late.message.arrival_ns // 1_000_000,
        }
        for late in late_frames
    ]
    return pa.Table.from_pylist(rows, arrow_schema("late_frames"))


def dead_letter_table(dead_letters: Iterable[DeadLetter]) -> pa.Table:
    """Rows of `dead_letters`: the original bytes and what was wrong with them."""
    schema = arrow_schema("dead_letters")
    # Any bytes: ClickHouse has one type for them and for text.
    for name in ("key", "payload"):
        schema = schema.set(schema.get_field_index(name), pa.field(name, pa.binary(), nullable=False))
    rows = [
        {
            "topic": letter.message.topic,
            "topic_partition": letter.message.partition,
            "topic_offset": letter.message.offset,
            "key": letter.message.key,
            "reason": letter.reason,
            "detail": letter.detail,
            "payload": letter.message.value,
            "arrived_at": letter.message.arrival_ns // 1_000_000,
        }
        for letter in dead_letters
    ]
    return pa.Table.from_pylist(rows, schema)
