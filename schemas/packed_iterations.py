"""Iteration frames as a worker holds them: two blocks of numbers and few objects, until a window joins them.

A window needs ten frames of an engine at a time and none of their columns alone. Twenty arrays a frame would cost
more to make, and to hold, than the numbers in them; `unpacked` makes them for those who want columns.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from schemas.client_ids import ClientIds
from schemas.iterations import UNRECORDED, IterationFrame

__all__ = ["REQUEST_ROWS", "SIZES", "PackedIterations", "earliest_ns", "packed", "unpacked"]

SIZES: Final = 7
"""What `wide` begins with: iterations, requests, spans, exceptions; tenants, loads, adapters."""
REQUEST_ROWS: Final = 6
"""Columns of 32 bits that requests have."""


@dataclass(frozen=True, slots=True)
class PackedIterations:
    """An IterationFrame in blocks; I iterations, R requests, S spans, X exceptions."""

    group_id: str
    engine_id: str
    incarnation: str
    incarnation_start_ns: int
    sequence: int
    start_ns: int
    end_ns: int
    watermark_ns: int
    earliest_ns: int
    """The first instant of which the frame speaks: its first iteration may have begun before `start_ns`."""
    given_up: bool
    """Whether its only iteration is UNRECORDED."""
    tenants: tuple[str, ...]
    loads: tuple[str, ...]
    adapters: tuple[str, ...]
    client_id_prefix: str
    """What all client ids begin with."""
    client_id_text: str
    """The rest of each, one after another."""
    wide: NDArray[np.int64]
    """(SIZES + 2I + 3R,): the sizes, iteration starts and ends in ns, ordinals, load ordinals, prefix groups (the
    bits of each)."""
    narrow: NDArray[np.int32]
    """(2I + 6R + 4S + 5X,): kinds, padded tokens; lengths of client ids, tenants, loads, adapters, prompt and
    cached tokens; the spans' request, entry context, first iteration, length; the exceptions' row, new tokens,
    drafts, rejected, emitted."""


def earliest_ns(start_ns: int, starts_ns: NDArray[np.int64]) -> int:
    """The first instant of which a frame speaks, given its own start and its iterations' (I,)."""
    return min(start_ns, int(starts_ns[0])) if starts_ns.size else start_ns


def packed(frame: IterationFrame) -> PackedIterations:
    """The same frame in blocks."""
    ids = frame.request_client_id
    sizes = (
        len(frame.iteration_start_ns),
        len(frame.request_ordinal),
        len(frame.span_request),
        len(frame.exception_row),
        len(frame.tenants),
        len(frame.loads),
        len(frame.adapters),
    )
    return PackedIterations(
        group_id=frame.group_id,
        engine_id=frame.engine_id,
        incarnation=frame.incarnation,
        incarnation_start_ns=frame.incarnation_start_ns,
        sequence=frame.sequence,
        start_ns=frame.start_ns,
        end_ns=frame.end_ns,
        watermark_ns=frame.watermark_ns,
        earliest_ns=earliest_ns(frame.start_ns, frame.iteration_start_ns),
        given_up=frame.iteration_kind.tolist() == [UNRECORDED],
        tenants=frame.tenants,
        loads=frame.loads,
        adapters=frame.adapters,
        client_id_prefix="",
        client_id_text="".join(ids),
        wide=np.concatenate(
            (
                np.array(sizes, np.int64),
                frame.iteration_start_ns,
                frame.iteration_end_ns,
                frame.request_ordinal,
                frame.request_load_ordinal,
                frame.request_prefix_group.view(np.int64),
            )
        ),
        narrow=np.concatenate(
            (
                frame.iteration_kind.astype(np.int32),
                frame.iteration_padded_tokens,
                np.array([len(one) for one in ids], np.int32),
                frame.request_tenant,
                frame.request_load,
                frame.request_adapter,
                frame.request_prompt_tokens,
                frame.request_cached_tokens,
                frame.span_request,
                frame.span_entry_context,
                frame.span_first_iteration,
                frame.span_length,
                frame.exception_row,
                frame.exception_new_tokens,
                frame.exception_drafts,
                frame.exception_rejected,
                frame.exception_emitted,
            )
        ),
    )


def unpacked(frame: PackedIterations) -> IterationFrame:
    """The same frame in columns, which are views of its blocks."""
    iterations, requests, spans, exceptions = frame.wide[:4].tolist()
    of_iterations = SIZES + 2 * iterations
    starts_ns, ends_ns = frame.wide[SIZES:of_iterations].reshape(2, iterations)
    ordinals, load_ordinals, prefix_groups = frame.wide[of_iterations:].reshape(3, requests)
    begin = 2 * iterations
    kinds, padded_tokens = frame.narrow[:begin].reshape(2, iterations)
    end = begin + REQUEST_ROWS * requests
    id_lengths, tenant, load, adapter, prompt, cached = frame.narrow[begin:end].reshape(
        REQUEST_ROWS, requests
    )
    begin, end = end, end + 4 * spans
    span_request, entry_context, first_iteration, length = frame.narrow[begin:end].reshape(4, spans)
    row, new_tokens, drafts, rejected, emitted = frame.narrow[end:].reshape(5, exceptions)
    return IterationFrame(
        group_id=frame.group_id,
        engine_id=frame.engine_id,
        incarnation=frame.incarnation,
        incarnation_start_ns=frame.incarnation_start_ns,
        sequence=frame.sequence,
        start_ns=frame.start_ns,
        end_ns=frame.end_ns,
        watermark_ns=frame.watermark_ns,
        tenants=frame.tenants,
        loads=frame.loads,
        adapters=frame.adapters,
        iteration_start_ns=starts_ns,
        iteration_end_ns=ends_ns,
        iteration_kind=kinds.astype(np.uint8),
        iteration_padded_tokens=padded_tokens,
        request_ordinal=ordinals,
        request_client_id=ClientIds(frame.client_id_prefix, frame.client_id_text, id_lengths),
        request_tenant=tenant,
        request_load=load,
        request_load_ordinal=load_ordinals,
        request_adapter=adapter,
        request_prefix_group=prefix_groups.view(np.uint64),
        request_prompt_tokens=prompt,
        request_cached_tokens=cached,
        span_request=span_request,
        span_first_iteration=first_iteration,
        span_length=length,
        span_entry_context=entry_context,
        exception_row=row,
        exception_new_tokens=new_tokens,
        exception_drafts=drafts,
        exception_rejected=rejected,
        exception_emitted=emitted,
    )
