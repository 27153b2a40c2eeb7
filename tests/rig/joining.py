"""Frames joined by operations on whole arrays: the plain way, which `streams.joining` must repeat to the bit."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from schemas.iterations import IterationFrame
from streams.runs import Runs

__all__ = ["joined"]

Ints = NDArray[np.int64]


def joined(frames: Sequence[IterationFrame], first: int, end: int) -> tuple[Runs, Ints, Ints]:
    """Rows in the iterations [first, end), the ordinals of their requests, and where each was named last."""
    named = np.concatenate([frame.request_ordinal for frame in frames])
    ordinals = np.unique(named)
    runs = clip(
        runs_of(frames, [np.searchsorted(ordinals, frame.request_ordinal) for frame in frames]), first, end
    )
    present = np.zeros(len(ordinals), np.bool_)
    present[runs.request] = present[runs.other_request] = True
    order = np.argsort(named, kind="stable")
    latest = order[np.searchsorted(named[order], ordinals[present], side="right") - 1]
    return renumber(runs, np.cumsum(present) - 1), ordinals[present], latest


def runs_of(frames: Sequence[IterationFrame], numbers: Sequence[Ints]) -> Runs:
    """Cut frames' spans at their exceptions, in O(S + X); iterations are numbered through the frames.

    numbers: per frame, what each of its requests is called in the result.
    """
    # One pass over all frames: a frame has some eighty spans, and a NumPy call costs as much as they do.
    span_request = np.concatenate(
        [number[frame.span_request] for frame, number in zip(frames, numbers, strict=True)]
    )
    length, span_context = (_joined(frames, name) for name in ("span_length", "span_entry_context"))
    iterations = np.cumsum([0, *(len(frame.iteration_start_ns) for frame in frames)])
    spans = [len(frame.span_length) for frame in frames]
    span_first = _joined(frames, "span_first_iteration") + np.repeat(iterations[:-1], spans)
    row_end = np.cumsum(length)
    row_start = row_end - length
    rows_before = np.concatenate(([0], row_end))[np.cumsum([0, *spans])]
    exceptions = [len(frame.exception_row) for frame in frames]
    at = _joined(frames, "exception_row") + np.repeat(rows_before[:-1], exceptions)
    new_tokens = _joined(frames, "exception_new_tokens")
    advance = new_tokens - _joined(frames, "exception_rejected")

    # Every span and every exception begins a run behind it; sorted, each start meets its own end.
    starts = np.sort(np.concatenate((row_start, at + 1)))
    ends = np.sort(np.concatenate((row_end, at)))
    filled = ends > starts
    starts, ends = starts[filled], ends[filled]
    gained = np.concatenate(([0], np.cumsum(advance - 1)))
    before_span = gained[np.searchsorted(at, row_start)]

    def located(rows: Ints) -> tuple[Ints, Ints, Ints]:
        """(request, iteration, context) of rows given by position."""
        span = np.searchsorted(row_end, rows, side="right")
        offset = rows - row_start[span]
        extra = gained[np.searchsorted(at, rows)] - before_span[span]
        return span_request[span], span_first[span] + offset, span_context[span] + offset + extra

    request, first, context = located(starts)
    other_request, other_iteration, other_context = located(at)
    return Runs(
        request=request,
        first=first,
        length=ends - starts,
        context=context,
        other_request=other_request,
        other_iteration=other_iteration,
        other_new_tokens=new_tokens,
        other_context=other_context,
        other_drafts=_joined(frames, "exception_drafts"),
        other_emitted=_joined(frames, "exception_emitted"),
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


def renumber(runs: Runs, numbers: Ints) -> Runs:
    """The same rows with other request numbers: r becomes `numbers[r]`."""
    return replace(runs, request=numbers[runs.request], other_request=numbers[runs.other_request])


def _joined(frames: Sequence[IterationFrame], name: str) -> Ints:
    return np.concatenate([getattr(frame, name) for frame in frames]).astype(np.int64)
