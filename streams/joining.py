"""Frames of one engine process joined in one compiled pass: rows as runs, clipped to a batch, requests numbered.

A frame has some eighty spans, on which a NumPy call costs more than the work; here the cost is the spans'.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from schemas.compiled import compiled

__all__ = ["JoinedRows", "iterations_inside", "join_rows", "sorted_out"]

Ints = NDArray[np.int64]
Int32s = NDArray[np.int32]


@compiled
def iterations_inside(
    starts_ns: Ints, ends_ns: Ints, start_ns: int, end_ns: int
) -> tuple[int, int, NDArray[np.float64], NDArray[np.bool_]]:
    """The iterations [first, end) between the first and the last that touch `[start_ns, end_ns)`.

    Also, of each of them, the part of its time inside and whether it ends inside. Iterations may overlap (pipeline
    parallel), so one outside can stand between two inside: its part is 0.
    """
    first, end = 0, 0
    for i in range(starts_ns.size):
        if ends_ns[i] > start_ns and starts_ns[i] < end_ns:
            if end == 0:
                first = i
            end = i + 1
    share = np.empty(end - first)
    ends_here = np.empty(end - first, np.bool_)
    for i in range(first, end):
        overlap_ns = min(ends_ns[i], end_ns) - max(starts_ns[i], start_ns)
        share[i - first] = max(overlap_ns, 0) / (ends_ns[i] - starts_ns[i])
        ends_here[i - first] = start_ns < ends_ns[i] <= end_ns
    return first, end, share, ends_here


@compiled
def _take(narrow: Int32s, at: int, columns: Int32s, filled: int, count: int) -> int:
    """Fill `count` places of every column from `narrow`, from `at` on; where the rest begins."""
    for column in range(columns.shape[0]):
        for k in range(count):
            columns[column, filled + k] = narrow[at + k]
        at += count
    return at


@compiled
def sorted_out(narrow: Int32s, counts: Ints) -> tuple[Int32s, Int32s, Int32s, Int32s]:
    """Columns of frames that stand one frame after another, as columns of them all.

    counts (4, F): iterations, requests, spans and exceptions of each frame. Of each frame `narrow` holds 1 column
    of iterations, 5 of requests, 4 of spans, 5 of exceptions; so (I,), (5, N), (4, S) and (5, X) come back.
    """
    iterations, requests, spans, exceptions = 0, 0, 0, 0
    for frame in range(counts.shape[1]):
        iterations += counts[0, frame]
        requests += counts[1, frame]
        spans += counts[2, frame]
        exceptions += counts[3, frame]
    of_iterations, of_requests = np.empty((1, iterations), np.int32), np.empty((5, requests), np.int32)
    of_spans, of_exceptions = np.empty((4, spans), np.int32), np.empty((5, exceptions), np.int32)
    at = i = r = s = x = 0
    for frame in range(counts.shape[1]):
        at = _take(narrow, at, of_iterations, i, counts[0, frame])
        at = _take(narrow, at, of_requests, r, counts[1, frame])
        at = _take(narrow, at, of_spans, s, counts[2, frame])
        at = _take(narrow, at, of_exceptions, x, counts[3, frame])
        i += counts[0, frame]
        r += counts[1, frame]
        s += counts[2, frame]
        x += counts[3, frame]
    return of_iterations[0], of_requests, of_spans, of_exceptions


@dataclass(frozen=True, slots=True)
class JoinedRows:
    """D runs, W other rows and R requests; what the columns mean is said in `runs.Runs`."""

    runs: Ints
    """(4, D) request, first, length, context."""
    others: Ints
    """(6, W) request, iteration, new tokens, context, drafts, emitted."""
    latest: Ints
    """(R,) by ascending ordinal, where in the frames' joined requests the last that names it stands."""


def join_rows(
    ordinals: Ints,
    counts: Ints,
    spans: tuple[Int32s, ...],
    exceptions: tuple[Int32s, ...],
    first: int,
    end: int,
) -> JoinedRows:
    """Rows in the iterations [first, end), renumbered to begin at 0, and the requests that have any. O(spans).

    ordinals (N,): of the requests of every frame, one frame after another. counts (4, F): iterations, requests,
    spans and exceptions of each frame. spans: request, first iteration, length and entry context. exceptions: row,
    new tokens, drafts, rejected, emitted.
    """
    # Almost sorted already, and a stable sort keeps equal ordinals in the order of the frames.
    order = np.argsort(ordinals, kind="stable")
    return JoinedRows(*_join(ordinals, order, counts, spans, exceptions, first, end))


@compiled
def _numbered(ordinals: Ints, order: Ints) -> tuple[Ints, Ints]:
    """Each request's number by ascending ordinal, and for each number the last place that has it."""
    numbers, latest = np.empty(ordinals.size, np.int64), np.empty(ordinals.size, np.int64)
    distinct = 0
    for k in range(order.size):
        if k == 0 or ordinals[order[k]] != ordinals[order[k - 1]]:
            distinct += 1
        numbers[order[k]] = distinct - 1
        latest[distinct - 1] = order[k]
    return numbers, latest[:distinct]


@compiled
def _join(
    ordinals: Ints,
    order: Ints,
    counts: Ints,
    spans: tuple[Int32s, ...],
    exceptions: tuple[Int32s, ...],
    first: int,
    end: int,
) -> tuple[Ints, Ints, Ints]:
    span_request, span_first, span_length, span_context = spans
    exception_row, new_tokens, drafts, rejected, emitted = exceptions
    numbers, latest = _numbered(ordinals, order)
    runs = np.empty((4, span_length.size + exception_row.size), np.int64)
    others = np.empty((6, exception_row.size), np.int64)
    present = np.full(latest.size, np.int64(-1))
    filled = set_apart = iteration_offset = request_offset = s = x = 0
    for frame in range(counts.shape[1]):
        last_span, last_exception = s + counts[2, frame], x + counts[3, frame]
        row = 0
        while s < last_span:
            request = numbers[request_offset + span_request[s]]
            at = iteration_offset + np.int64(span_first[s])
            context = np.int64(span_context[s])
            row_end = row + span_length[s]
            while row < row_end:
                stop = row_end
                if x < last_exception and exception_row[x] < row_end:
                    stop = np.int64(exception_row[x])
                left: Any = max(at, first)  # NumPy's integers have no order that mypy knows
                right: Any = min(at + stop - row, end)
                if left < right:
                    runs[0, filled], runs[1, filled] = request, left - first
                    runs[2, filled], runs[3, filled] = right - left, context + left - at
                    filled += 1
                    present[request] = 0
                at += stop - row
                context += stop - row
                row = stop
                if row < row_end:
                    if first <= at < end:
                        others[0, set_apart], others[1, set_apart] = request, at - first
                        others[2, set_apart], others[3, set_apart] = new_tokens[x], context
                        others[4, set_apart], others[5, set_apart] = drafts[x], emitted[x]
                        set_apart += 1
                        present[request] = 0
                    context += np.int64(new_tokens[x]) - rejected[x]
                    at += 1
                    row += 1
                    x += 1
            s += 1
        iteration_offset += counts[0, frame]
        request_offset += counts[1, frame]
    kept = 0
    for r in np.flatnonzero(present == 0):
        present[r] = kept
        latest[kept] = latest[r]
        kept += 1
    for d in range(filled):
        runs[0, d] = present[runs[0, d]]
    for w in range(set_apart):
        others[0, w] = present[others[0, w]]
    return runs[:, :filled].copy(), others[:, :set_apart].copy(), latest[:kept].copy()
