"""Cuts what an engine ran into iteration frames, each with the ids and tenants its rows need."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from producers.simulation.requests import Requests
from producers.simulation.schedule import Schedule
from schemas.iterations import IterationFrame

__all__ = ["EngineLog", "cut_frame"]

Int32s = NDArray[np.int32]
Int64s = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class EngineLog:
    """All that one incarnation of an engine did; I iterations, microseconds from the scenario's start."""

    group_id: str
    engine_id: str
    life: str
    """Random part of the incarnation."""
    incarnation_start_us: int
    requests: Requests
    schedule: Schedule
    start_us: Int64s
    """(I,) with dummy batches and warm-up."""
    end_us: Int64s
    """(I,)"""
    kind: NDArray[np.uint8]
    """(I,)"""
    piece_first: Int64s
    """(P,) `schedule.piece_first` as an index into these iterations."""
    load_id: str
    """The load that brought the engine up."""
    admitted_before: int
    """Requests admitted since that load before the scenario began."""
    adapters: tuple[str, ...]
    adapter: Int32s
    """(R,) index into `adapters`, or -1."""

    def incarnation(self, origin_ns: int) -> str:
        """The incarnation's name: `<start_ns>-<hex>`."""
        return f"{origin_ns + self.incarnation_start_us * 1000}-{self.life}"


def cut_frame(log: EngineLog, sequence: int, start_us: int, end_us: int, origin_ns: int) -> IterationFrame:
    """The frame of the iterations that ended in (start_us, end_us]; `origin_ns` is the scenario's start."""
    first, last = np.searchsorted(log.end_us, (start_us, end_us), side="right")
    in_flight = last < len(log.start_us) and log.start_us[last] < end_us
    watermark_us = int(log.start_us[last]) if in_flight else end_us
    ends = np.minimum(log.piece_first + log.schedule.piece_length, last)
    touched = np.flatnonzero(np.maximum(log.piece_first, first) < ends)
    spans = _clip(log, touched, int(first), int(last))
    present, span_request = np.unique(spans.request, return_inverse=True)
    requests, schedule = log.requests, log.schedule
    tenants, tenant = np.unique(requests.tenant[present], return_inverse=True)
    adapters, adapter = _compact(log.adapter[present], log.adapters)
    ordinal = log.admitted_before + schedule.admission[present] + 1
    return IterationFrame(
        group_id=log.group_id,
        engine_id=log.engine_id,
        incarnation=log.incarnation(origin_ns),
        incarnation_start_ns=origin_ns + log.incarnation_start_us * 1000,
        sequence=sequence,
        start_ns=origin_ns + start_us * 1000,
        end_ns=origin_ns + end_us * 1000,
        watermark_ns=origin_ns + watermark_us * 1000,
        tenants=tuple(requests.tenants[i] for i in tenants),
        loads=(log.load_id,) if len(present) else (),
        adapters=adapters,
        iteration_start_ns=origin_ns + log.start_us[first:last] * 1000,
        iteration_end_ns=origin_ns + log.end_us[first:last] * 1000,
        iteration_kind=log.kind[first:last],
        iteration_padded_tokens=np.zeros(last - first, np.int32),
        request_ordinal=ordinal,
        request_client_id=tuple(requests.client_ids[i] for i in present),
        request_tenant=tenant.astype(np.int32),
        request_load=np.zeros(len(present), np.int32),
        request_load_ordinal=ordinal,
        request_adapter=adapter,
        request_prefix_group=np.array([_prefix_group(requests.blocks[i]) for i in present], np.uint64),
        request_prompt_tokens=requests.prompt_tokens[present],
        request_cached_tokens=schedule.cached_tokens[present],
        span_request=span_request.astype(np.int32),
        span_first_iteration=(spans.first - first).astype(np.int32),
        span_length=spans.length.astype(np.int32),
        span_entry_context=spans.context.astype(np.int32),
        exception_row=spans.exception_row.astype(np.int32),
        exception_new_tokens=spans.exception_new_tokens.astype(np.int32),
        exception_drafts=np.zeros(len(spans.exception_row), np.int32),
        exception_rejected=np.zeros(len(spans.exception_row), np.int32),
        exception_emitted=spans.exception_emitted.astype(np.int32),
    )


@dataclass(frozen=True, slots=True)
class _Spans:
    request: Int64s
    first: Int64s
    length: Int64s
    context: Int64s
    exception_row: Int64s
    exception_new_tokens: Int64s
    exception_emitted: Int64s


def _clip(log: EngineLog, pieces: NDArray[np.intp], first: int, last: int) -> _Spans:
    """Clip pieces to iterations [first, last) and join the neighbours of one request into spans."""
    schedule = log.schedule
    request = schedule.piece_request[pieces].astype(np.int64)
    begin = np.maximum(log.piece_first[pieces], first)
    length = np.minimum(log.piece_first[pieces] + schedule.piece_length[pieces], last) - begin
    context = schedule.piece_context[pieces] + begin - log.piece_first[pieces]
    order = np.lexsort((begin, request))
    pieces, request, begin, length, context = (c[order] for c in (pieces, request, begin, length, context))
    joins = np.zeros(len(pieces), np.bool_)
    joins[1:] = (request[1:] == request[:-1]) & (begin[1:] == begin[:-1] + length[:-1])
    joins[1:] &= context[1:] == context[:-1] + schedule.piece_new_tokens[pieces[:-1]] * length[:-1]
    opens = np.flatnonzero(~joins)
    row = np.cumsum(length) - length
    prefill = schedule.piece_prefill[pieces]
    return _Spans(
        request=request[opens],
        first=begin[opens],
        length=np.add.reduceat(length, opens) if len(opens) else length,
        context=context[opens],
        exception_row=row[prefill],
        exception_new_tokens=schedule.piece_new_tokens[pieces[prefill]],
        exception_emitted=schedule.piece_emitted[pieces[prefill]].astype(np.int64),
    )


def _compact(index: Int32s, names: tuple[str, ...]) -> tuple[tuple[str, ...], Int32s]:
    """Only the names in use, and the index into them; -1 stays -1."""
    used = np.unique(index[index >= 0])
    position = np.full(len(names) + 1, -1, np.int32)
    position[used] = np.arange(len(used))
    return tuple(names[i] for i in used), position[index]


def _prefix_group(blocks: tuple[int, ...]) -> int:
    """Requests with the same first block share a prefix; 0 for none."""
    return blocks[0] + 1 if blocks else 0
