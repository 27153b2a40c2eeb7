"""Bytes to iteration frames; `schemas/proto/frames_v1.proto` says what each column holds."""

import functools
from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import Final

import numpy as np
from google.protobuf.message import DecodeError
from numpy.typing import NDArray

from schemas import iteration_checks as hold
from schemas.checks import check_count, check_integer, check_period
from schemas.client_ids import ClientIds
from schemas.envelope import ITERATIONS, VERSION, pack, unpack
from schemas.errors import MalformedMessage
from schemas.iteration_arrays import COLUMNS, Arrays, Stated, decode_arrays
from schemas.iterations import IterationFrame
from schemas.limits import MAX_REQUESTS, MAX_ROWS, MAX_SEQUENCE
from schemas.proto import columns_v1_pb2

__all__ = ["decode_iterations", "prepare_iterations"]

Certify = Callable[..., bool]

_columns = attrgetter(*COLUMNS)


def decode_iterations(data: bytes) -> IterationFrame:
    """The frame in a message of `wattledger.iterations.v1`.

    Raises UnknownVersion or MalformedMessage, naming field and value, for anything that does not hold
    together; no input makes it raise anything else, or allocate more than limits.py allows.

    Where Numba is installed, the first call loads it (a second; 3 s more to compile on a new machine), unless
    `prepare_iterations` did.
    """
    payload = unpack(ITERATIONS, data)
    try:
        message = columns_v1_pb2.IterationFrame.FromString(payload)
    except DecodeError as error:
        raise MalformedMessage(f"payload: not an IterationFrame ({error})") from error
    _check_counts(message)
    prefix_groups = _prefix_groups(message.prefix_groups)
    start_ns = message.start_ns
    end_ns = start_ns + message.end_us * 1000
    watermark_ns = start_ns + message.watermark_us * 1000
    check_period(start_ns, end_ns, watermark_ns)
    tenants, loads, adapters = tuple(message.tenants), tuple(message.loads), tuple(message.adapters)
    prefix, text = message.request_client_id_prefix, message.request_client_ids
    stated = Stated(
        counts=(message.iterations, message.requests, message.spans, message.exceptions),
        totals=(message.rows, message.new_tokens),
        times_ns=(start_ns, end_ns),
        most=hold.most_of_requests(prefix, tenants, loads, adapters, prefix_groups.size - 1),
        text_length=len(text),
    )
    columns: tuple[bytes, ...] = _columns(message)
    certified = _certified(stated, columns)
    arrays = certified or decode_arrays(stated, columns)

    iterations, requests, spans, exceptions = stated.counts
    starts_ns, ends_ns = arrays.wide[: 2 * iterations].reshape(2, iterations)
    ordinals, load_ordinals = arrays.wide[2 * iterations :].reshape(2, requests)
    begin = 2 * iterations
    kinds, padded_tokens = arrays.narrow[:begin].reshape(2, iterations)
    end = begin + 7 * requests
    id_lengths, tenant, load, adapter, prefix_group, prompt, cached = arrays.narrow[begin:end].reshape(
        7, requests
    )
    begin, end = end, end + 4 * spans
    span_request, entry_context, first_iteration, length = arrays.narrow[begin:end].reshape(4, spans)
    exception = arrays.narrow[end:].reshape(5, exceptions)
    frame = IterationFrame(
        group_id=message.group_id,
        engine_id=message.engine_id,
        incarnation=message.incarnation,
        incarnation_start_ns=message.incarnation_start_ns,
        sequence=message.sequence,
        start_ns=start_ns,
        end_ns=end_ns,
        watermark_ns=watermark_ns,
        tenants=tenants,
        loads=loads,
        adapters=adapters,
        iteration_start_ns=starts_ns,
        iteration_end_ns=ends_ns,
        iteration_kind=kinds.astype(np.uint8),
        iteration_padded_tokens=padded_tokens,
        request_ordinal=ordinals,
        request_client_id=ClientIds(prefix, text, id_lengths),
        request_tenant=tenant,
        request_load=load,
        request_load_ordinal=load_ordinals,
        request_adapter=adapter,
        request_prefix_group=prefix_groups[prefix_group],
        request_prompt_tokens=prompt,
        request_cached_tokens=cached,
        span_request=span_request,
        span_first_iteration=first_iteration,
        span_length=length,
        span_entry_context=entry_context,
        exception_row=exception[0],
        exception_new_tokens=exception[1],
        exception_drafts=exception[2],
        exception_rejected=exception[3],
        exception_emitted=exception[4],
    )
    hold.check_names(frame)
    if certified is None:
        hold.check_unrecorded(frame)
        hold.check_contexts(frame, message.new_tokens)
    return frame


def prepare_iterations() -> None:
    """Load the compiled decoder now and not at the first frame; without Numba there is nothing to load."""
    nothing = columns_v1_pb2.IterationFrame(
        schema_version=VERSION, group_id="none", engine_id="none", incarnation="none"
    )
    decode_iterations(pack(ITERATIONS, nothing.SerializeToString()))


@functools.cache
def _certify() -> Certify | None:
    """The compiled decoder, where Numba is installed."""
    try:
        from schemas.certificate import certify
    except ImportError:
        return None
    return certify


def _certified(stated: Stated, columns: Sequence[bytes]) -> Arrays | None:
    """The columns' numbers if they are plainly sound."""
    certify = _certify()
    if certify is None:
        return None
    iterations, requests, spans, exceptions = stated.counts
    narrow_size = 2 * iterations + 7 * requests + 4 * spans + 5 * exceptions
    wide_size = 2 * (iterations + requests)
    data = b"".join(columns)
    if len(data) < narrow_size + wide_size:
        return None  # claims without bytes behind them: nothing is made as long as they say
    wide = np.empty(wide_size, np.int64)
    narrow = np.empty(narrow_size, np.int32)
    said = [
        *map(len, columns),
        *stated.most,
        *stated.counts,
        *stated.totals,
        *stated.times_ns,
        stated.text_length,
    ]
    sound = certify(np.frombuffer(data, np.uint8), np.array(said, np.int64), wide, narrow)
    return Arrays(wide, narrow) if sound else None


def _check_counts(message: columns_v1_pb2.IterationFrame) -> None:
    """The message's own version and counts, before anything is made as long as they say."""
    if message.schema_version != VERSION:
        version = message.schema_version
        raise MalformedMessage(f"schema_version: the header says {VERSION}, the payload {version}")
    hold.check_sizes(message.iterations, message.requests)
    check_count("rows", message.rows, MAX_ROWS)
    check_integer("spans", message.spans, 0, message.rows)
    check_integer("exceptions", message.exceptions, 0, message.rows)
    check_integer("new_tokens", message.new_tokens, 0, MAX_SEQUENCE)


def _prefix_groups(table: bytes) -> NDArray[np.uint64]:
    """The table with 0, for none, in front."""
    if not table:
        return _NO_GROUP
    if len(table) % 8:
        raise MalformedMessage(f"prefix_groups: {len(table)} bytes are no whole number of 64-bit values")
    check_count("prefix_groups", len(table) // 8, MAX_REQUESTS)
    return np.frombuffer(bytes(8) + table, "<u8")


_NO_GROUP: Final = np.zeros(1, np.uint64)
_NO_GROUP.flags.writeable = False
