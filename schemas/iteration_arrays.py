"""An iteration frame's columns decoded and checked array by array: any frame, and every error by its name."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from schemas import iteration_checks as hold
from schemas.blocks import decode_blocks, undo_deltas
from schemas.checks import check_block, check_total
from schemas.limits import MAX_OFFSET_NS, MAX_ORDINAL, MAX_ROWS, MAX_TOKENS
from schemas.varints import unzigzag

__all__ = ["COLUMNS", "Stated", "decode_arrays"]

Int64s = NDArray[np.int64]
Int32s = NDArray[np.int32]

COLUMNS: Final = tuple(name for block in hold.BLOCKS for name in block)
"""The message's columns, in the order in which both ways of decoding take them."""

_MAX_GAP_US: Final = 2 * MAX_OFFSET_NS // 1000
"""Between two instants that are each within MAX_OFFSET_NS of the frame's start."""


@dataclass(frozen=True, slots=True)
class Stated:
    """What a message says of its columns."""

    counts: tuple[int, int, int, int]
    """Iterations, requests, spans, exceptions: I, R, S, X."""
    totals: tuple[int, int]
    """Rows, and new tokens of all rows."""
    tables: tuple[int, int, int]
    """Tenants, loads, adapters."""
    prefix_groups: NDArray[np.uint64]
    """The table of prefix groups, behind 0 for none."""
    times_ns: tuple[int, int]
    """The frame's start and end."""
    most: tuple[int, ...]
    """The largest value that each column of `iteration_checks.REQUEST_FIELDS` may have."""
    text_length: int
    """Characters of all client ids, without what they begin with."""


def decode_arrays(stated: Stated, columns: Sequence[bytes]) -> tuple[Int64s, Int32s]:
    """The columns' numbers, `wide` and `narrow` as PackedIterations has them.

    Raises MalformedMessage for whatever does not hold together.
    """
    start_ns, end_ns = stated.times_ns
    iterations, requests, spans, exceptions = decode_blocks(hold.BLOCKS, columns, stated.counts)
    starts_ns, ends_ns = _times(start_ns, iterations[:2])
    hold.check_iterations(start_ns, end_ns, starts_ns, ends_ns, iterations[2:])

    ordinals = undo_deltas(requests[:2], 2 * MAX_ORDINAL, hold.BLOCKS[1])
    hold.check_requests(ordinals, requests[2:], stated.most)
    check_total("request_client_ids", stated.text_length, int(requests[2].sum()))

    spans[:1] = undo_deltas(spans[:1], MAX_TOKENS, hold.BLOCKS[2])
    spans[1] = _entry_contexts(spans, requests[7])
    rows = hold.check_spans(spans, requests.shape[1], iterations.shape[1])

    if exceptions.size:
        check_block(hold.BLOCKS[3][:1], exceptions[:1], (MAX_ROWS,))
        np.cumsum(exceptions[0], out=exceptions[0])
    new_tokens = hold.check_exceptions(exceptions, rows)
    check_total("rows", stated.totals[0], rows)
    check_total("new_tokens", stated.totals[1], new_tokens)

    requests[4:6] -= 1
    sizes = np.array((*stated.counts, *stated.tables), np.int64)
    prefix_groups = stated.prefix_groups[requests[6]].view(np.int64)
    of_requests = requests[[2, 3, 4, 5, 7, 8]]
    narrow = [block.ravel() for block in (iterations[2:], of_requests, spans, exceptions)]
    return (
        np.concatenate((sizes, starts_ns, ends_ns, ordinals.ravel(), prefix_groups)),
        np.concatenate(narrow).astype(np.int32),
    )


def _times(start_ns: int, intervals: Int64s) -> tuple[Int64s, Int64s]:
    """Starts and ends in ns from gaps (zigzag) and durations in µs, `(2, iterations)`."""
    check_block(hold.BLOCKS[0], intervals, (2 * _MAX_GAP_US, _MAX_GAP_US))
    steps = np.empty(intervals.size, np.int64)
    steps[0::2] = unzigzag(intervals[0])
    steps[1::2] = intervals[1]
    times_ns = np.cumsum(steps) * 1000 + start_ns
    return times_ns[0::2], times_ns[1::2]


def _entry_contexts(spans: Int64s, prompt_tokens: Int64s) -> Int64s:
    """Contexts at entry; a request that does not exist is for check_spans to refuse."""
    beyond = unzigzag(spans[1])
    return beyond + prompt_tokens.take(spans[0], mode="clip") if prompt_tokens.size else beyond
