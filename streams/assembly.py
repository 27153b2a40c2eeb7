"""One engine's part of a batch as columns: its frames joined, cut at the batch's edges, requests made unique."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from schemas.iterations import IterationFrame, Rows, expand

__all__ = ["EngineWindow", "Requests", "assemble"]


@dataclass(frozen=True, slots=True)
class Requests:
    """R requests of one incarnation, by ascending ordinal; attributes as the latest frame gives them."""

    ordinal: NDArray[np.int64]
    client_id: list[str]
    tenant: list[str]
    load_id: list[str]
    load_ordinal: NDArray[np.int64]
    adapter: list[str]
    prefix_group: NDArray[np.uint64]
    prompt_tokens: NDArray[np.int64]
    cached_tokens: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class EngineWindow:
    """I iterations, N rows and R requests of one engine process inside `[start_ns, end_ns)`."""

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
    rows: Rows
    requests: Requests


def assemble(frames: Sequence[IterationFrame], start_ns: int, end_ns: int) -> EngineWindow:
    """Join one incarnation's frames over `[start_ns, end_ns)`, in O(rows). At least one frame."""
    iteration_offset = 0
    parts: list[Rows] = []
    kept_iterations: list[NDArray[np.bool_]] = []
    ordinals = np.unique(np.concatenate([frame.request_ordinal for frame in frames]))
    for frame in frames:
        inside = (frame.iteration_end_ns > start_ns) & (frame.iteration_start_ns < end_ns)
        rows = expand(frame)
        renumber = np.cumsum(inside, dtype=np.int32) - 1 + iteration_offset
        chosen = slice(None) if inside.all() else inside[rows.iteration]
        request = np.searchsorted(ordinals, frame.request_ordinal).astype(np.int32)
        parts.append(
            Rows(
                iteration=renumber[rows.iteration[chosen]],
                request=request[rows.request[chosen]],
                new_tokens=rows.new_tokens[chosen],
                context_tokens=rows.context_tokens[chosen],
                drafts=rows.drafts[chosen],
                emitted=rows.emitted[chosen],
            )
        )
        kept_iterations.append(inside)
        iteration_offset += int(inside.sum())

    def joined(name: str) -> NDArray[np.int64]:
        return np.concatenate(
            [getattr(frame, name)[inside] for frame, inside in zip(frames, kept_iterations, strict=True)]
        )

    starts, ends = joined("iteration_start_ns"), joined("iteration_end_ns")
    overlap_ns = np.minimum(ends, end_ns) - np.maximum(starts, start_ns)
    rows = Rows(
        *(np.concatenate([getattr(part, name) for part in parts]) for name in Rows.__dataclass_fields__)
    )
    seen = np.bincount(rows.request, minlength=len(ordinals)) > 0
    compact = np.cumsum(seen) - 1
    return EngineWindow(
        engine_id=frames[0].engine_id,
        incarnation=frames[0].incarnation,
        iteration_start_ns=starts,
        iteration_end_ns=ends,
        iteration_kind=joined("iteration_kind").astype(np.uint8),
        iteration_padded_tokens=joined("iteration_padded_tokens").astype(np.int32),
        iteration_share=overlap_ns / (ends - starts),
        iteration_ends_here=ends <= end_ns,
        rows=Rows(
            iteration=rows.iteration,
            request=compact[rows.request].astype(np.int32),
            new_tokens=rows.new_tokens,
            context_tokens=rows.context_tokens,
            drafts=rows.drafts,
            emitted=rows.emitted,
        ),
        requests=_requests(frames, ordinals[seen]),
    )


def _requests(frames: Sequence[IterationFrame], ordinals: NDArray[np.int64]) -> Requests:
    """Attributes of the requests `ordinals`, each from the latest frame that names it."""
    source = np.full(len(ordinals), -1, np.int64)
    place = np.zeros(len(ordinals), np.int64)
    for number, frame in enumerate(frames):
        at = np.searchsorted(ordinals, frame.request_ordinal)
        at_safe = np.minimum(at, len(ordinals) - 1) if len(ordinals) else at
        known = (ordinals[at_safe] == frame.request_ordinal) if len(ordinals) else np.zeros(0, np.bool_)
        source[at_safe[known]] = number
        place[at_safe[known]] = np.flatnonzero(known)
    where = list(zip(source.tolist(), place.tolist(), strict=True))

    def numbers(name: str) -> NDArray[np.int64]:
        return np.asarray([getattr(frames[n], name)[p] for n, p in where], np.int64)

    def names(index: str, table: str) -> list[str]:
        found = []
        for n, p in where:
            at = int(getattr(frames[n], index)[p])
            found.append(getattr(frames[n], table)[at] if at >= 0 else "")
        return found

    return Requests(
        ordinal=ordinals,
        client_id=[frames[n].request_client_id[p] for n, p in where],
        tenant=names("request_tenant", "tenants"),
        load_id=names("request_load", "loads"),
        load_ordinal=numbers("request_load_ordinal"),
        adapter=names("request_adapter", "adapters"),
        prefix_group=np.asarray([frames[n].request_prefix_group[p] for n, p in where], np.uint64),
        prompt_tokens=numbers("request_prompt_tokens"),
        cached_tokens=numbers("request_cached_tokens"),
    )
