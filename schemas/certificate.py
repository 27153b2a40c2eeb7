"""An iteration frame's message decoded and found sound in one compiled pass: the fast way of the ordinary frame.

A certificate, not a second set of rules: where a message is out of the ordinary or wrong, `certify` finds no
numbers and the caller goes the way of arrays (iteration_arrays), which decides and names what is wrong. What is
certified here, that way accepts with the same numbers; tests hold the two to it.

Importing this needs Numba (the extra `worker` has it) and compiles for some seconds, once where a cache directory
can be written to.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from schemas import wire
from schemas.column_certificate import (
    certify_exceptions,
    certify_iterations,
    certify_requests,
    certify_spans,
)
from schemas.compiled import compiled, unzigzag
from schemas.envelope import VERSION
from schemas.iteration_checks import BLOCKS
from schemas.limits import (
    MAX_ITERATIONS,
    MAX_OFFSET_NS,
    MAX_REQUESTS,
    MAX_ROWS,
    MAX_TEXT,
    MAX_TIME_NS,
    MAX_TOKENS,
)
from schemas.packed_iterations import REQUEST_ROWS, SIZES
from schemas.proto import columns_v1_pb2
from schemas.wire import BEGIN, END, TAG, VALUE

__all__ = ["certify"]

Bytes = NDArray[np.uint8]
Int64s = NDArray[np.int64]
Int32s = NDArray[np.int32]
Head = tuple[int, int, int, int, int, int, int, int, int, int, int, int, int, int]

_OFFSET_US: Final = MAX_OFFSET_NS // 1000

_MESSAGE: Final = columns_v1_pb2.IterationFrame.DESCRIPTOR
_KINDS: Final = wire.kinds_of(_MESSAGE)
_NUMBER: Final = {field.name: field.number for field in _MESSAGE.fields}
_COLUMNS: Final = np.array([_NUMBER[name] for block in BLOCKS for name in block], np.int64)
_BLOCK: Final = np.array([place for place, block in enumerate(BLOCKS) for _ in block], np.int64)
_SCHEMA_VERSION: Final = _NUMBER["schema_version"]
_GROUP_ID: Final = _NUMBER["group_id"]
_INCARNATION: Final = _NUMBER["incarnation"]
_INCARNATION_START_NS: Final = _NUMBER["incarnation_start_ns"]
_SEQUENCE: Final = _NUMBER["sequence"]
_START_NS: Final = _NUMBER["start_ns"]
_END_US: Final = _NUMBER["end_us"]
_WATERMARK_US: Final = _NUMBER["watermark_us"]
_ITERATIONS: Final = _NUMBER["iterations"]
_REQUESTS: Final = _NUMBER["requests"]
_SPANS: Final = _NUMBER["spans"]
_EXCEPTIONS: Final = _NUMBER["exceptions"]
_ROWS: Final = _NUMBER["rows"]
_NEW_TOKENS: Final = _NUMBER["new_tokens"]
_TENANTS: Final = _NUMBER["tenants"]
_ADAPTERS: Final = _NUMBER["adapters"]
_PREFIX_GROUPS: Final = _NUMBER["prefix_groups"]
_PREFIX: Final = _NUMBER["request_client_id_prefix"]
_TEXT: Final = _NUMBER["request_client_ids"]


@compiled
def _plain_head(found: Int64s) -> bool:
    """Whether names, counts and times are in their ranges; of texts, by their bytes."""
    numbers, lengths = found[VALUE], found[END] - found[BEGIN]
    for name in range(_GROUP_ID, _INCARNATION + 1):
        if lengths[name] < 1 or lengths[name] > MAX_TEXT:
            return False
    for table in range(_TENANTS, _ADAPTERS + 1):
        if numbers[table] > MAX_REQUESTS:
            return False
    if lengths[_PREFIX_GROUPS] % 8 or lengths[_PREFIX_GROUPS] > 8 * MAX_REQUESTS:
        return False
    start_ns, end_us = numbers[_START_NS], numbers[_END_US]
    watermark_us = unzigzag(numbers[_WATERMARK_US])
    return bool(
        numbers[_SCHEMA_VERSION] == VERSION
        and numbers[_INCARNATION_START_NS] <= MAX_TIME_NS
        and start_ns <= MAX_TIME_NS
        and start_ns % 1000 == 0
        and end_us <= _OFFSET_US
        and max(-_OFFSET_US, -start_ns // 1000) <= watermark_us <= end_us
        and numbers[_ITERATIONS] <= MAX_ITERATIONS
        and numbers[_REQUESTS] <= MAX_REQUESTS
        and numbers[_ROWS] <= MAX_ROWS
        and numbers[_SPANS] <= numbers[_ROWS]
        and numbers[_EXCEPTIONS] <= numbers[_ROWS]
    )


@compiled
def _columns(message: Bytes, found: Int64s, counts: Int64s) -> Int64s:
    """All columns' numbers, one after another; empty where they are not just as many as `counts` (4,) say."""
    nothing = np.empty(0, np.int64)
    total = 0
    for column in range(_COLUMNS.size):
        total += counts[_BLOCK[column]]
    if total > message.size:
        return nothing  # claims without bytes behind them: nothing is made as long as they say
    values = np.empty(total + 1, np.int64)
    filled = 0
    for column in range(_COLUMNS.size):
        number, count = _COLUMNS[column], counts[_BLOCK[column]]
        begin, end = found[BEGIN, number], found[END, number]
        if not wire.read_column(message, begin, end, values[filled : filled + count]):
            return nothing
        filled += count
    return values


@compiled
def _characters(text: Bytes) -> int:
    """Characters of a text in UTF-8: the bytes that begin one."""
    count = 0
    for byte in text:
        count += (byte & 0xC0) != 0x80
    return count


@compiled
def _plain_columns(message: Bytes, found: Int64s, values: Int64s, wide: Int64s, narrow: Int32s) -> bool:
    """Whether the columns' numbers are sound; fills `wide` behind its sizes, and `narrow`."""
    numbers, begins, ends = found[VALUE], found[BEGIN], found[END]
    iterations, requests, spans, exceptions = wide[0], wide[1], wide[2], wide[3]
    start_ns = numbers[_START_NS]
    a, b, c = 4 * iterations, 4 * iterations + 9 * requests, 4 * iterations + 9 * requests + 4 * spans
    i, r = 2 * iterations, 2 * iterations + REQUEST_ROWS * requests
    s, x = r + 4 * spans, r + 4 * spans + 5 * exceptions
    of_requests = narrow[i:r].reshape(REQUEST_ROWS, requests)
    groups = message[begins[_PREFIX_GROUPS] : ends[_PREFIX_GROUPS]]
    prefix = message[begins[_PREFIX] : ends[_PREFIX]]
    most = np.array(
        (
            MAX_TEXT - _characters(prefix), wide[4] - 1, wide[5], wide[6], groups.size // 8, MAX_TOKENS,
            MAX_TOKENS,
        )
    )  # fmt: skip
    if not certify_iterations(
        values[:a].reshape(4, iterations),
        start_ns,
        start_ns + 1000 * numbers[_END_US],
        wide[SIZES : SIZES + i].reshape(2, iterations),
        narrow[:i].reshape(2, iterations),
    ):
        return False
    if not certify_requests(
        values[a:b].reshape(9, requests),
        most,
        groups,
        _characters(message[begins[_TEXT] : ends[_TEXT]]),
        wide[SIZES + i :].reshape(3, requests),
        of_requests,
    ):
        return False
    rows, largest = certify_spans(
        values[b:c].reshape(4, spans), iterations, of_requests[4], narrow[r:s].reshape(4, spans)
    )
    if rows != numbers[_ROWS]:
        return False
    new_tokens = certify_exceptions(
        values[c : c + 5 * exceptions].reshape(5, exceptions), rows, narrow[s:x].reshape(5, exceptions)
    )
    return bool(new_tokens == numbers[_NEW_TOKENS] and largest + new_tokens <= MAX_TOKENS)


@compiled
def _head(found: Int64s, wide: Int64s) -> Head:
    """See `certify`."""
    numbers, tags, begins, ends = found[VALUE], found[TAG], found[BEGIN], found[END]
    start_ns = numbers[_START_NS]
    tables_begin = tables_end = 0
    for table in range(_ADAPTERS, _TENANTS - 1, -1):
        if numbers[table]:
            tables_begin = tags[table]
            tables_end = max(tables_end, ends[table])
    return (
        numbers[_INCARNATION_START_NS],
        numbers[_SEQUENCE],
        start_ns,
        start_ns + 1000 * numbers[_END_US],
        start_ns + 1000 * unzigzag(numbers[_WATERMARK_US]),
        min(start_ns, wide[SIZES]) if wide[0] else start_ns,
        tags[_GROUP_ID],
        ends[_INCARNATION],
        tables_begin,
        tables_end,
        begins[_PREFIX],
        ends[_PREFIX],
        begins[_TEXT],
        ends[_TEXT],
    )


@compiled
def certify(message: Bytes) -> tuple[Head, Int64s, Int32s]:
    """The numbers of an IterationFrame's message, or nothing in `wide` if anything is not plainly sound. O(bytes).

    Returns the head: the incarnation's start in ns, sequence, the frame's start, end, watermark and earliest
    instant in ns; where in the message its three ids begin and end, its tables, what client ids begin with, the
    rest of them. Then `wide` and `narrow`, see PackedIterations. Whether texts are UTF-8 is not looked at.
    """
    wide, narrow = np.empty(0, np.int64), np.empty(0, np.int32)
    head = (0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
    found = wire.fields_of(message, _KINDS)
    if found.size == 0 or not _plain_head(found):
        return head, wide, narrow
    numbers = found[VALUE]
    counts = numbers[_ITERATIONS : _EXCEPTIONS + 1]
    values = _columns(message, found, counts)
    if values.size == 0:
        return head, wide, narrow
    iterations, requests, spans, exceptions = counts
    ours = np.empty(SIZES + 2 * iterations + 3 * requests, np.int64)
    ours[: counts.size] = counts
    ours[counts.size : SIZES] = numbers[_TENANTS : _ADAPTERS + 1]
    narrow = np.empty(2 * iterations + REQUEST_ROWS * requests + 4 * spans + 5 * exceptions, np.int32)
    if _plain_columns(message, found, values, ours, narrow):
        return _head(found, ours), ours, narrow
    return head, wide, narrow
