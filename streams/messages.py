"""Records of the topics as the pipeline takes them: what was said, what could not be booked, and what came late."""

from dataclasses import dataclass
from typing import Final

from schemas.energy import EnergyFrame
from schemas.errors import InvalidMessage, UnknownEngine
from schemas.packed_iterations import PackedIterations
from streams.side_inputs import SideInputs

__all__ = ["DeadLetter", "LateFrame", "Message", "late_frame", "must_be_of_node", "must_match_key"]

FUTURE_TOLERANCE_NS: Final = 10_000_000_000
"""An event dated later than this after its arrival is refused: one bad clock would seal every window."""


@dataclass(frozen=True, slots=True)
class Message:
    """One record of a topic; `arrival_ns` is the broker's append time."""

    topic: str
    partition: int
    offset: int
    arrival_ns: int
    key: bytes
    value: bytes


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A message that could not be booked, and why."""

    message: Message
    reason: str
    detail: str


@dataclass(frozen=True, slots=True)
class LateFrame:
    """A frame whose window was already sealed, by position: the repair job reads it from the topic."""

    message: Message
    group_id: str
    engine_id: str
    incarnation: str
    sequence: int
    start_ns: int
    end_ns: int


def late_frame(message: Message, frame: PackedIterations | EnergyFrame, engine_id: str) -> LateFrame:
    """The frame of `message` as a late one; `engine_id` is empty for an energy frame."""
    return LateFrame(
        message=message,
        group_id=frame.group_id,
        engine_id=engine_id,
        incarnation=frame.incarnation,
        sequence=frame.sequence,
        start_ns=frame.start_ns,
        end_ns=frame.end_ns,
    )


def must_match_key(message: Message, frame: PackedIterations | EnergyFrame) -> None:
    """Raise InvalidMessage for a frame under a foreign key, or dated later than it can be."""
    if message.key != frame.group_id.encode():
        key = message.key.decode("utf-8", "replace")
        raise InvalidMessage(f"key {key!r} is not the frame's group_id {frame.group_id!r}")
    ahead_ns = frame.end_ns - message.arrival_ns
    if ahead_ns > FUTURE_TOLERANCE_NS:
        raise InvalidMessage(
            f"end_ns {frame.end_ns} lies {ahead_ns / 1e9:.1f} s after the message's arrival: "
            "set the node's clock (chrony or ntpd)"
        )


def must_be_of_node(frame: PackedIterations, side: SideInputs) -> None:
    """Raise UnknownEngine for a frame of an engine that nobody described, or never said to be where its group is.

    Who may publish for a node's groups may not speak for an engine elsewhere. Engines that begin to share a GPU
    change their group's name and not its place; descriptors may be read anew before the frame is refused.
    """
    if frame.engine_id not in side.engines:
        raise UnknownEngine(
            f"engine_id {frame.engine_id!r} has no descriptor: publish one to wattledger.engines.v1"
        )
    place = frame.group_id.rpartition("/")[0]
    described = side.engines[frame.engine_id].facts
    if not any(descriptor.group_id.rpartition("/")[0] == place for descriptor in reversed(described)):
        raise UnknownEngine(
            f"engine_id {frame.engine_id!r} has no descriptor with a group_id under {place!r}: publish one to "
            "wattledger.engines.v1"
        )
