"""Looks for token ids and words in what a hook sends: in every layer, in every width in which numbers are packed.

A single token id is a small number like any other; a run of planted ones in a row is no accident. So tests plant
sequences, down the prompts, along the answers and across requests, and a run of RUN of them anywhere is a leak.
"""

import re
import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import fields
from itertools import pairwise
from typing import Final

import numpy as np

from producers import wire
from schemas.envelope import ENERGY, ITERATIONS, unpack
from schemas.errors import InvalidMessage
from schemas.frames import decode_iterations
from schemas.iterations import IterationFrame

__all__ = ["PLANTED", "RUN", "leaks", "socket_layers", "topic_layers"]

PLANTED: Final = (409, 311, 487, 223, 461, 379, 433, 271)
"""Token ids of the tiny model, in an order that no counter has."""
RUN: Final = 4
"""Planted ids in a row that count: four of 512 tokens meet by chance once in 10^10 places."""

Layer = tuple[str, bytes]


def leaks(layers: Iterable[Layer], ids: Sequence[int], words: Sequence[str]) -> list[str]:
    """What was found of the planted ids and words, and in which layer."""
    shapes = list(packings(ids))
    found = []
    for name, data in layers:
        found += [f"{name}: the word {word}" for word in words if word.encode() in data]
        found += [f"{name}: ids as {shape}" for shape, pattern in shapes if pattern.search(data)]
    return found


def packings(ids: Sequence[int]) -> Iterator[tuple[str, re.Pattern[bytes]]]:
    """Every way in which RUN consecutive ids may lie in bytes, each as one pattern."""
    runs = [ids[at : at + RUN] for at in range(len(ids) - RUN + 1)]

    def any_of(parts: Iterable[bytes]) -> re.Pattern[bytes]:
        return re.compile(b"|".join(map(re.escape, parts)), re.DOTALL)

    for letter, most in (("B", 1 << 8), ("H", 1 << 16), ("I", 1 << 32), ("Q", 1 << 64)):
        if max(ids) < most:
            for order in "<>":
                packed = [struct.pack(f"{order}{RUN}{letter}", *run) for run in runs]
                yield f"{order}{letter}", any_of(packed)
                yield f"{order}{letter} in hexadecimal", any_of(one.hex().encode() for one in packed)
    yield "varints", any_of(b"".join(map(varint, run)) for run in runs)
    yield "zigzag varints", any_of(b"".join(varint(2 * one) for one in run) for run in runs)
    deltas = [[after - before for before, after in pairwise(run)] for run in runs]
    yield (
        "differences",
        any_of(b"".join(varint(2 * d if d >= 0 else -2 * d - 1) for d in one) for one in deltas),
    )
    yield "characters", any_of("".join(map(chr, run)).encode() for run in runs)
    decimal = (rb"\D{1,4}".join(str(one).encode() for one in run) for run in runs)
    yield "decimal text", re.compile(b"|".join(rb"(?<!\d)" + one + rb"(?!\d)" for one in decimal))


def varint(value: int) -> bytes:
    """Seven bits a byte, the lowest first."""
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes((*out, value))


def socket_layers(received: bytes) -> Iterator[Layer]:
    """Everything that crossed a hook's socket: the stream, each message, each frame unpacked, each column."""
    yield "the stream", received
    for number, (kind, body) in enumerate(wire.MessageReader().feed(received)):
        yield f"message {number} ({kind.name})", body
        if kind is wire.Kind.FRAME:
            yield from frame_layers(f"frame {number}", wire.read_frame(body).payload)


def topic_layers(messages: Iterable[tuple[bytes, bytes]]) -> Iterator[Layer]:
    """Everything that lies on a broker, keys and values, frames unpacked."""
    for number, (key, value) in enumerate(messages):
        yield f"key {number}", key
        yield f"message {number}", value
        yield from frame_layers(f"message {number}", value)


def frame_layers(name: str, message: bytes) -> Iterator[Layer]:
    """A frame's payload, and its columns as numbers; nothing for what is no frame."""
    for kind in (ITERATIONS, ENERGY):
        try:
            yield f"{name}, unpacked", unpack(kind, message)
        except InvalidMessage:
            continue
        if kind == ITERATIONS:
            yield from column_layers(name, decode_iterations(message))


def column_layers(name: str, frame: IterationFrame) -> Iterator[Layer]:
    """Each column's numbers side by side in 64 bits, as they are and as differences."""
    for field in fields(frame):
        values = getattr(frame, field.name)
        if isinstance(values, np.ndarray) and values.size:
            wide = values.astype(np.int64)
            yield f"{name}, {field.name}", wide.tobytes()
            yield f"{name}, {field.name} by differences", np.diff(wide).tobytes()
