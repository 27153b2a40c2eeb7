"""Bytes to iteration frames; `schemas/proto/frames_v1.proto` says what each column holds."""

from typing import Final

import numpy as np
from google.protobuf.message import DecodeError
from numpy.typing import NDArray

from schemas import iteration_checks as hold
from schemas.blocks import decode_blocks, undo_deltas
from schemas.checks import check_block, check_count, check_integer, check_period
from schemas.envelope import ITERATIONS, VERSION, unpack
from schemas.errors import MalformedMessage
from schemas.iterations import IterationFrame
from schemas.limits import MAX_OFFSET_NS, MAX_ORDINAL, MAX_REQUESTS, MAX_ROWS, MAX_TEXT, MAX_TOKENS
from schemas.proto import columns_v1_pb2
from schemas.varints import unzigzag

__all__ = ["decode_iterations"]

Int64s = NDArray[np.int64]

_COLUMNS: Final = tuple(name for block in hold.BLOCKS for name in block)
_MAX_GAP_US: Final = 2 * MAX_OFFSET_NS // 1000
"""Between two instants that are each within MAX_OFFSET_NS of the frame's start."""


def decode_iterations(data: bytes) -> IterationFrame:
    """The frame in a message of `wattledger.iterations.v1`.

    Raises UnknownVersion or MalformedMessage, naming field and value, for anything that does not hold
    together; no input makes it raise anything else, or allocate more than limits.py allows.
    """
    payload = unpack(ITERATIONS, data)
    try:
        message = columns_v1_pb2.IterationFrame.FromString(payload)
    except DecodeError as error:
        raise MalformedMessage(f"payload: not an IterationFrame ({error})") from error
    _check_counts(message)
    columns = [getattr(message, name) for name in _COLUMNS]
    counts = (message.iterations, message.requests, message.spans, message.exceptions)
    iterations, requests, spans, exceptions = decode_blocks(hold.BLOCKS, columns, counts)
    prefix_groups = _prefix_groups(message.prefix_groups)
    tables = (
        MAX_TEXT - len(message.request_client_id_prefix),
        len(message.tenants),
        len(message.loads),
        len(message.adapters),
        prefix_groups.size - 1,
    )

    start_ns = message.start_ns
    end_ns = start_ns + message.end_us * 1000
    watermark_ns = start_ns + message.watermark_us * 1000
    check_period(start_ns, end_ns, watermark_ns)
    starts_ns, ends_ns = _times(start_ns, iterations[:2])
    hold.check_iterations(start_ns, end_ns, starts_ns, ends_ns, iterations[2:])

    ordinals = undo_deltas(requests[:2], 2 * MAX_ORDINAL, hold.BLOCKS[1])
    hold.check_requests(ordinals, requests[2:], tables)
    request_facts = requests[2:].astype(np.int32)
    request_facts[2:4] -= 1

    spans[:1] = undo_deltas(spans[:1], MAX_TOKENS, hold.BLOCKS[2])
    spans[1] = _entry_contexts(spans, requests[7])
    rows = hold.check_spans(spans, message.requests, message.iterations)
    span_facts = spans.astype(np.int32)

    if message.exceptions:
        check_block(hold.BLOCKS[3][:1], exceptions[:1], (MAX_ROWS,))
        np.cumsum(exceptions[0], out=exceptions[0])
    new_tokens = hold.check_exceptions(exceptions, rows)
    exception_facts = exceptions.astype(np.int32)
    _check_total("rows", message.rows, rows)
    _check_total("new_tokens", message.new_tokens, new_tokens)
    frame = IterationFrame(
        group_id=message.group_id,
        engine_id=message.engine_id,
        incarnation=message.incarnation,
        incarnation_start_ns=message.incarnation_start_ns,
        sequence=message.sequence,
        start_ns=start_ns,
        end_ns=end_ns,
        watermark_ns=watermark_ns,
        tenants=tuple(message.tenants),
        loads=tuple(message.loads),
        adapters=tuple(message.adapters),
        iteration_start_ns=starts_ns,
        iteration_end_ns=ends_ns,
        iteration_kind=iterations[2].astype(np.uint8),
        iteration_padded_tokens=iterations[3].astype(np.int32),
        request_ordinal=ordinals[0],
        request_client_id=_client_ids(message, requests[2]),
        request_tenant=request_facts[1],
        request_load=request_facts[2],
        request_load_ordinal=ordinals[1],
        request_adapter=request_facts[3],
        request_prefix_group=prefix_groups[requests[6]],
        request_prompt_tokens=request_facts[5],
        request_cached_tokens=request_facts[6],
        span_request=span_facts[0],
        span_first_iteration=span_facts[2],
        span_length=span_facts[3],
        span_entry_context=span_facts[1],
        exception_row=exception_facts[0],
        exception_new_tokens=exception_facts[1],
        exception_drafts=exception_facts[2],
        exception_rejected=exception_facts[3],
        exception_emitted=exception_facts[4],
    )
    hold.check_head(frame)
    hold.check_contexts(frame, new_tokens)
    return frame


def _check_counts(message: columns_v1_pb2.IterationFrame) -> None:
    """The message's own version and counts, before anything is made as long as they say."""
    if message.schema_version != VERSION:
        version = message.schema_version
        raise MalformedMessage(f"schema_version: the header says {VERSION}, the payload {version}")
    hold.check_sizes(message.iterations, message.requests)
    check_count("rows", message.rows, MAX_ROWS)
    check_integer("spans", message.spans, 0, message.rows)
    check_integer("exceptions", message.exceptions, 0, message.rows)


def _check_total(field: str, stated: int, found: int) -> None:
    if stated != found:
        raise MalformedMessage(f"{field}: the frame states {stated}, its columns hold {found}")


def _client_ids(message: columns_v1_pb2.IterationFrame, lengths: Int64s) -> tuple[str, ...]:
    """Every request's client id; lengths `(requests,)` are checked already."""
    prefix, text = message.request_client_id_prefix, message.request_client_ids
    ends = np.cumsum(lengths).tolist()
    _check_total("request_client_ids", len(text), ends[-1] if ends else 0)
    return tuple([prefix + text[begin:end] for begin, end in zip([0, *ends], ends, strict=False)])


def _prefix_groups(table: bytes) -> NDArray[np.uint64]:
    """The table with 0, for none, in front."""
    if len(table) % 8:
        raise MalformedMessage(f"prefix_groups: {len(table)} bytes are no whole number of 64-bit values")
    check_count("prefix_groups", len(table) // 8, MAX_REQUESTS)
    return np.frombuffer(bytes(8) + table, "<u8")


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
