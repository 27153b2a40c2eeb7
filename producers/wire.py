"""The conversation between a hook and its node agent over a Unix stream socket.

Each message is a four-byte length (little-endian, of what follows), one byte of type, and the body. The hook
speaks first (HELLO); the agent answers WELCOME or REFUSED. Frames are kept by the hook until the agent has
acknowledged them as spooled, and sent again after a reconnection: the agent may see a frame twice, never
half.
"""

import json
import struct
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, Any, Final, TypeVar

from producers.hooks.contract import EngineFacts
from schemas.errors import MalformedMessage
from schemas.side_inputs import Load

if TYPE_CHECKING:
    from producers.agent.status import NodeStatus

__all__ = [
    "MAX_MESSAGE_BYTES",
    "PROTOCOL",
    "Frame",
    "Hello",
    "Kind",
    "MessageReader",
    "Off",
    "Refused",
    "Welcome",
    "ack",
    "frame_message",
    "json_message",
    "message",
    "read_ack",
    "read_frame",
    "read_json",
]

PROTOCOL: Final = 1

MAX_MESSAGE_BYTES: Final = 8 << 20
"""A frame of 0.5 s is some 5 kB, 500 kB at worst (4,096 requests, all new); what is larger is not ours."""

HEADER: Final = struct.Struct("<IB")
FRAME_HEADER: Final = struct.Struct("<QI")
ACK: Final = struct.Struct("<Q")


class Kind(IntEnum):
    """What a message is."""

    HELLO = 1
    WELCOME = 2
    REFUSED = 3
    FRAME = 4
    LOAD = 5
    OFF = 6
    ACK = 7
    STATUS = 8
    """Asks the agent what it knows, and is its answer: JSON. Anyone whom it lets in may ask."""


KINDS: Final = {int(kind): kind for kind in Kind}


@dataclass(frozen=True, slots=True)
class Hello:
    """The hook introduces its engine."""

    protocol: int
    incarnation: str
    incarnation_start_ns: int
    engine_id: str
    """As the hook names it until the agent answers."""
    facts: EngineFacts


@dataclass(frozen=True, slots=True)
class Welcome:
    """The agent's names for the engine, sent after HELLO and whenever they change."""

    naming: int
    """Frames repeat it, so that the agent knows which names they carry."""
    engine_id: str
    group_id: str


@dataclass(frozen=True, slots=True)
class Refused:
    """The agent will not take this engine's frames; the hook logs the reason and tries again later."""

    reason: str


@dataclass(frozen=True, slots=True)
class Off:
    """The hook has stopped recording for good; the engine's further energy is unobserved."""

    reason: str


@dataclass(frozen=True, slots=True)
class Frame:
    """An encoded IterationFrame on its way."""

    sequence: int
    naming: int
    """The Welcome whose names it carries; 0 for the hook's own."""
    payload: bytes


class MessageReader:
    """Cuts a byte stream into messages; holds at most one incomplete message."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[tuple[Kind, bytes]]:
        """Messages completed by `data`. MalformedMessage: the stream is not ours and must be closed."""
        buffer = self._buffer
        buffer += data
        start = 0
        while len(buffer) - start >= HEADER.size:
            length, kind = HEADER.unpack_from(buffer, start)
            if not 1 <= length <= MAX_MESSAGE_BYTES:
                raise MalformedMessage(f"message length {length}: not within 1 and {MAX_MESSAGE_BYTES}")
            if kind not in KINDS:
                raise MalformedMessage(f"message type {kind}: unknown; hook and agent differ in version")
            end = start + HEADER.size - 1 + length
            if len(buffer) < end:
                break
            yield KINDS[kind], bytes(buffer[start + HEADER.size : end])
            start = end
        del buffer[:start]


def message(kind: Kind, body: bytes) -> bytes:
    """A message ready to send."""
    return HEADER.pack(1 + len(body), kind) + body


def json_message(kind: Kind, value: "Hello | Welcome | Refused | Off | Load | NodeStatus") -> bytes:
    """A message whose body is one dataclass as JSON."""
    return message(kind, json.dumps(asdict(value), separators=(",", ":")).encode())


T = TypeVar("T", Hello, Welcome, Refused, Off, Load)


def read_json(cls: type[T], body: bytes) -> T:
    """The dataclass in a body; MalformedMessage names what does not fit."""
    try:
        fields: dict[str, Any] = json.loads(body)
        if cls is Hello:
            facts = fields["facts"]
            fields["facts"] = EngineFacts(**{**facts, "gpu_uuids": tuple(facts["gpu_uuids"])})
        return cls(**fields)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise MalformedMessage(
            f"{cls.__name__} message: {error}; hook and agent differ in version"
        ) from error


def frame_message(frame: Frame) -> bytes:
    """A FRAME message."""
    return message(Kind.FRAME, FRAME_HEADER.pack(frame.sequence, frame.naming) + frame.payload)


def read_frame(body: bytes) -> Frame:
    """The frame in a FRAME message's body."""
    if len(body) < FRAME_HEADER.size:
        raise MalformedMessage(f"frame message of {len(body)} bytes: shorter than its header")
    sequence, naming = FRAME_HEADER.unpack_from(body)
    return Frame(sequence, naming, body[FRAME_HEADER.size :])


def ack(next_sequence: int) -> bytes:
    """All frames below `next_sequence` are on the agent's disk."""
    return message(Kind.ACK, ACK.pack(next_sequence))


def read_ack(body: bytes) -> int:
    """The sequence below which the agent has everything."""
    if len(body) != ACK.size:
        raise MalformedMessage(f"acknowledgement of {len(body)} bytes: {ACK.size} expected")
    return int(ACK.unpack(body)[0])
