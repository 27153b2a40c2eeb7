"""Protobuf's wire format walked in a compiled pass: messages as protobuf libraries write them, and no others.

A walk finds each field once, in ascending order and of the type its number stands for, or it finds that the message
is not plain; what such a message means is for the Protobuf library to say. What is found here means there the same.

Importing this needs Numba (the extra `worker` has it).
"""

from typing import Any, Final

import numpy as np
from google.protobuf.descriptor import FieldDescriptor
from numpy.typing import NDArray

from schemas.compiled import compiled
from schemas.limits import MAX_TEXT

__all__ = [
    "BEGIN",
    "END",
    "FIXED64",
    "TAG",
    "TEXT",
    "TEXTS",
    "VALUE",
    "VARINT",
    "fields_of",
    "kinds_of",
    "read_column",
    "read_varint",
]

Bytes = NDArray[np.uint8]
Int8s = NDArray[np.int8]
Int64s = NDArray[np.int64]

VARINT: Final = 1
FIXED64: Final = 2
TEXT: Final = 3
"""Text, bytes or a packed column: a length and so many bytes."""
TEXTS: Final = 4
"""The same, any number of times, of at most MAX_TEXT bytes each."""

VALUE: Final = 0
"""The number; of TEXTS, how many there are."""
TAG: Final = 1
"""Where the field's tag stands; of TEXTS, the first one's."""
BEGIN: Final = 2
"""Where the bytes begin; of TEXTS, the last one's."""
END: Final = 3
"""Where they end."""


_NUMBERS: Final = {
    FieldDescriptor.TYPE_UINT32: VARINT,
    FieldDescriptor.TYPE_UINT64: VARINT,
    FieldDescriptor.TYPE_SINT64: VARINT,
    FieldDescriptor.TYPE_FIXED64: FIXED64,
}


def kinds_of(message: Any) -> Int8s:
    """(fields,): by field number VARINT, FIXED64, TEXT, TEXTS, or 0 for a number that no field has.

    message: its Descriptor.
    """
    kinds = np.zeros(1 + max(field.number for field in message.fields), np.int8)
    for field in message.fields:
        kinds[field.number] = _NUMBERS.get(field.type, TEXTS if field.is_repeated else TEXT)
    return kinds


@compiled
def read_varint(data: Bytes, at: int, end: int) -> tuple[int, int]:
    """The number below 2^56 that begins at `at`, and where it ends; -1 for none before `end`."""
    value: Any = np.int64(0)
    shift = 0
    while at < end and shift <= 49:
        byte = np.int64(data[at])
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
        shift += 7
    return -1, at


@compiled
def _fixed64(data: Bytes, at: int, end: int) -> int:
    """The eight bytes at `at` as a number below 2^63, or -1."""
    if end - at < 8 or data[at + 7] >= 128:
        return -1
    value = np.int64(0)
    for k in range(8):
        value |= np.int64(data[at + k]) << (8 * k)
    return int(value)


@compiled
def fields_of(message: Bytes, kinds: Int8s) -> Int64s:
    """VALUE, TAG, BEGIN and END of every field, `(4, fields)`, 0 where it is absent; `(4, 0)` if not plain.

    kinds: see `kinds_of`.
    """
    not_plain = np.zeros((4, 0), np.int64)
    found = np.zeros((4, kinds.size), np.int64)
    size = message.size
    at = last = 0
    while at < size:
        tag_at = at
        tag, at = read_varint(message, at, size)
        number, wire_type = tag >> 3, tag & 7
        # Two bytes for a tag, four for a length: no message of ours needs more, and longer forms are not plain.
        if tag < 0 or at - tag_at > 2 or number >= kinds.size:
            return not_plain
        kind = kinds[number]
        if number < last or (number == last and kind != TEXTS):
            return not_plain
        if kind == VARINT and wire_type == 0:
            value, at = read_varint(message, at, size)
            if value < 0:
                return not_plain
            found[VALUE, number] = value
        elif kind == FIXED64 and wire_type == 1:
            value = _fixed64(message, at, size)
            if value < 0:
                return not_plain
            found[VALUE, number] = value
            at += 8
        elif kind >= TEXT and wire_type == 2:
            length_at = at
            length, at = read_varint(message, at, size)
            if length < 0 or at - length_at > 4 or length > size - at:
                return not_plain
            if kind == TEXTS and length > MAX_TEXT:
                return not_plain
            if number != last:
                found[TAG, number] = tag_at
            found[VALUE, number] += 1
            found[BEGIN, number] = at
            at += length
            found[END, number] = at
        else:
            return not_plain
        last = number
    return found


@compiled
def read_column(data: Bytes, begin: int, end: int, values: Int64s) -> bool:
    """The varints in `data[begin:end]` into `values`; False unless there are just so many, each below 2^56."""
    at = begin
    for place in range(values.size):
        if at >= end:
            return False
        values[place] = data[at]
        at += 1
        if values[place] >= 128:
            values[place], at = read_varint(data, at - 1, end)
            if values[place] < 0:
                return False
    return bool(at == end)
