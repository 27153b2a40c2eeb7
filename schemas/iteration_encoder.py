"""Iteration frames to bytes; `schemas/proto/frames_v1.proto` says what each column holds."""

import os.path

import numpy as np
from numpy.typing import NDArray

from schemas import checks
from schemas import iteration_checks as hold
from schemas.blocks import stack_columns
from schemas.envelope import ITERATIONS, VERSION, pack
from schemas.errors import MalformedMessage
from schemas.iterations import IterationFrame
from schemas.proto import frames_v1_pb2

__all__ = ["encode_iterations"]

Int64s = NDArray[np.int64]


def encode_iterations(frame: IterationFrame) -> bytes:
    """The message that says what `frame` says.

    Raises MalformedMessage, naming field and value, for a frame that `decode_iterations` would refuse.
    """
    hold.check_head(frame)
    hold.check_unrecorded(frame)
    starts_ns, ends_ns, iterations = _iterations(frame)
    prefix_groups, requests = _requests(frame)
    prefix, client_ids, requests[2] = _client_ids(frame)
    spans = stack_columns(
        "span",
        frame.span_request,
        frame.span_entry_context,
        frame.span_first_iteration,
        frame.span_length,
    )
    exceptions = stack_columns(
        "exception",
        frame.exception_row,
        frame.exception_new_tokens,
        frame.exception_drafts,
        frame.exception_rejected,
        frame.exception_emitted,
    )
    hold.check_sizes(iterations.shape[1], requests.shape[1])
    hold.check_iterations(frame.start_ns, frame.end_ns, starts_ns, ends_ns, iterations[2:])
    most = hold.most_of_requests(prefix, frame.tenants, frame.loads, frame.adapters, len(prefix_groups))
    hold.check_requests(requests[:2], requests[2:], most)
    rows = hold.check_spans(spans, requests.shape[1], iterations.shape[1])
    new_tokens = hold.check_exceptions(exceptions, rows)
    hold.check_contexts(frame, new_tokens)
    message = frames_v1_pb2.IterationFrame(
        schema_version=VERSION,
        group_id=frame.group_id,
        engine_id=frame.engine_id,
        incarnation=frame.incarnation,
        incarnation_start_ns=frame.incarnation_start_ns,
        sequence=frame.sequence,
        start_ns=frame.start_ns,
        end_us=_whole_us("end_ns", frame.end_ns - frame.start_ns),
        watermark_us=_whole_us("watermark_ns", frame.watermark_ns - frame.start_ns),
        iterations=iterations.shape[1],
        requests=requests.shape[1],
        spans=spans.shape[1],
        exceptions=exceptions.shape[1],
        rows=rows,
        new_tokens=new_tokens,
        tenants=frame.tenants,
        loads=frame.loads,
        adapters=frame.adapters,
        prefix_groups=prefix_groups,
        request_client_id_prefix=prefix,
    )
    spans[1] -= requests[7, spans[0]]
    for values in (requests[:2], spans[:1], exceptions[:1]):
        values[:, 1:] -= values[:, :-1].copy()
    for names, block in zip(hold.BLOCKS, (iterations, requests, spans, exceptions), strict=True):
        for name, column in zip(names, block.tolist(), strict=True):
            getattr(message, name).extend(column)
    rest = frames_v1_pb2.IterationFrame(request_client_ids=client_ids)
    return pack(ITERATIONS, message.SerializeToString(), rest.SerializeToString())


def _iterations(frame: IterationFrame) -> tuple[Int64s, Int64s, Int64s]:
    """Starts and ends in ns, and the block of gaps and durations in µs, kinds and padded tokens."""
    starts_ns, ends_ns, kinds, padded = stack_columns(
        "iteration",
        frame.iteration_start_ns,
        frame.iteration_end_ns,
        frame.iteration_kind,
        frame.iteration_padded_tokens,
    )
    gaps_ns = starts_ns.copy()
    gaps_ns[1:] -= ends_ns[:-1]
    gaps_ns[:1] -= frame.start_ns
    intervals_us, parts_ns = np.divmod(np.array((gaps_ns, ends_ns - starts_ns)), 1000)
    if np.count_nonzero(parts_ns):
        place = int(parts_ns.any(axis=0).argmax())
        times = f"{starts_ns[place]} to {ends_ns[place]} ns"
        raise MalformedMessage(f"iteration {place}: {times}; frames hold whole microseconds, round both")
    return starts_ns, ends_ns, np.array((*intervals_us, kinds, padded))


def _requests(frame: IterationFrame) -> tuple[list[int], Int64s]:
    """The table of prefix groups, and the block of the requests' numbers with "none" as 0."""
    groups = frame.request_prefix_group
    if groups.dtype != np.uint64:
        raise MalformedMessage(f"request_prefix_group: of {groups.dtype}; must be uint64")
    # A first-come table: hashes repeat among a tenant's requests and cost 8 bytes each time they are written.
    table: dict[int, int] = {}
    of_request = [table.setdefault(group, len(table) + 1) if group else 0 for group in groups.tolist()]
    block = stack_columns(
        "request",
        frame.request_ordinal,
        frame.request_load_ordinal,
        of_request,  # keeps the place of the client ids' lengths
        frame.request_tenant,
        frame.request_load,
        frame.request_adapter,
        of_request,
        frame.request_prompt_tokens,
        frame.request_cached_tokens,
    )
    block[4:6] += 1
    return list(table), block


def _client_ids(frame: IterationFrame) -> tuple[str, str, list[int]]:
    """What all client ids begin with, the rest of each joined, and the lengths of these rests."""
    ids = frame.request_client_id
    if len(ids) != frame.request_ordinal.size:
        found = frame.request_ordinal.size
        raise MalformedMessage(f"request_client_id: {len(ids)} entries for {found} requests")
    checks.check_texts("request_client_id", ids)
    # Character by character, as wanted here.
    prefix = os.path.commonprefix((min(ids), max(ids))) if ids else ""  # noqa: RUF071
    rests = [text[len(prefix) :] for text in ids]
    return prefix, "".join(rests), list(map(len, rests))


def _whole_us(field: str, offset_ns: int) -> int:
    if offset_ns % 1000:
        raise MalformedMessage(f"{field}: {offset_ns} ns after start_ns; must be whole microseconds")
    return offset_ns // 1000
