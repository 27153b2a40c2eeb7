"""A fleet's messages as its agents send them in one run: when, in which order, and what becomes of them."""

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from schemas.energy import EnergyFrame
from schemas.frames import decode_energy, decode_iterations, encode_energy, encode_iterations
from schemas.iterations import IterationFrame
from schemas.topics import ENERGY, ITERATIONS
from tests.faults.plan import DESTRUCTIVE, MessageFault
from tests.rig.streams import Record

__all__ = ["Destroyed", "Disturbed", "Sending", "disturb"]

LATEST_S: Final = 40.0
"""Event seconds by which a delayed frame comes late: far beyond the wait, "minutes" at this scale."""
WAIT_S: Final = 0.4
"""Disorder that every window waits for."""
AHEAD_NS: Final = 60_000_000_000


@dataclass(frozen=True, slots=True)
class Sending:
    """One message on its way, and when it goes (event time)."""

    at_ns: int
    topic: str
    key: bytes
    value: bytes


@dataclass(frozen=True, slots=True)
class Destroyed:
    """A frame whose words were lost, and the time it spoke of."""

    kind: str
    topic: str
    group_id: str
    start_ns: int
    end_ns: int


@dataclass(frozen=True, slots=True)
class Disturbed:
    """What is sent instead of the clean stream."""

    sendings: tuple[Sending, ...]
    """In order of time."""
    destroyed: tuple[Destroyed, ...]
    untouched: tuple[Record, ...]
    """Frames that no fault has hit."""


def disturb(clean: Sequence[Record], faults: Sequence[MessageFault], seed: int) -> Disturbed:
    """Apply the faults; what is not hit goes as it would, in event order."""
    rng = random.Random(seed)
    sendings = [Sending(one.at_ns, one.topic, one.key, one.value) for one in clean]
    frames = [index for index, one in enumerate(clean) if one.topic in (ITERATIONS, ENERGY)]
    hit: set[int] = set()
    lost: list[Destroyed] = []
    extra: list[Sending] = []
    for fault in faults:
        at = round(fault.at * (len(frames) - 1))
        while frames[at] in hit:
            at = (at + 1) % len(frames)
        index = frames[at]
        hit.add(index)
        sending = sendings[index]
        match fault.kind:
            case "repeated":
                extra.append(replace(sending, at_ns=sending.at_ns + round(fault.size * WAIT_S * 1e9)))
            case "swapped":
                sendings[index] = replace(sending, at_ns=sending.at_ns + round(fault.size * WAIT_S * 1e9))
            case "delayed":
                sendings[index] = replace(
                    sending, at_ns=sending.at_ns + round((0.02 + fault.size) * LATEST_S * 1e9)
                )
            case kind:
                assert kind in DESTRUCTIVE
                sendings[index] = replace(sending, value=_broken(sending, kind, rng))
                lost.append(_destroyed(sending, kind))
    return Disturbed(
        sendings=tuple(sorted([*sendings, *extra], key=lambda one: one.at_ns)),
        destroyed=tuple(lost),
        untouched=tuple(clean[index] for index in frames if index not in hit),
    )


def _frame(topic: str, value: bytes) -> IterationFrame | EnergyFrame:
    return decode_iterations(value) if topic == ITERATIONS else decode_energy(value)


def _destroyed(sending: Sending, kind: str) -> Destroyed:
    frame = _frame(sending.topic, sending.value)
    return Destroyed(kind, sending.topic, frame.group_id, frame.start_ns, frame.end_ns)


def _broken(sending: Sending, kind: str, rng: random.Random) -> bytes:
    value = sending.value
    match kind:
        case "bit_flipped":
            at = rng.randrange(len(value))
            return value[:at] + bytes([value[at] ^ (1 << rng.randrange(8))]) + value[at + 1 :]
        case "truncated":
            return value[: rng.randrange(len(value))]
        case "other_version":
            return value[:2] + bytes([rng.choice((0, 2, 255))]) + value[3:]
        case _:
            return _ahead(_frame(sending.topic, sending.value))


def _ahead(frame: IterationFrame | EnergyFrame) -> bytes:
    """The frame as a node would send it whose clock runs a minute ahead."""
    if isinstance(frame, IterationFrame):
        named = ("start_ns", "end_ns", "watermark_ns", "iteration_start_ns", "iteration_end_ns")
        return encode_iterations(replace(frame, **{name: getattr(frame, name) + AHEAD_NS for name in named}))
    metered = ("start_ns", "end_ns", "watermark_ns", "reading_time_ns")
    return encode_energy(replace(frame, **{name: getattr(frame, name) + AHEAD_NS for name in metered}))
