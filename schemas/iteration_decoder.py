"""Bytes to iteration frames; `schemas/proto/frames_v1.proto` says what each column holds."""

import functools
from collections.abc import Callable
from operator import attrgetter
from typing import Final

import numpy as np
from google.protobuf.message import DecodeError
from numpy.typing import NDArray

from schemas import iteration_checks as hold
from schemas.checks import check_count, check_integer, check_period
from schemas.envelope import ITERATIONS, VERSION, pack, unpack
from schemas.errors import MalformedMessage
from schemas.iteration_arrays import COLUMNS, Stated, decode_arrays
from schemas.iterations import UNRECORDED, IterationFrame
from schemas.limits import MAX_REQUESTS, MAX_ROWS, MAX_SEQUENCE
from schemas.packed_iterations import SIZES, PackedIterations, earliest_ns, unpacked
from schemas.proto import columns_v1_pb2

__all__ = ["decode_iterations", "decode_packed", "prepare_iterations"]

Certify = Callable[[NDArray[np.uint8]], tuple[tuple[int, ...], NDArray[np.int64], NDArray[np.int32]]]

KNOWN: Final = 1 << 14
"""Names and tables remembered: an engine's repeat in each of its frames. More than ten thousand engines have."""
SHORT: Final = 1 << 9
"""Bytes of tables that are remembered: of KNOWN such, with their strings, 64 MiB if somebody tries."""

_columns = attrgetter(*COLUMNS)


def decode_iterations(data: bytes) -> IterationFrame:
    """The frame in a message of `wattledger.iterations.v1`; see `decode_packed`."""
    return unpacked(decode_packed(data))


def decode_packed(data: bytes) -> PackedIterations:
    """The same frame in two blocks, as a worker holds it.

    Raises UnknownVersion or MalformedMessage, naming field and value, for anything that does not hold
    together; no input makes it raise anything else, or allocate more than limits.py allows.

    Where Numba is installed, the first call loads it (a second; some more to compile on a new machine), unless
    `prepare_iterations` did.
    """
    payload = unpack(ITERATIONS, data)
    certified = _certified(payload)
    return _by_arrays(payload) if certified is None else certified


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


def _certified(payload: bytes) -> PackedIterations | None:
    """The payload's frame if it is plainly sound."""
    certify = _certify()
    if certify is None:
        return None
    head, wide, narrow = certify(np.frombuffer(payload, np.uint8))
    if not wide.size:
        return None
    born_ns, sequence, start_ns, end_ns, watermark_ns, first_ns, *places = head
    names_at, names_end, tables_at, tables_end, prefix_at, prefix_end, text_at, text_end = places
    tables = payload[tables_at:tables_end]
    try:
        names = _names(payload[names_at:names_end])
        tenants, loads, adapters = _tables(tables) if len(tables) <= SHORT else _tables.__wrapped__(tables)
        prefix = payload[prefix_at:prefix_end].decode()
        text = payload[text_at:text_end].decode()
    except (DecodeError, UnicodeDecodeError):
        return None
    return PackedIterations(
        *names,
        born_ns,
        sequence,
        start_ns,
        end_ns,
        watermark_ns,
        first_ns,
        False,
        tenants,
        loads,
        adapters,
        prefix,
        text,
        wide,
        narrow,
    )


@functools.lru_cache(KNOWN)
def _names(fields: bytes) -> tuple[str, str, str]:
    """Group, engine and incarnation; raises DecodeError where one is no UTF-8."""
    message = columns_v1_pb2.IterationFrame.FromString(fields)
    return message.group_id, message.engine_id, message.incarnation


@functools.lru_cache(KNOWN)
def _tables(fields: bytes) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
    """Tenants, loads and adapters; raises DecodeError where one is no UTF-8."""
    message = columns_v1_pb2.IterationFrame.FromString(fields)
    return tuple(message.tenants), tuple(message.loads), tuple(message.adapters)


def _by_arrays(payload: bytes) -> PackedIterations:
    """The payload's frame, whatever it is like; raises MalformedMessage for what does not hold together."""
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
        tables=(len(tenants), len(loads), len(adapters)),
        prefix_groups=prefix_groups,
        times_ns=(start_ns, end_ns),
        most=hold.most_of_requests(prefix, tenants, loads, adapters, prefix_groups.size - 1),
        text_length=len(text),
    )
    wide, narrow = decode_arrays(stated, _columns(message))
    iterations = message.iterations
    packed = PackedIterations(
        group_id=message.group_id,
        engine_id=message.engine_id,
        incarnation=message.incarnation,
        incarnation_start_ns=message.incarnation_start_ns,
        sequence=message.sequence,
        start_ns=start_ns,
        end_ns=end_ns,
        watermark_ns=watermark_ns,
        earliest_ns=earliest_ns(start_ns, wide[SIZES : SIZES + iterations]),
        given_up=narrow[:iterations].tolist() == [UNRECORDED],
        tenants=tenants,
        loads=loads,
        adapters=adapters,
        client_id_prefix=prefix,
        client_id_text=text,
        wide=wide,
        narrow=narrow,
    )
    frame = unpacked(packed)
    hold.check_names(frame)
    hold.check_unrecorded(frame)
    hold.check_contexts(frame, message.new_tokens)
    return packed


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
