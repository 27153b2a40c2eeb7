"""What must hold in an iteration frame, whoever made it: the writer and the reader check the same statements.

Blocks are `(columns, entries)` of int64 as they stand on the wire with deltas resolved and "none" as 0.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from schemas import checks, limits
from schemas.errors import MalformedMessage
from schemas.iterations import UNRECORDED, IterationFrame, expand

__all__ = [
    "BLOCKS",
    "EXCEPTION_FIELDS",
    "ITERATION_FIELDS",
    "ORDINAL_FIELDS",
    "REQUEST_FIELDS",
    "SPAN_FIELDS",
    "check_contexts",
    "check_exceptions",
    "check_head",
    "check_iterations",
    "check_names",
    "check_requests",
    "check_sizes",
    "check_spans",
    "check_unrecorded",
    "most_of_requests",
]

Int64s = NDArray[np.int64]

ITERATION_FIELDS: Final = ("iteration_kind", "iteration_padded_tokens")
ORDINAL_FIELDS: Final = ("request_ordinal", "request_load_ordinal")
REQUEST_FIELDS: Final = (
    "request_client_id_length",
    "request_tenant",
    "request_load_or_none",
    "request_adapter_or_none",
    "request_prefix_group_or_none",
    "request_prompt_tokens",
    "request_cached_tokens",
)
SPAN_FIELDS: Final = ("span_request", "span_entry_context", "span_first_iteration", "span_length")
EXCEPTION_FIELDS: Final = (
    "exception_row",
    "exception_new_tokens",
    "exception_drafts",
    "exception_rejected",
    "exception_emitted",
)


BLOCKS: Final = (
    ("iteration_gap_us", "iteration_duration_us", *ITERATION_FIELDS),
    ("request_ordinal_delta", "request_load_ordinal_delta", *REQUEST_FIELDS),
    ("span_request_delta", "span_entry_beyond_prompt", "span_first_iteration", "span_length"),
    ("exception_row_delta", *EXCEPTION_FIELDS[1:]),
)
"""The message's columns in blocks of equal length, those that hold differences first."""


def check_head(frame: IterationFrame) -> None:
    """Names are there, counts are bounded, times do not go backwards."""
    checks.check_period(frame.start_ns, frame.end_ns, frame.watermark_ns)
    check_names(frame)


def check_names(frame: IterationFrame) -> None:
    """What `check_head` says of all but the frame's own times."""
    checks.check_text("group_id", frame.group_id)
    checks.check_text("engine_id", frame.engine_id)
    checks.check_text("incarnation", frame.incarnation)
    checks.check_integer("incarnation_start_ns", frame.incarnation_start_ns, 0, limits.MAX_TIME_NS)
    checks.check_integer("sequence", frame.sequence, 0, limits.MAX_SEQUENCE)
    if frame.start_ns % 1000:
        raise MalformedMessage(f"start_ns: {frame.start_ns}; must be whole microseconds")
    for field, texts in (("tenants", frame.tenants), ("loads", frame.loads), ("adapters", frame.adapters)):
        checks.check_count(field, len(texts), limits.MAX_REQUESTS)
        checks.check_texts(field, texts)


def check_sizes(iterations: int, requests: int) -> None:
    """The frame is one that a reader allocates for; rows bound the spans and exceptions."""
    checks.check_count("iterations", iterations, limits.MAX_ITERATIONS)
    checks.check_count("requests", requests, limits.MAX_REQUESTS)


def check_iterations(start_ns: int, end_ns: int, starts_ns: Int64s, ends_ns: Int64s, block: Int64s) -> None:
    """Iterations start in order, end after they start and by the frame's end; kinds are known."""
    checks.check_block(ITERATION_FIELDS, block, (UNRECORDED, limits.MAX_TOKENS))
    checks.refuse_where(ends_ns <= starts_ns, "iteration_end_ns", ends_ns, "must be after its start")
    checks.refuse_where(
        starts_ns[1:] < starts_ns[:-1],
        "iteration_start_ns",
        starts_ns,
        "starts before the one before",
        shift=1,
    )
    checks.refuse_where(ends_ns > end_ns, "iteration_end_ns", ends_ns, f"must not be after end_ns {end_ns}")
    if starts_ns.size:
        least = max(0, start_ns - limits.MAX_OFFSET_NS)
        checks.check_integer("iteration_start_ns[0]", int(starts_ns[0]), least, end_ns)


def most_of_requests(
    prefix: str, tenants: Sequence[str], loads: Sequence[str], adapters: Sequence[str], prefix_groups: int
) -> tuple[int, ...]:
    """The largest value of each of REQUEST_FIELDS, given what the frame's tables hold."""
    return (
        limits.MAX_TEXT - len(prefix),
        len(tenants) - 1,
        len(loads),
        len(adapters),
        prefix_groups,
        limits.MAX_TOKENS,
        limits.MAX_TOKENS,
    )


def check_requests(ordinals: Int64s, block: Int64s, most: Sequence[int]) -> None:
    """Ordinals are distinct, indices lie in their tables, lengths and counts in their ranges."""
    checks.check_block(REQUEST_FIELDS, block, most)
    checks.check_block(ORDINAL_FIELDS, ordinals, (limits.MAX_ORDINAL, limits.MAX_ORDINAL))
    ordinal, load_ordinal = ordinals
    if np.count_nonzero(ordinal[1:] <= ordinal[:-1]):
        in_order = np.sort(ordinal)
        checks.refuse_where(
            in_order[1:] == in_order[:-1], "request_ordinal", in_order, "two requests have it"
        )
    load, prompt, cached = block[2], block[5], block[6]
    checks.refuse_where(
        (load_ordinal == 0) != (load == 0),
        "request_load_ordinal",
        load_ordinal,
        "0 just where there is no load",
    )
    checks.refuse_where(cached > prompt, "request_cached_tokens", cached, "more than its prompt_tokens")


def check_spans(block: Int64s, requests: int, iterations: int) -> int:
    """Spans lie inside the frame, no request is twice in one iteration; returns their rows."""
    checks.check_block(SPAN_FIELDS, block, (requests - 1, limits.MAX_TOKENS, iterations - 1, iterations))
    request, _, first, length = block
    checks.refuse_where(length < 1, "span_length", length, "must be 1 or more")
    after = first + length
    checks.refuse_where(after > iterations, "span_length", length, f"ends after iteration {iterations - 1}")
    if np.count_nonzero(request[1:] <= request[:-1]):
        order = np.lexsort((first, request))
        same = request[order[1:]] == request[order[:-1]]
        overlap = same & (first[order[1:]] < after[order[:-1]])
        checks.refuse_where(
            overlap, "span_first_iteration", first[order], "its request is there twice", shift=1
        )
    rows = int(np.add.reduce(length))
    checks.check_count("rows", rows, limits.MAX_ROWS)
    return rows


def check_exceptions(block: Int64s, rows: int) -> int:
    """Exceptions ascend inside the rows, drafts fit their tokens; returns the new tokens of all rows."""
    checks.check_block(EXCEPTION_FIELDS, block, (rows - 1, *(limits.MAX_TOKENS,) * 4))
    row, new_tokens, drafts, rejected, _ = block
    checks.refuse_where(row[1:] <= row[:-1], "exception_row", row, "not after the one before", shift=1)
    checks.refuse_where(drafts >= new_tokens, "exception_drafts", drafts, "must be less than new_tokens")
    checks.refuse_where(rejected > drafts, "exception_rejected", rejected, "more than drafts")
    return rows - int(row.size) + int(np.add.reduce(new_tokens))


def check_contexts(frame: IterationFrame, new_tokens: int) -> None:
    """No row's context grows beyond MAX_TOKENS; O(spans) unless the frame is within reach of the limit."""
    entry = frame.span_entry_context
    if not entry.size or int(np.maximum.reduce(entry)) + new_tokens <= limits.MAX_TOKENS:
        return
    rows = expand(frame)
    after = rows.context_tokens + rows.new_tokens
    checks.refuse_where(after > limits.MAX_TOKENS, "context_tokens", after, f"at most {limits.MAX_TOKENS}")


def check_unrecorded(frame: IterationFrame) -> None:
    """What stands for iterations that were given up stands alone."""
    kinds = frame.iteration_kind
    if not kinds.size or int(np.maximum.reduce(kinds)) != UNRECORDED:
        return
    if kinds.size != 1 or frame.request_ordinal.size:
        found = f"{kinds.size} iterations and {frame.request_ordinal.size} requests"
        raise MalformedMessage(
            f"iteration_kind: {UNRECORDED} beside {found}; it must be its frame's only one"
        )
