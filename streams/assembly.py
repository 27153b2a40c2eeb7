"""One engine's part of a batch as columns: its frames joined, cut at the batch's edges, requests made unique."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from schemas.iterations import UNRECORDED, IterationFrame
from streams.joining import iterations_inside, join_rows
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
    counts = np.array([_counts(frame) for frame in frames], np.int64).T
    ordinals = _joined(frames, "request_ordinal")
    spans = tuple(_joined(frames, name) for name in SPANS)
    exceptions = tuple(_joined(frames, name) for name in EXCEPTIONS)
    rows = join_rows(ordinals, counts, spans, exceptions, first, end)
    return EngineWindow(
        engine_id=frames[0].engine_id,
        incarnation=frames[0].incarnation,
        iteration_start_ns=starts[first:end],
        iteration_end_ns=ends[first:end],
        iteration_kind=_joined(frames, "iteration_kind")[first:end],
        iteration_padded_tokens=_joined(frames, "iteration_padded_tokens")[first:end],
        iteration_share=share,
        iteration_ends_here=ends_here,
        runs=Runs(*rows.runs, *rows.others),
        requests=_requests(frames, counts[1], ordinals, rows.latest),
    )


SPANS: Final = ("span_request", "span_first_iteration", "span_length", "span_entry_context")
EXCEPTIONS: Final = (
    "exception_row", "exception_new_tokens", "exception_drafts", "exception_rejected", "exception_emitted",
)  # fmt: skip


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
    latest: NDArray[np.int64],
) -> Requests:
    """Attributes of requests, each from the latest frame that names it; latest (R,) among all that are named."""

    def column(name: str) -> NDArray[np.int64]:
        return np.asarray(_joined(frames, name)[latest], np.int64)

    def names(index: str, table: str) -> Names:
        """Names by way of each frame's own table; index -1 finds the empty name put before it."""
        tables = [("", *getattr(frame, table)) for frame in frames]
        begins = np.cumsum([1, *map(len, tables[:-1])])
        at = (_joined(frames, index) + np.repeat(begins, counts))[latest]
        return np.asarray(np.asarray([*chain.from_iterable(tables)], np.object_)[at])

    clients = [*chain.from_iterable(frame.request_client_id for frame in frames)]
    return Requests(
        ordinal=ordinals[latest],
        client_id=np.asarray([clients[at] for at in latest.tolist()], np.object_),
        tenant=names("request_tenant", "tenants"),
        load_id=names("request_load", "loads"),
        load_ordinal=column("request_load_ordinal"),
        adapter=names("request_adapter", "adapters"),
        prefix_group=_joined(frames, "request_prefix_group")[latest].astype(np.uint64),
        prompt_tokens=column("request_prompt_tokens"),
        cached_tokens=column("request_cached_tokens"),
    )
