"""An iteration frame's columns decoded and found sound in one compiled pass: the fast way of the ordinary frame.

A certificate, not a second set of rules: where a frame is out of the ordinary or wrong, `certify` answers False
and the caller goes the way of arrays (iteration_arrays), which decides and names what is wrong. What is certified
here, that way accepts with the same numbers; tests hold the two to it.

Importing this needs Numba (the extra `worker` has it) and compiles for 3 s, once where a cache directory can be
written to.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from schemas.compiled import compiled, read_columns, unzigzag
from schemas.iterations import UNRECORDED
from schemas.limits import MAX_OFFSET_NS, MAX_ORDINAL, MAX_ROWS, MAX_TOKENS

__all__ = ["certify"]

Int64s = NDArray[np.int64]
Int32s = NDArray[np.int32]

_GAP_US: Final = 2 * MAX_OFFSET_NS // 1000
_STEP: Final = 2 * MAX_ORDINAL


@compiled
def _iterations(columns: Int64s, start_ns: int, end_ns: int, wide: Int64s, narrow: Int32s) -> bool:
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
def _requests(columns: Int64s, most: Int64s, text_length: int, wide: Int64s, narrow: Int32s) -> bool:
    """Rows of `columns`: two kinds of ordinal, then what `narrow` holds."""
    ordinal = load_ordinal = characters = 0
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
        wide[0, r] = ordinal
        wide[1, r] = load_ordinal
        for c in range(most.size):
            if columns[2 + c, r] > most[c]:
                return False
            narrow[c, r] = columns[2 + c, r]
        if columns[8, r] > columns[7, r]:
            return False
        # load and adapter: 0 is none
        narrow[2, r] -= 1
        narrow[3, r] -= 1
        characters += columns[2, r]
    return characters == text_length


@compiled
def _spans(columns: Int64s, iterations: int, prompt_tokens: Int32s, narrow: Int32s) -> tuple[int, int]:
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
def _exceptions(columns: Int64s, rows: int, narrow: Int32s) -> np.int64:
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


@compiled
def certify(data: NDArray[np.uint8], stated: Int64s, wide: Int64s, narrow: Int32s) -> bool:
    """Decode all columns into `wide` and `narrow`; False if anything is not plainly sound. O(bytes).

    data: the columns' bytes, one after another. stated (38,): the bytes of each of the 22 columns; the largest
    value of each of the 7 narrow request columns; iterations, requests, spans, exceptions; rows and new tokens as
    stated; the frame's start and end in ns; characters of all client ids together.
    wide, narrow: see `iteration_arrays.Arrays`.
    """
    most = stated[22:29]
    iterations, requests, spans, exceptions = stated[29], stated[30], stated[31], stated[32]
    lengths = np.empty(22, np.int64)
    lengths[:4], lengths[4:13], lengths[13:17], lengths[17:] = iterations, requests, spans, exceptions
    values = np.empty(lengths.sum(), np.int64)
    if not read_columns(data, stated[:22], lengths, values):
        return False
    a, b, c = 4 * iterations, 4 * iterations + 9 * requests, 4 * iterations + 9 * requests + 4 * spans
    i, r, s = 2 * iterations, 2 * iterations + 7 * requests, 2 * iterations + 7 * requests + 4 * spans
    facts = narrow[i:r].reshape(7, requests)
    if not _iterations(
        values[:a].reshape(4, iterations),
        stated[35],
        stated[36],
        wide[:i].reshape(2, iterations),
        narrow[:i].reshape(2, iterations),
    ):
        return False
    if not _requests(
        values[a:b].reshape(9, requests), most, stated[37], wide[i:].reshape(2, requests), facts
    ):
        return False
    rows, largest = _spans(values[b:c].reshape(4, spans), iterations, facts[5], narrow[r:s].reshape(4, spans))
    if rows != stated[33]:
        return False
    new_tokens = _exceptions(values[c:].reshape(5, exceptions), rows, narrow[s:].reshape(5, exceptions))
    return bool(new_tokens == stated[34] and largest + new_tokens <= MAX_TOKENS)
