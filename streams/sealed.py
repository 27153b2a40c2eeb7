"""What the manifest says is sealed already, and whether a frame comes too late for it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from schemas.topics import ENERGY
from streams.messages import Message

__all__ = ["Frontier", "SealedWindow", "has_missed"]


@dataclass(frozen=True, slots=True)
class SealedWindow:
    """A sealed batch's bounds and the last offsets that went into it."""

    start_ns: int
    end_ns: int
    last_iteration_offset: int
    last_energy_offset: int


@dataclass(frozen=True, slots=True)
class Frontier:
    """What the manifest says was sealed, for the partitions at hand."""

    sealed_until_ns: Mapping[str, int] = field(default_factory=dict)
    """By group: the end of its last sealed window."""
    replayable: Mapping[str, tuple[SealedWindow, ...]] = field(default_factory=dict)
    """By group: sealed windows whose frames may be read again, because their offsets are not committed."""
    positions: Mapping[tuple[str, int], int] = field(default_factory=dict)
    """By topic and partition: the offset at which reading resumes; any may come first where it is not known."""


def has_missed(
    sealed_ns: int, replayable: Iterable[SealedWindow], message: Message, start_ns: int, end_ns: int
) -> bool:
    """Whether a part of `[start_ns, end_ns)`, of which the message's frame speaks, was sealed without it.

    sealed_ns: where the first unsealed window of the frame's group begins.
    """
    missed_ns = min(end_ns, sealed_ns) - start_ns
    for window in replayable:
        last = window.last_energy_offset if message.topic == ENERGY else window.last_iteration_offset
        if message.offset <= last:
            missed_ns -= max(0, min(end_ns, window.end_ns) - max(start_ns, window.start_ns))
    return missed_ns > 0
