"""One engine's part of a batch as columns: its frames joined, cut at the batch's edges, requests made unique."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from schemas.iterations import IterationFrame
from streams.runs import Runs, clip, renumber, runs_of

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
    ordinals = np.unique(np.concatenate([frame.request_ordinal for frame in frames]))
    starts = np.concatenate([frame.iteration_start_ns for frame in frames])
    ends = np.concatenate([frame.iteration_end_ns for frame in frames])
    inside = np.flatnonzero((ends > start_ns) & (starts < end_ns))
    first, end = (int(inside[0]), int(inside[-1]) + 1) if len(inside) else (0, 0)
    runs = clip(
        runs_of(frames, [np.searchsorted(ordinals, frame.request_ordinal) for frame in frames]), first, end
    )
    present = np.zeros(len(ordinals), np.bool_)
    present[runs.request] = present[runs.other_request] = True
    starts, ends = starts[first:end], ends[first:end]
    # Iterations may overlap (pipeline parallel), so one outside can stand between two inside: its share is 0.
    overlap_ns = np.maximum(np.minimum(ends, end_ns) - np.maximum(starts, start_ns), 0)
    return EngineWindow(
        engine_id=frames[0].engine_id,
        incarnation=frames[0].incarnation,
        iteration_start_ns=starts,
        iteration_end_ns=ends,
        iteration_kind=np.concatenate([frame.iteration_kind for frame in frames])[first:end],
        iteration_padded_tokens=np.concatenate([frame.iteration_padded_tokens for frame in frames])[
            first:end
        ],
        iteration_share=overlap_ns / (ends - starts),
        iteration_ends_here=(ends > start_ns) & (ends <= end_ns),
        runs=renumber(runs, np.cumsum(present) - 1),
        requests=_requests(frames, ordinals[present]),
    )


def _requests(frames: Sequence[IterationFrame], ordinals: NDArray[np.int64]) -> Requests:
    """Attributes of the requests `ordinals`, each from the latest frame that names it."""
    named = np.concatenate([frame.request_ordinal for frame in frames])
    # The last of equal ordinals: a stable sort keeps them in the order of the frames.
    order = np.argsort(named, kind="stable")
    latest = order[np.searchsorted(named[order], ordinals, side="right") - 1]

    def column(name: str) -> NDArray[np.int64]:
        return np.concatenate([getattr(frame, name) for frame in frames])[latest]

    def names(index: str, table: str) -> Names:
        """Names by way of each frame's own table; index -1 finds the empty name put behind it."""
        looked_up = [
            np.asarray([*getattr(frame, table), ""], np.object_)[getattr(frame, index)] for frame in frames
        ]
        return np.asarray(np.concatenate(looked_up)[latest], np.object_)

    clients = np.asarray([client for frame in frames for client in frame.request_client_id], np.object_)
    return Requests(
        ordinal=ordinals,
        client_id=clients[latest],
        tenant=names("request_tenant", "tenants"),
        load_id=names("request_load", "loads"),
        load_ordinal=column("request_load_ordinal"),
        adapter=names("request_adapter", "adapters"),
        prefix_group=column("request_prefix_group").astype(np.uint64),
        prompt_tokens=column("request_prompt_tokens").astype(np.int64),
        cached_tokens=column("request_cached_tokens").astype(np.int64),
    )
