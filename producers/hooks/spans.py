"""Turns steps into a frame by difference: only requests that come, go or do something else than decode cost.

A batch in steady decode is recognised as a whole (the same keys as before, one token each), so that an
iteration of 256 requests costs a few dictionary comparisons and no loop over its rows.
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from producers.hooks.contract import Admission, Entry, Step
from schemas.iterations import IterationFrame

__all__ = ["FrameHead", "LoadOf", "SpanRecorder"]

LoadOf = Callable[[Admission], str]
"""The load under which a request is admitted; empty for none."""

OUT: Final = -1
"""Index of a span or frame entry that does not exist."""


@dataclass(frozen=True, slots=True)
class FrameHead:
    """The frame's own fields; see IterationFrame."""

    group_id: str
    engine_id: str
    incarnation: str
    incarnation_start_ns: int
    sequence: int
    start_ns: int
    end_ns: int
    watermark_ns: int


@dataclass(slots=True)
class Live:
    """A request from its first row until the engine says it finished."""

    ordinal: int
    admission: Admission
    load_id: str
    load_ordinal: int
    context: int
    """Tokens in the KV cache before its open span, or now if it has none."""
    frame_index: int = OUT
    span: int = OUT
    span_first: int = 0
    surplus: int = 0
    """Tokens by which the open span's context advanced beyond one per row."""


@dataclass(slots=True)
class Columns:
    """One frame in the making."""

    iteration_start: list[int] = field(default_factory=list)
    iteration_end: list[int] = field(default_factory=list)
    iteration_kind: list[int] = field(default_factory=list)
    iteration_padded: list[int] = field(default_factory=list)
    requests: list[Live] = field(default_factory=list)
    span_request: list[int] = field(default_factory=list)
    span_first: list[int] = field(default_factory=list)
    span_length: list[int] = field(default_factory=list)
    span_entry: list[int] = field(default_factory=list)
    exceptions: list[tuple[int, int, int, int, int, int]] = field(default_factory=list)
    """span, offset in it, new tokens, drafts, rejected, emitted."""


class SpanRecorder:
    """Keeps the requests that live and the frame in the making. One thread's: the recorder's."""

    def __init__(self) -> None:
        self._live: dict[str, Live] = {}
        self._batch: Mapping[str, int] = {}
        self._columns = Columns()
        self._admitted = 0
        self._admitted_under: dict[str, int] = {}

    @property
    def live(self) -> int:
        """Requests that have run and not finished."""
        return len(self._live)

    def add(self, step: Step, load_of: LoadOf) -> None:
        """Append one iteration; steps come in order of their start. Costs O(changes) in steady decode.

        A step whose end is not after its start is no iteration: only its `finished` counts. KeyError for a
        request that was never entered.
        """
        columns = self._columns
        now = len(columns.iteration_start)
        for key in step.finished:
            self._leave(key, now)
            self._live.pop(key, None)
        if step.start_ns >= step.end_ns:
            return
        columns.iteration_start.append(step.start_ns)
        columns.iteration_end.append(step.end_ns)
        columns.iteration_kind.append(step.kind)
        columns.iteration_padded.append(step.padded_tokens)
        batch, before = step.new_tokens, self._batch
        for key, entry in step.entered.items():
            self._enter(key, entry, load_of, now)
        if batch.keys() != before.keys():
            for key in before.keys() - batch.keys():
                self._leave(key, now)
            # In the engine's order, not a set's: the same steps give the same bytes under any hash seed.
            for key in batch:
                if key not in before:
                    self._open(key, now)
        for key in step.entered:
            self._open(key, now)
        self._batch = batch
        for key in odd_rows(step):
            self._except(key, step, now)

    def build(self, head: FrameHead) -> IterationFrame:
        """Close the frame and begin the next, in which the requests that run on are spans of their own."""
        columns = self._columns
        for key in self._batch:
            self._leave(key, len(columns.iteration_start))
        for live in columns.requests:
            live.frame_index = OUT
        self._batch = {}
        self._columns = Columns()
        return assemble(head, columns)

    def _enter(self, key: str, entry: Entry, load_of: LoadOf, now: int) -> None:
        """Register a request, or set anew the context of one that comes back."""
        live = self._live.get(key)
        if live is not None:
            self._leave(key, now)
            live.context = entry.context_tokens
            return
        if entry.admission is None:
            raise KeyError(f"request {key!r} runs on, but was never admitted")
        load_id = load_of(entry.admission)
        load_ordinal = 0
        if load_id:
            load_ordinal = self._admitted_under[load_id] = self._admitted_under.get(load_id, 0) + 1
        self._live[key] = Live(self._admitted, entry.admission, load_id, load_ordinal, entry.context_tokens)
        self._admitted += 1

    def _open(self, key: str, now: int) -> None:
        """Begin a span with the iteration in the making, unless the request is in one."""
        live = self._live[key]
        if live.span != OUT:
            return
        columns = self._columns
        if live.frame_index == OUT:
            live.frame_index = len(columns.requests)
            columns.requests.append(live)
        live.span = len(columns.span_first)
        live.span_first = now
        live.surplus = 0
        columns.span_request.append(live.frame_index)
        columns.span_first.append(now)
        columns.span_length.append(0)
        columns.span_entry.append(live.context)

    def _leave(self, key: str, now: int) -> None:
        """End a request's span before iteration `now`."""
        live = self._live.get(key)
        if live is None or live.span == OUT:
            return
        length = now - live.span_first
        self._columns.span_length[live.span] = length
        live.context += length + live.surplus
        live.span = OUT

    def _except(self, key: str, step: Step, now: int) -> None:
        """Note a row that is no plain decode."""
        live = self._live[key]
        new_tokens = step.new_tokens[key]
        rejected = step.rejected.get(key, 0)
        emitted = 1 if step.emitted is None else step.emitted.get(key, 0)
        live.surplus += new_tokens - rejected - 1
        self._columns.exceptions.append(
            (live.span, now - live.span_first, new_tokens, step.drafts.get(key, 0), rejected, emitted)
        )


def odd_rows(step: Step) -> Collection[str]:
    """Requests whose row is anything but one token computed and one delivered."""
    batch = step.new_tokens
    odd: set[str] = set()
    if step.total_tokens != len(batch):
        odd.update(key for key, tokens in batch.items() if tokens != 1)
    if step.emitted is not None:
        odd |= batch.keys() - step.emitted.keys()
        odd.update(key for key, tokens in step.emitted.items() if tokens != 1 and key in batch)
    return odd


def assemble(head: FrameHead, columns: Columns) -> IterationFrame:
    """Write the columns out as arrays."""
    requests = columns.requests
    admissions = [live.admission for live in requests]
    tenants = Table(admission.tenant for admission in admissions)
    loads = Table(live.load_id for live in requests if live.load_id)
    adapters = Table(admission.adapter for admission in admissions if admission.adapter)
    lengths = np.array(columns.span_length, np.int32)
    row_starts = np.cumsum(lengths, dtype=np.int64) - lengths
    odd = np.array(columns.exceptions, np.int64).reshape(-1, 6)
    odd_row = row_starts[odd[:, 0]] + odd[:, 1]
    order = np.argsort(odd_row, kind="stable")
    odd_values = odd[order].astype(np.int32)
    return IterationFrame(
        group_id=head.group_id,
        engine_id=head.engine_id,
        incarnation=head.incarnation,
        incarnation_start_ns=head.incarnation_start_ns,
        sequence=head.sequence,
        start_ns=head.start_ns,
        end_ns=head.end_ns,
        watermark_ns=head.watermark_ns,
        tenants=tenants.values,
        loads=loads.values,
        adapters=adapters.values,
        iteration_start_ns=np.array(columns.iteration_start, np.int64),
        iteration_end_ns=np.array(columns.iteration_end, np.int64),
        iteration_kind=np.array(columns.iteration_kind, np.uint8),
        iteration_padded_tokens=int32s(columns.iteration_padded),
        request_ordinal=np.array([live.ordinal for live in requests], np.int64),
        request_client_id=tuple(admission.client_id for admission in admissions),
        request_tenant=int32s([tenants.index[admission.tenant] for admission in admissions]),
        request_load=int32s([loads.index.get(live.load_id, OUT) for live in requests]),
        request_load_ordinal=np.array([live.load_ordinal for live in requests], np.int64),
        request_adapter=int32s([adapters.index.get(admission.adapter, OUT) for admission in admissions]),
        request_prefix_group=np.array([admission.prefix_group for admission in admissions], np.uint64),
        request_prompt_tokens=int32s([admission.prompt_tokens for admission in admissions]),
        request_cached_tokens=int32s([admission.cached_tokens for admission in admissions]),
        span_request=int32s(columns.span_request),
        span_first_iteration=int32s(columns.span_first),
        span_length=lengths,
        span_entry_context=int32s(columns.span_entry),
        exception_row=odd_row[order].astype(np.int32),
        exception_new_tokens=odd_values[:, 2],
        exception_drafts=odd_values[:, 3],
        exception_rejected=odd_values[:, 4],
        exception_emitted=odd_values[:, 5],
    )


class Table:
    """Distinct strings in the order of first use, and each one's index."""

    def __init__(self, values: Iterable[str]) -> None:
        self.values = tuple(dict.fromkeys(values))
        self.index = {value: position for position, value in enumerate(self.values)}


def int32s(values: list[int]) -> NDArray[np.int32]:
    """A column; OverflowError where a value does not fit."""
    return np.array(values, np.int32)
