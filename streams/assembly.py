"""One engine's part of a batch as columns: its frames joined, cut at the batch's edges, requests made unique."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain
from operator import attrgetter
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from schemas.client_ids import client_ids_at
from schemas.iterations import UNRECORDED, IterationFrame
from streams.joining import iterations_inside, join_rows, sorted_out
from streams.runs import Runs

__all__ = ["EngineWindow", "Requests", "assemble"]

Names = NDArray[np.object_]


@dataclass(frozen=True, slots=True)
class Requests:
    """R requests of one incarnation, by ascending ordinal; attributes as the latest frame gives them."""

    ordinal: NDArray[np.int64]
    client_id: Names
    tenant: Names
    load_id: Names
    load_ordinal: NDArray[np.int64]
    adapter: Names
    prefix_group: NDArray[np.uint64]
    prompt_tokens: NDArray[np.int64]
    cached_tokens: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class EngineWindow:
    """I iterations and R requests of one engine process inside `[start_ns, end_ns)`."""

    engine_id: str
    incarnation: str
    iteration_start_ns: NDArray[np.int64]
    iteration_end_ns: NDArray[np.int64]
    iteration_kind: NDArray[np.uint8]
    iteration_padded_tokens: NDArray[np.int32]
    iteration_share: NDArray[np.float64]
    """(I,) fraction of the iteration's time that lies inside the batch: its energy counts by this."""
    iteration_ends_here: NDArray[np.bool_]
    """(I,) the batch in which an iteration ends counts its tokens, once."""
    runs: Runs
    requests: Requests


def assemble(frames: Sequence[IterationFrame], start_ns: int, end_ns: int) -> EngineWindow:
    """Join one incarnation's frames over `[start_ns, end_ns)`, in O(spans). At least one frame."""
    frames = [_recorded(frame) for frame in frames]
    starts, ends = _joined(frames, "iteration_start_ns"), _joined(frames, "iteration_end_ns")
    first, end, share, ends_here = iterations_inside(starts, ends, start_ns, end_ns)
    counts = np.array([_counts(frame) for frame in frames], np.int64).T.copy()
    ordinals = _joined(frames, "request_ordinal")
    narrow = np.concatenate([column for frame in frames for column in _narrow(frame)])
    padded_tokens, named, spans, exceptions = sorted_out(narrow, counts)
    rows = join_rows(ordinals, counts, tuple(spans), tuple(exceptions), first, end)
    return EngineWindow(
        engine_id=frames[0].engine_id,
        incarnation=frames[0].incarnation,
        iteration_start_ns=starts[first:end],
        iteration_end_ns=ends[first:end],
        iteration_kind=_joined(frames, "iteration_kind")[first:end],
        iteration_padded_tokens=padded_tokens[first:end],
        iteration_share=share,
        iteration_ends_here=ends_here,
        runs=Runs(*rows.runs, *rows.others),
        requests=_requests(frames, counts[1], ordinals, named, rows.latest),
    )


SPANS: Final = ("span_request", "span_first_iteration", "span_length", "span_entry_context")
EXCEPTIONS: Final = (
    "exception_row", "exception_new_tokens", "exception_drafts", "exception_rejected", "exception_emitted",
)  # fmt: skip


OF_REQUESTS: Final = (
    "request_tenant", "request_load", "request_adapter", "request_prompt_tokens", "request_cached_tokens",
)  # fmt: skip
_narrow = attrgetter("iteration_padded_tokens", *OF_REQUESTS, *SPANS, *EXCEPTIONS)
"""Columns of 32 bits: all frames' together are joined in one call and sorted out in another."""


def _recorded(frame: IterationFrame) -> IterationFrame:
    """The frame without what stands for iterations that were given up: their time is a gap, `gaps` finds it."""
    if len(frame.iteration_kind) != 1 or frame.iteration_kind[0] != UNRECORDED:
        return frame
    return replace(
        frame,
        iteration_start_ns=frame.iteration_start_ns[:0],
        iteration_end_ns=frame.iteration_end_ns[:0],
        iteration_kind=frame.iteration_kind[:0],
        iteration_padded_tokens=frame.iteration_padded_tokens[:0],
    )


def _counts(frame: IterationFrame) -> tuple[int, int, int, int]:
    return (
        len(frame.iteration_start_ns),
        len(frame.request_ordinal),
        len(frame.span_length),
        len(frame.exception_row),
    )


def _joined(frames: Sequence[IterationFrame], name: str) -> NDArray[Any]:
    return np.concatenate([getattr(frame, name) for frame in frames])


def _requests(
    frames: Sequence[IterationFrame],
    counts: NDArray[np.int64],
    ordinals: NDArray[np.int64],
    named: NDArray[np.int32],
    latest: NDArray[np.int64],
) -> Requests:
    """Attributes of requests, each from the latest frame that names it; latest (R,) among all that are named.

    counts (F,): requests that each frame names. named (5, N): OF_REQUESTS of all of them.
    """
    ends = np.cumsum(counts)
    of_frame = np.searchsorted(ends, latest, side="right")
    tenant, load, adapter, prompt_tokens, cached_tokens = named[:, latest]
    clients = np.empty(len(latest), np.object_)
    clients[:] = client_ids_at([frame.request_client_id for frame in frames], latest, of_frame)

    def names(index: NDArray[np.int32], table: str) -> Names:
        """Names by way of each frame's own table; -1 is none."""
        found = np.full(len(index), "", np.object_)
        if len(index) and index.max() >= 0:
            tables = [("", *getattr(frame, table)) for frame in frames]
            begins = np.cumsum([1, *map(len, tables[:-1])])
            joined = [*chain.from_iterable(tables)]
            found[:] = [joined[at] for at in (index + begins[of_frame]).tolist()]
        return found

    return Requests(
        ordinal=ordinals[latest],
        client_id=clients,
        tenant=names(tenant, "tenants"),
        load_id=names(load, "loads"),
        load_ordinal=_joined(frames, "request_load_ordinal")[latest],
        adapter=names(adapter, "adapters"),
        prefix_group=_joined(frames, "request_prefix_group")[latest],
        prompt_tokens=prompt_tokens.astype(np.int64),
        cached_tokens=cached_tokens.astype(np.int64),
    )
