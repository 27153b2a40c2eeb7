"""An energy frame read straight from its message's bytes and found sound in one compiled pass: the fast way.

A certificate, as `schemas.certificate` is for iterations: what is out of the ordinary or wrong is not certified,
and the caller goes the way of Protobuf and arrays (energy_codec), which decides and names what is wrong. Numbers
are read and judged here. Texts are not: they go back to the caller as a message of their own, the same in every
frame of a node, which need not be read again.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from schemas import wire
from schemas.compiled import compiled, unzigzag
from schemas.envelope import VERSION
from schemas.limits import (
    MAX_ENERGY_UJ,
    MAX_METERS,
    MAX_OFFSET_NS,
    MAX_READINGS,
    MAX_SEQUENCE,
    MAX_TIME_NS,
)
from schemas.proto import columns_v1_pb2
from schemas.wire import BEGIN, END, TAG, VALUE

__all__ = ["certify_energy"]

Bytes = NDArray[np.uint8]
Int64s = NDArray[np.int64]
Int32s = NDArray[np.int32]

_MESSAGE: Final = columns_v1_pb2.EnergyFrame.DESCRIPTOR
_KINDS: Final = wire.kinds_of(_MESSAGE)
_NUMBER: Final = {field.name: field.number for field in _MESSAGE.fields}
_SCHEMA_VERSION: Final = _NUMBER["schema_version"]
_SEQUENCE: Final = _NUMBER["sequence"]
_START_NS: Final = _NUMBER["start_ns"]
_END_NS: Final = _NUMBER["end_offset_ns"]
_WATERMARK_NS: Final = _NUMBER["watermark_offset_ns"]
_READINGS: Final = _NUMBER["readings"]
_METERS: Final = _NUMBER["meters"]
_READING_METER: Final = _NUMBER["reading_meter"]
_READING_NS: Final = _NUMBER["reading_offset_ns"]
_READING_UJ: Final = _NUMBER["reading_uj"]
_NAMES: Final = np.array(
    [_NUMBER[name] for name in ("group_id", "node_id", "incarnation", "engines", "loads")]
)
"""What is text and nothing else, before the meters."""

_METER: Final = columns_v1_pb2.Meter.DESCRIPTOR
_METER_KINDS: Final = wire.kinds_of(_METER)
_BASE_UJ: Final = _METER.fields_by_name["base_uj"].number
_BASE_BYTES: Final = 9
"""The last field of a meter: a tag and eight bytes."""
_TEXT: Final = 2
"""The wire type of what has a length."""


@compiled
def _plain_head(found: Int64s) -> bool:
    numbers = found[VALUE]
    start_ns, end_offset_ns = numbers[_START_NS], numbers[_END_NS]
    watermark_offset_ns = unzigzag(numbers[_WATERMARK_NS])
    column_bytes = 0
    for column in (_READING_METER, _READING_NS, _READING_UJ):
        column_bytes += found[END, column] - found[BEGIN, column]
    return bool(
        numbers[_SCHEMA_VERSION] == VERSION
        and numbers[_SEQUENCE] <= MAX_SEQUENCE
        and start_ns <= MAX_TIME_NS
        and end_offset_ns <= MAX_OFFSET_NS
        and max(-start_ns, -MAX_OFFSET_NS) <= watermark_offset_ns <= end_offset_ns
        and numbers[_METERS] <= MAX_METERS
        and numbers[_READINGS] <= MAX_READINGS
        # A claim without bytes behind it: nothing is made as long as it says.
        and 3 * numbers[_READINGS] <= column_bytes
    )


@compiled
def _names(message: Bytes, found: Int64s, base_uj: Int64s) -> Bytes:
    """The message without numbers, and the meters' numbers in `base_uj`; nothing if a meter is not plain."""
    names = np.empty(message.size + base_uj.size, np.uint8)  # a meter's length takes two bytes now
    names[0], names[1] = _SCHEMA_VERSION << 3, VERSION
    named = 2
    for field in _NAMES:
        named = _add(names, named, message[found[TAG, field] : found[END, field]])
    at = found[TAG, _METERS]
    for place in range(base_uj.size):
        _, at = wire.read_varint(message, at, message.size)
        length, at = wire.read_varint(message, at, message.size)
        meter = message[at : at + length]
        at += length
        fields = wire.fields_of(meter, _METER_KINDS)
        if fields.size == 0 or fields[VALUE, _BASE_UJ] > MAX_ENERGY_UJ:
            return names[:0]
        base_uj[place] = fields[VALUE, _BASE_UJ]
        if base_uj[place] > 0:
            meter = meter[:-_BASE_BYTES]
        names[named] = _METERS << 3 | _TEXT
        names[named + 1], names[named + 2] = meter.size & 127 | 128, meter.size >> 7
        named = _add(names, named + 3, meter)
    return names[:named]


@compiled
def _add(names: Bytes, named: int, more: Bytes) -> int:
    """Put `more` behind the first `named` bytes of `names`; how many there are then."""
    for place in range(more.size):  # a slice set at once compiles for three seconds
        names[named + place] = more[place]
    return named + more.size


@compiled
def _plain_readings(message: Bytes, found: Int64s, base_uj: Int64s, meter: Int32s, readings: Int64s) -> bool:
    """Readings into `meter` (n,) and `readings` (2, n): Unix ns, µJ; False if anything is not plainly sound."""
    start_ns, end_ns = found[VALUE, _START_NS], found[VALUE, _START_NS] + found[VALUE, _END_NS]
    begins, ends = found[BEGIN], found[END]
    meter_at, ns_at, uj_at = begins[_READING_METER], begins[_READING_NS], begins[_READING_UJ]
    last_ns = np.full(base_uj.size, -1)
    last_uj = np.zeros(base_uj.size, np.int64)
    for i in range(meter.size):
        place, meter_at = wire.read_varint(message, meter_at, ends[_READING_METER])
        offset, ns_at = wire.read_varint(message, ns_at, ends[_READING_NS])
        rise_uj, uj_at = wire.read_varint(message, uj_at, ends[_READING_UJ])
        if place < 0 or place >= base_uj.size or offset < 0 or rise_uj < 0:
            return False
        offset_ns, energy_uj = unzigzag(offset), base_uj[place] + rise_uj
        at_ns = start_ns + offset_ns
        if offset_ns < -MAX_OFFSET_NS or offset_ns > MAX_OFFSET_NS or energy_uj > MAX_ENERGY_UJ:
            return False
        if at_ns <= last_ns[place] or at_ns > end_ns or energy_uj < last_uj[place]:
            return False
        last_ns[place], last_uj[place] = at_ns, energy_uj
        meter[i], readings[0, i], readings[1, i] = place, at_ns, energy_uj
    return bool(
        meter_at == ends[_READING_METER] and ns_at == ends[_READING_NS] and uj_at == ends[_READING_UJ]
    )


@compiled
def certify_energy(message: Bytes) -> tuple[Bytes, int, int, int, int, Int32s, Int64s]:
    """What an EnergyFrame's message says, if it is plainly sound but for its texts. O(bytes).

    Returns the same message without any number, empty if anything else is not plainly sound; sequence; start, end
    and watermark in Unix ns; each reading's meter (n,); readings (2, n): Unix ns, µJ.
    """
    names, meter, readings = np.empty(0, np.uint8), np.empty(0, np.int32), np.empty((2, 0), np.int64)
    found = wire.fields_of(message, _KINDS)
    if found.size == 0 or not _plain_head(found):
        return names, 0, 0, 0, 0, meter, readings
    numbers = found[VALUE]
    base_uj = np.empty(numbers[_METERS], np.int64)
    names = _names(message, found, base_uj)
    meter, readings = np.empty(numbers[_READINGS], np.int32), np.empty((2, numbers[_READINGS]), np.int64)
    if names.size and not _plain_readings(message, found, base_uj, meter, readings):
        names = names[:0]
    start_ns = numbers[_START_NS]
    watermark_ns = start_ns + unzigzag(numbers[_WATERMARK_NS])
    return names, numbers[_SEQUENCE], start_ns, start_ns + numbers[_END_NS], watermark_ns, meter, readings
