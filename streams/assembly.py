"""One engine's part of a batch as columns: its frames joined, cut at the batch's edges, requests made unique."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from schemas.packed_iterations import PackedIterations
from streams.joining import join_frames, ordinals_of
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


def assemble(frames: Sequence[PackedIterations], start_ns: int, end_ns: int) -> EngineWindow:
    """Join one incarnation's frames over `[start_ns, end_ns)`, in O(spans). At least one frame."""
    wide = np.concatenate([frame.wide for frame in frames])
    narrow = np.concatenate([frame.narrow for frame in frames])
    ordinals = ordinals_of(wide, len(frames))
    # Almost sorted already, and a stable sort keeps equal ordinals in the order of the frames.
    order = np.argsort(ordinals, kind="stable")
    times_ns, kinds, padded_tokens, share, ends_here, runs, others, requests = join_frames(
        wide, narrow, len(frames), ordinals, order, start_ns, end_ns
    )
    return EngineWindow(
        engine_id=frames[0].engine_id,
        incarnation=frames[0].incarnation,
        iteration_start_ns=times_ns[0],
        iteration_end_ns=times_ns[1],
        iteration_kind=kinds,
        iteration_padded_tokens=padded_tokens,
        iteration_share=share,
        iteration_ends_here=ends_here,
        runs=Runs(*runs, *others),
        requests=_requests(frames, requests),
    )


def _requests(frames: Sequence[PackedIterations], found: NDArray[np.int64]) -> Requests:
    """Requests with their names; found (11, R): see `join_frames`."""
    tenant, load_id, adapter = _names(frames)[found[5:8]]
    return Requests(
        ordinal=found[0],
        client_id=_client_ids(frames, found[8:]),
        tenant=tenant,
        load_id=load_id,
        load_ordinal=found[1],
        adapter=adapter,
        prefix_group=found[2].view(np.uint64),
        prompt_tokens=found[3],
        cached_tokens=found[4],
    )


def _names(frames: Sequence[PackedIterations]) -> Names:
    """Nothing, then each frame's tenants, loads and adapters."""
    names = [""]
    for frame in frames:
        names += frame.tenants
        names += frame.loads
        names += frame.adapters
    return np.array(names, np.object_)


def _client_ids(frames: Sequence[PackedIterations], places: NDArray[np.int64]) -> Names:
    """Client ids (R,); places (3, R): whose each is, where it begins and ends in all frames' texts together."""
    prefixes = [frame.client_id_prefix for frame in frames]
    text = "".join([frame.client_id_text for frame in frames])
    ids = np.empty(places.shape[1], np.object_)
    ids[:] = [prefixes[owner] + text[begin:end] for owner, begin, end in zip(*places.tolist(), strict=True)]
    return ids
