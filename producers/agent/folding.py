"""Iteration frames folded for want of room: joined without losing a row, and where that is not enough into sums.

Joined frames say what they said apart. Half of a frame are the ids of requests that its neighbours name too, so
ten frames of 64 requests take an eighth of their room together. Sums say from when to when iterations ran and how
many tokens they computed, and nothing of any request: the worker books their time to `unobserved`.
"""

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from schemas.iterations import UNRECORDED, IterationFrame
from schemas.limits import MAX_ITERATIONS, MAX_REQUESTS, MAX_ROWS, MAX_TOKENS

__all__ = ["can_join", "join", "sums_of"]

Ints = NDArray[np.int64]


def can_join(frames: Sequence[IterationFrame]) -> bool:
    """Whether the frames follow each other without a hole, in one process's life, and fit into one frame."""
    if sum(len(frame.iteration_start_ns) for frame in frames) > MAX_ITERATIONS:
        return False
    if sum(len(frame.request_ordinal) for frame in frames) > MAX_REQUESTS:
        return False
    if sum(int(frame.span_length.sum()) for frame in frames) > MAX_ROWS:
        return False
    if any(UNRECORDED in frame.iteration_kind for frame in frames):
        return False
    starts_ns = np.concatenate([frame.iteration_start_ns for frame in frames])
    return bool((np.diff(starts_ns) >= 0).all()) and all(
        before.end_ns == after.start_ns
        and before.sequence + 1 == after.sequence
        and (before.group_id, before.engine_id, before.incarnation)
        == (after.group_id, after.engine_id, after.incarnation)
        for before, after in pairwise(frames)
    )


def join(frames: Sequence[IterationFrame]) -> IterationFrame:
    """One frame that says what frames for which `can_join` holds say, under the last one's sequence number.

    A request's stay that goes on from one frame into the next is one span. O(spans log spans).
    """
    first, last = frames[0], frames[-1]
    ordinals, latest = _latest(frames)
    iterations_before = np.cumsum([0, *(len(frame.iteration_start_ns) for frame in frames)])
    request = np.concatenate([np.searchsorted(ordinals, f.request_ordinal)[f.span_request] for f in frames])
    begins = np.concatenate(
        [frame.span_first_iteration + int(n) for frame, n in zip(frames, iterations_before, strict=False)]
    )
    length, entry = _column(frames, "span_length"), _column(frames, "span_entry_context")
    owner, offset = _places(frames)
    new_tokens, rejected = _column(frames, "exception_new_tokens"), _column(frames, "exception_rejected")
    surplus = np.bincount(owner, new_tokens - rejected - 1, len(length)).astype(np.int64)

    # A request's spans side by side, in the order in which it ran.
    order = np.lexsort((begins, request))
    request, begins, length, entry = request[order], begins[order], length[order], entry[order]
    leaves_with = entry + length + surplus[order]
    goes_on = np.zeros(len(order), np.bool_)
    goes_on[1:] = (
        (request[1:] == request[:-1])
        & (begins[1:] == (begins + length)[:-1])
        & (entry[1:] == leaves_with[:-1])
    )
    opens = np.flatnonzero(~goes_on)
    rows_before = np.cumsum(length) - length
    place = np.empty(len(order), np.int64)
    place[order] = np.arange(len(order))
    row = rows_before[place[owner]] + offset
    in_rows = np.argsort(row, kind="stable")

    def exceptions(name: str) -> NDArray[np.int32]:
        return _column(frames, name)[in_rows].astype(np.int32)

    tenants, of_tenant = _table(frames, "tenants", "request_tenant", latest)
    loads, of_load = _table(frames, "loads", "request_load", latest)
    adapters, of_adapter = _table(frames, "adapters", "request_adapter", latest)
    clients = np.asarray([client for frame in frames for client in frame.request_client_id], np.object_)
    return IterationFrame(
        group_id=last.group_id,
        engine_id=last.engine_id,
        incarnation=last.incarnation,
        incarnation_start_ns=last.incarnation_start_ns,
        sequence=last.sequence,
        start_ns=first.start_ns,
        end_ns=last.end_ns,
        watermark_ns=last.watermark_ns,
        tenants=tenants,
        loads=loads,
        adapters=adapters,
        iteration_start_ns=_column(frames, "iteration_start_ns"),
        iteration_end_ns=_column(frames, "iteration_end_ns"),
        iteration_kind=_column(frames, "iteration_kind").astype(np.uint8),
        iteration_padded_tokens=_column(frames, "iteration_padded_tokens").astype(np.int32),
        request_ordinal=ordinals,
        request_client_id=tuple(clients[latest]),
        request_tenant=of_tenant,
        request_load=of_load,
        request_load_ordinal=_column(frames, "request_load_ordinal")[latest],
        request_adapter=of_adapter,
        request_prefix_group=np.concatenate([frame.request_prefix_group for frame in frames])[latest],
        request_prompt_tokens=_column(frames, "request_prompt_tokens")[latest].astype(np.int32),
        request_cached_tokens=_column(frames, "request_cached_tokens")[latest].astype(np.int32),
        span_request=request[opens].astype(np.int32),
        span_first_iteration=begins[opens].astype(np.int32),
        span_length=np.add.reduceat(length, opens).astype(np.int32)
        if len(opens)
        else length.astype(np.int32),
        span_entry_context=entry[opens].astype(np.int32),
        exception_row=row[in_rows].astype(np.int32),
        exception_new_tokens=exceptions("exception_new_tokens"),
        exception_drafts=exceptions("exception_drafts"),
        exception_rejected=exceptions("exception_rejected"),
        exception_emitted=exceptions("exception_emitted"),
    )


def sums_of(frame: IterationFrame) -> IterationFrame:
    """The frame without its rows: one iteration from the first one's start to the last one's end, and its tokens.

    A frame in which nothing ran is small, and says all that there is: it stays.
    """
    if not len(frame.iteration_start_ns):
        return frame
    tokens = int(frame.span_length.sum()) + int((frame.exception_new_tokens.astype(np.int64) - 1).sum())
    none32, none64 = np.zeros(0, np.int32), np.zeros(0, np.int64)
    return replace(
        frame,
        tenants=(),
        loads=(),
        adapters=(),
        iteration_start_ns=frame.iteration_start_ns[:1],
        iteration_end_ns=frame.iteration_end_ns.max(keepdims=True),
        iteration_kind=np.array([UNRECORDED], np.uint8),
        iteration_padded_tokens=np.array([min(tokens, MAX_TOKENS)], np.int32),
        request_ordinal=none64,
        request_client_id=(),
        request_tenant=none32,
        request_load=none32,
        request_load_ordinal=none64,
        request_adapter=none32,
        request_prefix_group=np.zeros(0, np.uint64),
        request_prompt_tokens=none32,
        request_cached_tokens=none32,
        span_request=none32,
        span_first_iteration=none32,
        span_length=none32,
        span_entry_context=none32,
        exception_row=none32,
        exception_new_tokens=none32,
        exception_drafts=none32,
        exception_rejected=none32,
        exception_emitted=none32,
    )


def _column(frames: Sequence[IterationFrame], name: str) -> Ints:
    return np.concatenate([getattr(frame, name) for frame in frames]).astype(np.int64)


def _latest(frames: Sequence[IterationFrame]) -> tuple[Ints, Ints]:
    """Ordinals of all requests, ascending, and where in the frames' requests each is told last."""
    named = _column(frames, "request_ordinal")
    ordinals = np.unique(named)
    order = np.argsort(named, kind="stable")
    return ordinals, order[np.searchsorted(named[order], ordinals, side="right") - 1]


def _places(frames: Sequence[IterationFrame]) -> tuple[Ints, Ints]:
    """Of every exception: its span, counted through the frames, and its row within it."""
    owners, offsets, spans = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)], 0
    for frame in frames:
        ends = np.cumsum(frame.span_length, dtype=np.int64)
        row = frame.exception_row.astype(np.int64)
        span = np.searchsorted(ends, row, side="right")
        owners.append(span + spans)
        offsets.append(row - (ends - frame.span_length)[span])
        spans += len(ends)
    return np.concatenate(owners), np.concatenate(offsets)


def _table(
    frames: Sequence[IterationFrame], table: str, column: str, latest: Ints
) -> tuple[tuple[str, ...], NDArray[np.int32]]:
    """The names of one of the frames' tables, each once, and every request's index into them; -1 for none."""
    names = tuple(dict.fromkeys(name for frame in frames for name in getattr(frame, table)))
    place = {name: index for index, name in enumerate(names)}
    indices = [
        np.array([*(place[name] for name in getattr(frame, table)), -1], np.int32)[getattr(frame, column)]
        for frame in frames
    ]
    return names, np.concatenate(indices)[latest]
