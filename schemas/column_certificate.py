"""Columns of an iteration frame found sound, block by block, in compiled passes: parts of `certificate`.

Each takes a block's numbers as they stand on the wire, `(columns, entries)`, fills what PackedIterations holds of
them, and says whether all of them are plainly sound.

Importing this needs Numba (the extra `worker` has it).
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from schemas.compiled import compiled, unzigzag
from schemas.iterations import UNRECORDED
from schemas.limits import MAX_OFFSET_NS, MAX_ORDINAL, MAX_ROWS, MAX_TOKENS

__all__ = ["certify_exceptions", "certify_iterations", "certify_requests", "certify_spans"]

Bytes = NDArray[np.uint8]
Int64s = NDArray[np.int64]
Int32s = NDArray[np.int32]

_GAP_US: Final = 2 * MAX_OFFSET_NS // 1000
_STEP: Final = 2 * MAX_ORDINAL


@compiled
def _group_at(table: Bytes, place: int) -> np.int64:
    """The bits of a prefix group, by its place from 1 on."""
    bits = np.int64(0)
    for k in range(8):
        bits |= np.int64(table[8 * (place - 1) + k]) << (8 * k)
    return bits


@compiled
def certify_iterations(columns: Int64s, start_ns: int, end_ns: int, wide: Int64s, narrow: Int32s) -> bool:
    """Rows of `columns`: gap, duration, kind, padded tokens; what stands for iterations given up is not plain."""
    elapsed_us = 0
    earliest_us = max(-start_ns, -MAX_OFFSET_NS) // 1000
    for i in range(columns.shape[1]):
        gap, duration, kind, padded = columns[0, i], columns[1, i], columns[2, i], columns[3, i]
        if (
            gap > 2 * _GAP_US
            or duration < 1
            or duration > _GAP_US
            or kind >= UNRECORDED
            or padded > MAX_TOKENS
        ):
            return False
        begin_us = elapsed_us + unzigzag(gap)
        elapsed_us = begin_us + duration
        wide[0, i] = start_ns + begin_us * 1000
        wide[1, i] = start_ns + elapsed_us * 1000
        if begin_us < earliest_us or wide[1, i] > end_ns:
            return False
        earliest_us = begin_us
        narrow[0, i] = kind
        narrow[1, i] = padded
    return True


@compiled
def certify_requests(
    columns: Int64s, most: Int64s, groups: Bytes, characters: int, wide: Int64s, narrow: Int32s
) -> bool:
    """Rows of `columns`: two kinds of ordinal, then those of REQUEST_FIELDS, each with its `most` (7,).

    groups: the table of prefix groups. characters: of all client ids together, without their prefix.
    """
    ordinal = load_ordinal = found = 0
    for r in range(columns.shape[1]):
        if columns[0, r] > 2 * _STEP or columns[1, r] > 2 * _STEP:
            return False
        step = unzigzag(columns[0, r])
        ordinal += step
        load_ordinal += unzigzag(columns[1, r])
        if ordinal < 0 or ordinal > MAX_ORDINAL or (r > 0 and step < 1):
            return False
        if load_ordinal < 0 or load_ordinal > MAX_ORDINAL or (load_ordinal == 0) != (columns[4, r] == 0):
            return False
        for c in range(most.size):
            if columns[2 + c, r] > most[c]:
                return False
        if columns[8, r] > columns[7, r]:
            return False
        found += columns[2, r]
        wide[0, r] = ordinal
        wide[1, r] = load_ordinal
        wide[2, r] = _group_at(groups, columns[6, r]) if columns[6, r] else 0
        narrow[0, r] = columns[2, r]
        narrow[1, r] = columns[3, r]
        # load and adapter: 0 is none
        narrow[2, r] = columns[4, r] - 1
        narrow[3, r] = columns[5, r] - 1
        narrow[4, r] = columns[7, r]
        narrow[5, r] = columns[8, r]
    return bool(found == characters)


@compiled
def certify_spans(columns: Int64s, iterations: int, prompt_tokens: Int32s, narrow: Int32s) -> tuple[int, int]:
    """Rows of `columns`: request, entry beyond prompt, first iteration, length. Rows written out and largest entry.

    (-1, 0) where something is not plainly sound.
    """
    after = np.zeros(prompt_tokens.size, np.int64)
    request = rows = largest = 0
    for s in range(columns.shape[1]):
        delta, beyond, first, length = columns[0, s], columns[1, s], columns[2, s], columns[3, s]
        if delta > 2 * MAX_TOKENS or first > iterations or length < 1 or length > iterations - first:
            return -1, 0
        request += unzigzag(delta)
        if request < 0 or request >= after.size or first < after[request]:
            return -1, 0
        after[request] = first + length
        context = prompt_tokens[request] + unzigzag(beyond)
        if context < 0 or context > MAX_TOKENS:
            return -1, 0
        largest = max(largest, context)
        rows += length
        narrow[0, s] = request
        narrow[1, s] = context
        narrow[2, s] = first
        narrow[3, s] = length
    return (rows, largest) if rows <= MAX_ROWS else (-1, 0)


@compiled
def certify_exceptions(columns: Int64s, rows: int, narrow: Int32s) -> np.int64:
    """Rows of `columns`: row, new tokens, drafts, rejected, emitted. The frame's new tokens, or -1."""
    row = np.int64(0)
    total = np.int64(rows - columns.shape[1])
    for x in range(columns.shape[1]):
        delta, new_tokens, drafts, rejected = columns[0, x], columns[1, x], columns[2, x], columns[3, x]
        if (x > 0 and delta < 1) or delta > MAX_ROWS or new_tokens > MAX_TOKENS or columns[4, x] > MAX_TOKENS:
            return np.int64(-1)
        row += delta
        if row >= rows or drafts >= new_tokens or rejected > drafts:
            return np.int64(-1)
        total += new_tokens
        narrow[0, x] = row
        for c in range(1, 5):
            narrow[c, x] = columns[c, x]
    return total
