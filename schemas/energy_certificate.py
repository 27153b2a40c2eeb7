"""An energy frame read straight from its Protobuf bytes and found sound in one compiled pass: the fast way.

A certificate, as `schemas.certificate` is for iterations: what is out of the ordinary or wrong is not certified,
and the caller goes the way of Protobuf and arrays (energy_codec), which decides and names what is wrong. Numbers
are read and judged here. Texts are not: they go back to the caller as a message of their own, the same in every
frame of a node, which need not be read again.
"""

import numpy as np
from numpy.typing import NDArray

from schemas.compiled import compiled, unzigzag
from schemas.limits import (
    MAX_ENERGY_UJ,
    MAX_METERS,
    MAX_OFFSET_NS,
    MAX_READINGS,
    MAX_SEQUENCE,
    MAX_TIME_NS,
)

__all__ = ["certify_energy"]

Bytes = NDArray[np.uint8]
Int64s = NDArray[np.int64]
Int32s = NDArray[np.int32]

_VARINT, _FIXED64, _BYTES = 0, 1, 2
_VERSION, _SEQUENCE, _START, _END, _WATERMARK, _READINGS = 1, 5, 6, 7, 8, 9
_GROUP, _INCARNATION, _ENGINES, _LOADS, _METERS, _COLUMNS = 2, 4, 10, 11, 12, 20
_SOURCE, _BASE = 5, 6
"""Numbers of fields of `EnergyFrame` and, in the last line, of `Meter`."""


@compiled
def _varint(data: bytes, at: int, end: int) -> tuple[int, int]:
    """The number that begins at `at`, below 2^56, and where it ends: -1 if it does not end before `end`."""
    value = 0
    for shift in range(0, 56, 7):
        if at >= end:
            break
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
    return 0, -1


@compiled
def _fixed64(data: bytes, at: int) -> int:
    value = 0
    for place in range(8):
        value |= data[at + place] << (8 * place)
    return value


@compiled
def _copy(data: bytes, begin: int, end: int, names: Bytes, named: int) -> int:
    """Put `data[begin:end]` behind the `named` bytes of `names`: how many there are then."""
    for at in range(begin, end):
        names[named + at - begin] = data[at]
    return named + end - begin


@compiled
def _base_at(data: bytes, at: int, end: int) -> int:
    """Where in a meter's bytes the field `base_uj` begins: `end` if nowhere, -1 if it is not plainly its last."""
    last = 0
    while at < end:
        begin = at
        tag, at = _varint(data, at, end)
        field = tag >> 3
        if at < 0 or field <= last:
            return -1
        if tag == _BASE << 3 | _FIXED64:
            return begin if at + 8 == end else -1
        if field > _SOURCE or tag & 7 != _BYTES:
            return -1
        length, at = _varint(data, at, end)
        if at < 0 or length > end - at:
            return -1
        at += length
        last = field
    return end


@compiled
def _name_meter(data: bytes, begin: int, base_at: int, names: Bytes, named: int) -> int:
    """Put a meter's field without its base behind the `named` bytes of `names`: how many there are then."""
    names[named] = _METERS << 3 | _BYTES
    named += 1
    length = base_at - begin
    while length > 127:
        names[named] = length & 127 | 128
        named += 1
        length >>= 7
    names[named] = length
    return _copy(data, begin, base_at, names, named + 1)


@compiled
def _fields(data: bytes, numbers: Int64s, columns: Int64s, base_uj: Int64s, names: Bytes) -> tuple[int, int]:
    """Walk the message's fields, each once and ascending: how many meters it has, and how many bytes of names.

    numbers (10,): by field. columns (3, 2): where each begins and ends. -1 meters if anything is unusual.
    """
    at = named = meters = last = 0
    size = len(data)
    while at < size:
        begin = at
        tag, at = _varint(data, at, size)
        field, form = tag >> 3, tag & 7
        repeated = field == last and _ENGINES <= field <= _METERS
        if at < 0 or (field <= last and not repeated):
            return -1, 0
        last = field
        if form == _FIXED64 and field == _START and at + 8 <= size:
            numbers[field] = _fixed64(data, at)
            at += 8
            continue
        value, at = _varint(data, at, size)
        if at < 0:
            return -1, 0
        if form == _VARINT and (field == _VERSION or (_SEQUENCE <= field <= _READINGS and field != _START)):
            numbers[field] = value
            if field == _VERSION:
                named = _copy(data, begin, at, names, named)
            continue
        if form != _BYTES or value > size - at:
            return -1, 0
        begins, at = at, at + value
        if _GROUP <= field <= _INCARNATION or field in (_ENGINES, _LOADS):
            named = _copy(data, begin, at, names, named)
        elif field == _METERS and meters < base_uj.size:
            base_at = _base_at(data, begins, at)
            if base_at < 0:
                return -1, 0
            base_uj[meters] = _fixed64(data, at - 8) if base_at < at else 0
            named = _name_meter(data, begins, base_at, names, named)
            meters += 1
        elif _COLUMNS <= field < _COLUMNS + 3:
            columns[field - _COLUMNS, 0], columns[field - _COLUMNS, 1] = begins, at
        else:
            return -1, 0
    return meters, named


@compiled
def _readings(
    data: bytes, columns: Int64s, start_ns: int, end_ns: int, base_uj: Int64s, meter: Int32s, readings: Int64s
) -> bool:
    """Readings into `meter` (n,) and `readings` (2, n): Unix ns, µJ; False if anything is not plainly sound."""
    first, second, third = columns[0, 0], columns[1, 0], columns[2, 0]
    last_ns = np.full(base_uj.size, np.int64(-1))
    last_uj = np.zeros(base_uj.size, np.int64)
    for i in range(meter.size):
        place, first = _varint(data, first, columns[0, 1])
        step, second = _varint(data, second, columns[1, 1])
        rise_uj, third = _varint(data, third, columns[2, 1])
        if first < 0 or second < 0 or third < 0 or place >= base_uj.size:
            return False
        offset_ns = unzigzag(step)
        if offset_ns < -MAX_OFFSET_NS or offset_ns > MAX_OFFSET_NS:
            return False
        at_ns, energy_uj = start_ns + offset_ns, base_uj[place] + rise_uj
        if at_ns <= last_ns[place] or at_ns > end_ns:
            return False
        if energy_uj < last_uj[place] or energy_uj > MAX_ENERGY_UJ:
            return False
        last_ns[place], last_uj[place] = at_ns, energy_uj
        meter[i], readings[0, i], readings[1, i] = place, at_ns, energy_uj
    return bool(first == columns[0, 1] and second == columns[1, 1] and third == columns[2, 1])


@compiled
def certify_energy(data: bytes) -> tuple[bool, int, int, int, int, Int32s, Int64s, Bytes]:
    """Whether the payload is plainly sound but for its texts; sequence; start, end, watermark in Unix ns; each
    reading's meter (n,); readings (2, n): Unix ns, µJ; and the same message without any number. O(bytes).
    """
    numbers = np.zeros(10, np.int64)
    columns = np.zeros((3, 2), np.int64)
    base_uj = np.zeros(min(MAX_METERS, len(data)), np.int64)
    names = np.empty(len(data), np.uint8)
    meters, named = _fields(data, numbers, columns, base_uj, names)
    start_ns, count = numbers[_START], numbers[_READINGS]
    end_ns, watermark_ns = start_ns + numbers[_END], start_ns + unzigzag(numbers[_WATERMARK])
    sound = (
        meters >= 0
        and numbers[_SEQUENCE] <= MAX_SEQUENCE
        and 0 <= start_ns <= MAX_TIME_NS
        and numbers[_END] <= MAX_OFFSET_NS
        and max(0, start_ns - MAX_OFFSET_NS) <= watermark_ns <= end_ns
        and count <= MAX_READINGS
        and 3 * count <= len(data)  # a claim without bytes behind it: nothing is made as long as it says
    )
    meters, count = (meters, count) if sound else (0, 0)
    for place in range(meters):
        sound = sound and 0 <= base_uj[place] <= MAX_ENERGY_UJ
    meter, readings = np.empty(count, np.int32), np.empty((2, count), np.int64)
    sound = sound and _readings(data, columns, start_ns, end_ns, base_uj[:meters], meter, readings)
    return sound, numbers[_SEQUENCE], start_ns, end_ns, watermark_ns, meter, readings, names[:named]
