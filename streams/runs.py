"""A frame's rows without writing them out: stretches of plain decode, and the rows that are anything else.

A plain decode row says nothing that its neighbour did not, so a stay of a request in the batch is one run,
and what follows costs O(spans + exceptions) instead of O(rows).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from schemas.iterations import IterationFrame

__all__ = ["Runs", "clip", "concatenate", "runs_of"]

Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Runs:
    """D runs of plain decode rows (one new token, delivered) and W other rows."""

    request: Ints
    """(D,)"""
    first: Ints
    """(D,) iteration of the run's first row."""
    length: Ints
    """(D,) consecutive iterations, ≥ 1."""
    context: Ints
    """(D,) tokens in the KV cache before the first row; one more before each following row."""
    other_request: Ints
    """(W,)"""
    other_iteration: Ints
    """(W,)"""
    other_new_tokens: Ints
    """(W,) a prefill chunk, 1 + drafts, or 1 whose output was not delivered."""
    other_context: Ints
    """(W,)"""
    other_drafts: Ints
    """(W,)"""
    other_emitted: Ints
    """(W,)"""

    @property
    def rows(self) -> int:
        """Request-iterations."""
        return int(self.length.sum()) + len(self.other_request)


def runs_of(frame: IterationFrame) -> Runs:
    """Cut a frame's spans at their exceptions, in O(S + X)."""
    length = frame.span_length.astype(np.int64)
    row_end = np.cumsum(length)
    row_start = row_end - length
    at = frame.exception_row.astype(np.int64)
    # Every span and every exception begins a run behind it; sorted, each start meets its own end.
    starts = np.sort(np.concatenate((row_start, at + 1)))
    ends = np.sort(np.concatenate((row_end, at)))
    filled = ends > starts
    starts, ends = starts[filled], ends[filled]
    advance = frame.exception_new_tokens.astype(np.int64) - frame.exception_rejected
    gained = np.concatenate(([0], np.cumsum(advance - 1)))
    before_span = np.searchsorted(at, row_start)

    def located(rows: Ints) -> tuple[Ints, Ints, Ints]:
        """(request, iteration, context) of rows given by position."""
        span = np.searchsorted(row_end, rows, side="right")
        offset = rows - row_start[span]
        extra = gained[np.searchsorted(at, rows)] - gained[before_span[span]]
        return (
            frame.span_request[span].astype(np.int64),
            frame.span_first_iteration[span].astype(np.int64) + offset,
            frame.span_entry_context[span].astype(np.int64) + offset + extra,
        )

    request, first, context = located(starts)
    other_request, other_iteration, other_context = located(at)
    return Runs(
        request=request,
        first=first,
        length=ends - starts,
        context=context,
        other_request=other_request,
        other_iteration=other_iteration,
        other_new_tokens=frame.exception_new_tokens.astype(np.int64),
        other_context=other_context,
        other_drafts=frame.exception_drafts.astype(np.int64),
        other_emitted=frame.exception_emitted.astype(np.int64),
    )


def clip(runs: Runs, first: int, end: int) -> Runs:
    """The rows in iterations `[first, end)`, renumbered to begin at 0."""
    left = np.maximum(runs.first, first)
    length = np.minimum(runs.first + runs.length, end) - left
    kept = length > 0
    other = (runs.other_iteration >= first) & (runs.other_iteration < end)
    return Runs(
        request=runs.request[kept],
        first=left[kept] - first,
        length=length[kept],
        context=(runs.context + left - runs.first)[kept],
        other_request=runs.other_request[other],
        other_iteration=runs.other_iteration[other] - first,
        other_new_tokens=runs.other_new_tokens[other],
        other_context=runs.other_context[other],
        other_drafts=runs.other_drafts[other],
        other_emitted=runs.other_emitted[other],
    )


def concatenate(parts: Sequence[Runs], requests: Sequence[Ints], offsets: Sequence[int]) -> Runs:
    """Join frames' runs: `requests` renumbers each part's requests, `offsets` moves its iterations."""
    moved = list(zip(parts, requests, offsets, strict=True))

    def joined(name: str) -> Ints:
        return np.concatenate([getattr(part, name) for part in parts])

    return Runs(
        request=np.concatenate([number[part.request] for part, number, _ in moved]),
        first=np.concatenate([part.first + offset for part, _, offset in moved]),
        length=joined("length"),
        context=joined("context"),
        other_request=np.concatenate([number[part.other_request] for part, number, _ in moved]),
        other_iteration=np.concatenate([part.other_iteration + offset for part, _, offset in moved]),
        other_new_tokens=joined("other_new_tokens"),
        other_context=joined("other_context"),
        other_drafts=joined("other_drafts"),
        other_emitted=joined("other_emitted"),
    )
