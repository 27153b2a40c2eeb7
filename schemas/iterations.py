"""One engine's iterations over one frame interval, as arrays: what the hook saw, and nothing of any prompt.

A frame stands alone: it carries the ids and tenants its rows need, so no loss or replay of another frame
changes what it says. Rows are kept in span form (one entry per stay of a request in the batch) because a
plain decode row says nothing that its neighbour did not; `expand` writes them out.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

__all__ = ["DUMMY", "NORMAL", "UNRECORDED", "WARM_UP", "IterationFrame", "Rows", "expand"]

NORMAL: Final = 0
"""An iteration that served requests."""
DUMMY: Final = 1
"""A dummy batch of a data-parallel rank: energy without a request, booked to `overhead`."""
WARM_UP: Final = 2
"""Warm-up, profiling or graph capture outside a model load: booked to `overhead`."""
UNRECORDED: Final = 3
"""The sum of iterations whose rows were given up for want of room: from when to when, and as `padded_tokens` how
many tokens they computed. The only iteration of its frame, without requests; its time is booked to `unobserved`,
with the cause `spool_full`."""

Int32s = NDArray[np.int32]
Int64s = NDArray[np.int64]
UInt64s = NDArray[np.uint64]
UInt8s = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class IterationFrame:
    """What one engine ran in `[start_ns, end_ns)`; I iterations, R requests, S spans, X exceptions.

    Times are nanoseconds since the Unix epoch, whole microseconds. An iteration belongs to the frame in
    which it *ended*; it may have started before `start_ns`, and iterations may overlap (pipeline parallel).
    """

    group_id: str
    """What is metered together; the Kafka key."""
    engine_id: str
    """cluster/node/name."""
    incarnation: str
    """One life of the engine process: `<start_ns>-<random hex>`."""
    incarnation_start_ns: int
    sequence: int
    """Counts from 0 within an incarnation, without holes: a hole is a gap in the data."""
    start_ns: int
    end_ns: int
    watermark_ns: int
    """Every iteration that started before this instant is in this frame or an earlier one (≤ end_ns)."""

    tenants: tuple[str, ...]
    loads: tuple[str, ...]
    """Load ids that requests refer to."""
    adapters: tuple[str, ...]

    iteration_start_ns: Int64s
    """(I,) start of each forward pass, ascending."""
    iteration_end_ns: Int64s
    """(I,) end of each forward pass, > start."""
    iteration_kind: UInt8s
    """(I,) NORMAL, DUMMY, WARM_UP or UNRECORDED."""
    iteration_padded_tokens: Int32s
    """(I,) tokens after CUDA-graph padding; 0 where the engine does not say."""

    request_ordinal: Int64s
    """(R,) the hook's own counter: identity within the incarnation."""
    request_client_id: Sequence[str]
    """(R,) the id as the client knows it: an attribute, clients repeat ids."""
    request_tenant: Int32s
    """(R,) index into `tenants`."""
    request_load: Int32s
    """(R,) index into `loads`, or -1."""
    request_load_ordinal: Int64s
    """(R,) k: this request is the k-th admitted since that load (1-based); 0 where there is no load."""
    request_adapter: Int32s
    """(R,) index into `adapters`, or -1."""
    request_prefix_group: UInt64s
    """(R,) requests with the same value share a prompt prefix; 0 for none."""
    request_prompt_tokens: Int32s
    """(R,) prompt length."""
    request_cached_tokens: Int32s
    """(R,) prompt tokens found in the prefix cache at admission."""

    span_request: Int32s
    """(S,) index into the requests."""
    span_first_iteration: Int32s
    """(S,) index of the span's first iteration in this frame."""
    span_length: Int32s
    """(S,) consecutive iterations, ≥ 1."""
    span_entry_context: Int32s
    """(S,) tokens in the KV cache before the span's first row."""

    exception_row: Int32s
    """(X,) ascending position in the expanded rows (spans one after another) that is no plain decode."""
    exception_new_tokens: Int32s
    """(X,) tokens computed in this row: a prefill chunk, or 1 + drafts."""
    exception_drafts: Int32s
    """(X,) of them speculative drafts."""
    exception_rejected: Int32s
    """(X,) of them rejected: the context advances by new_tokens - rejected."""
    exception_emitted: Int32s
    """(X,) tokens the request's client received: 0 for a chunk that is not the last, and where the output was
    dropped. A decode row that nobody received (the request had stopped, the engine had scheduled ahead) is
    booked to `overhead`."""


@dataclass(frozen=True, slots=True)
class Rows:
    """Requests in iterations, written out: N rows, span by span, each span's iterations ascending."""

    iteration: Int32s
    """(N,) index into the frame's iterations."""
    request: Int32s
    """(N,) index into the frame's requests."""
    new_tokens: Int32s
    """(N,) tokens computed."""
    context_tokens: Int64s
    """(N,) tokens in the KV cache before the row."""
    drafts: Int32s
    """(N,) of new_tokens, speculative."""
    emitted: Int32s
    """(N,) tokens delivered."""


def expand(frame: IterationFrame) -> Rows:
    """Write a frame's spans out as rows, in O(N); context is the entry context plus the running advance."""
    lengths = frame.span_length.astype(np.int64)
    total = int(lengths.sum())
    starts = np.cumsum(lengths) - lengths
    offset = np.arange(total, dtype=np.int64) - np.repeat(starts, lengths)
    iteration = np.repeat(frame.span_first_iteration.astype(np.int64), lengths) + offset
    new_tokens = np.ones(total, np.int32)
    drafts = np.zeros(total, np.int32)
    emitted = np.ones(total, np.int32)
    advance = np.ones(total, np.int64)
    at = frame.exception_row
    new_tokens[at] = frame.exception_new_tokens
    drafts[at] = frame.exception_drafts
    emitted[at] = frame.exception_emitted
    advance[at] = frame.exception_new_tokens.astype(np.int64) - frame.exception_rejected
    before = np.cumsum(advance) - advance
    context = np.repeat(frame.span_entry_context - before[starts], lengths) + before
    return Rows(
        iteration=iteration.astype(np.int32),
        request=np.repeat(frame.span_request, lengths),
        new_tokens=new_tokens,
        context_tokens=context,
        drafts=drafts,
        emitted=emitted,
    )
