"""Frames of one engine process joined in one compiled pass: rows as runs, clipped to a batch, requests numbered.

A frame has some eighty spans, on which a NumPy call costs more than the work; here the cost is the spans'.
"""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from schemas.compiled import compiled
from schemas.iterations import UNRECORDED
from schemas.packed_iterations import REQUEST_ROWS, SIZES

__all__ = ["iterations_inside", "join_frames", "ordinals_of"]

Ints = NDArray[np.int64]
Int32s = NDArray[np.int32]
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Bytes = NDArray[np.uint8]
Joined = tuple[Ints, Bytes, Int32s, Floats, Bools, Ints, Ints, Ints]

ITERATIONS, REQUESTS, SPANS, EXCEPTIONS, STARTS, ORDINALS, KINDS, LENGTHS, FIRST_SPAN, FIRST_EXCEPTION = (
    range(10)
)
"""Of each frame: how many of four things it has, and where in the joined blocks some of its columns begin."""
PLACES: Final = 10
TABLES: Final = 4
"""Where the number of tenants stands among a frame's sizes."""
ATTRIBUTES: Final = 11


@compiled
def join_frames(
    wide: Ints, narrow: Int32s, frames: int, ordinals: Ints, order: Ints, start_ns: int, end_ns: int
) -> Joined:
    """What a number of frames say of `[start_ns, end_ns)`. O(spans).

    wide, narrow: the frames' blocks, see PackedIterations, one frame after another. ordinals, order: see
    `ordinals_of`, and what sorts them, equal ones in the order of the frames.

    Returns, of the I iterations between the first and the last that touch the interval, starts and ends in ns
    (2, I), kinds, padded tokens, part of its time inside, whether it ends inside. Rows in them, iterations
    renumbered to begin at 0: D runs as (4, D) of request, first, length, context, and W others as (6, W) of
    request, iteration, new tokens, context, drafts, emitted. The R requests that have any, by ascending ordinal,
    each as the last frame that names it does, as (11, R): ordinal, load ordinal, bits of its prefix group, prompt
    and cached tokens; its tenant, load and adapter among the names of all frames (each frame's tenants, loads,
    adapters) from 1 on, 0 for none; which frame's it is; where its client id begins and ends in the texts of all
    frames.
    """
    places = _places(wide, narrow, frames)
    times_ns, of_iterations = _iterations(wide, narrow, places)
    first, end, share, ends_here = iterations_inside(times_ns[0], times_ns[1], start_ns, end_ns)
    numbers, latest = _numbered(ordinals, order)
    runs, others, latest = _rows(narrow, places, numbers, latest, first, end)
    return (
        times_ns[:, first:end].copy(),
        of_iterations[0, first:end].astype(np.uint8),
        of_iterations[1, first:end].copy(),
        share,
        ends_here,
        runs,
        others,
        _attributes(wide, narrow, places, latest),
    )


@compiled
def ordinals_of(wide: Ints, frames: int) -> Ints:
    """Of all the frames' requests, one frame after another."""
    total = at = filled = 0
    for _ in range(frames):
        total += wide[at + REQUESTS]
        at += SIZES + 2 * wide[at + ITERATIONS] + 3 * wide[at + REQUESTS]
    ordinals = np.empty(total, np.int64)
    at = 0
    for _ in range(frames):
        requests, begin = wide[at + REQUESTS], at + SIZES + 2 * wide[at + ITERATIONS]
        ordinals[filled : filled + requests] = wide[begin : begin + requests]
        filled += requests
        at = begin + 3 * requests
    return ordinals


@compiled
def _places(wide: Ints, narrow: Int32s, frames: int) -> Ints:
    """(frames, PLACES); what stands for iterations given up is none: their time is a gap, `gaps` finds it."""
    places = np.empty((frames, PLACES), np.int64)
    in_wide = in_narrow = 0
    for frame in places:
        iterations, requests = wide[in_wide + ITERATIONS], wide[in_wide + REQUESTS]
        spans, exceptions = wide[in_wide + SPANS], wide[in_wide + EXCEPTIONS]
        given_up = iterations == 1 and narrow[in_narrow] == UNRECORDED
        frame[ITERATIONS] = 0 if given_up else iterations
        frame[REQUESTS], frame[SPANS], frame[EXCEPTIONS] = requests, spans, exceptions
        frame[STARTS], frame[KINDS] = in_wide + SIZES, in_narrow
        frame[ORDINALS] = frame[STARTS] + 2 * iterations
        frame[LENGTHS] = in_narrow + 2 * iterations
        frame[FIRST_SPAN] = frame[LENGTHS] + REQUEST_ROWS * requests
        frame[FIRST_EXCEPTION] = frame[FIRST_SPAN] + 4 * spans
        in_wide = frame[ORDINALS] + 3 * requests
        in_narrow = frame[FIRST_EXCEPTION] + 5 * exceptions
    return places


@compiled
def _iterations(wide: Ints, narrow: Int32s, places: Ints) -> tuple[Ints, Int32s]:
    """Starts and ends of all frames' iterations in ns (2, I), and their kinds and padded tokens (2, I)."""
    total = places[:, ITERATIONS].sum()
    times_ns, kinds = np.empty((2, total), np.int64), np.empty((2, total), np.int32)
    filled = 0
    for frame in places:
        count = frame[ITERATIONS]
        for row in range(2):
            for k in range(count):
                times_ns[row, filled + k] = wide[frame[STARTS] + row * count + k]
                kinds[row, filled + k] = narrow[frame[KINDS] + row * count + k]
        filled += count
    return times_ns, kinds


@compiled
def iterations_inside(
    starts_ns: Ints, ends_ns: Ints, start_ns: int, end_ns: int
) -> tuple[int, int, Floats, Bools]:
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
def _numbered(ordinals: Ints, order: Ints) -> tuple[Ints, Ints]:
    """Each request's number by ascending ordinal, and for each number the last place that has it.

    order: that sorts the ordinals and keeps equal ones in the order of the frames.
    """
    numbers, latest = np.empty(ordinals.size, np.int64), np.empty(ordinals.size, np.int64)
    distinct = 0
    for k in range(order.size):
        if k == 0 or ordinals[order[k]] != ordinals[order[k - 1]]:
            distinct += 1
        numbers[order[k]] = distinct - 1
        latest[distinct - 1] = order[k]
    return numbers, latest[:distinct]


@compiled
def _rows(
    narrow: Int32s, places: Ints, numbers: Ints, latest: Ints, first: int, end: int
) -> tuple[Ints, Ints, Ints]:
    """Runs and other rows in the iterations [first, end), and of `latest` what has any; requests renumbered."""
    exceptions = places[:, EXCEPTIONS].sum()
    runs = np.empty((4, places[:, SPANS].sum() + exceptions), np.int64)
    others = np.empty((6, exceptions), np.int64)
    present = np.full(latest.size, np.int64(-1))
    filled = set_apart = iteration_offset = request_offset = 0
    for frame in places:
        s, x = frame[FIRST_SPAN], frame[FIRST_EXCEPTION]
        spans = narrow[s:x].reshape(4, frame[SPANS])
        strange = narrow[x : x + 5 * frame[EXCEPTIONS]].reshape(5, frame[EXCEPTIONS])
        row = x = 0
        for s in range(frame[SPANS]):
            request = numbers[request_offset + spans[0, s]]
            context = np.int64(spans[1, s])
            at = iteration_offset + np.int64(spans[2, s])
            row_end = row + spans[3, s]
            while row < row_end:
                stop = row_end
                if x < strange.shape[1] and strange[0, x] < row_end:
                    stop = np.int64(strange[0, x])
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
                        others[2, set_apart], others[3, set_apart] = strange[1, x], context
                        others[4, set_apart], others[5, set_apart] = strange[2, x], strange[4, x]
                        set_apart += 1
                        present[request] = 0
                    context += np.int64(strange[1, x]) - strange[3, x]
                    at += 1
                    row += 1
                    x += 1
        iteration_offset += frame[ITERATIONS]
        request_offset += frame[REQUESTS]
    kept = 0
    for r in range(latest.size):
        if present[r] == 0:
            present[r] = kept
            latest[kept] = latest[r]
            kept += 1
    for d in range(filled):
        runs[0, d] = present[runs[0, d]]
    for w in range(set_apart):
        others[0, w] = present[others[0, w]]
    return runs[:, :filled].copy(), others[:, :set_apart].copy(), latest[:kept]


@compiled
def _attributes(wide: Ints, narrow: Int32s, places: Ints, latest: Ints) -> Ints:
    """The requests at `latest` (R,) among all frames' requests as `join_frames` returns them, (11, R)."""
    total = places[:, REQUESTS].sum()
    owners, text_begins = np.empty(total, np.int64), np.empty(total, np.int64)
    requests, names = np.empty(places.shape[0], np.int64), np.empty((places.shape[0], 3), np.int64)
    filled = characters = 0
    named = 1
    for f in range(places.shape[0]):
        requests[f] = filled
        for table in range(3):
            names[f, table] = named
            named += wide[places[f, STARTS] - SIZES + TABLES + table]
        for r in range(places[f, REQUESTS]):
            owners[filled], text_begins[filled] = f, characters
            characters += narrow[places[f, LENGTHS] + r]
            filled += 1
    found = np.empty((ATTRIBUTES, latest.size), np.int64)
    for k in range(latest.size):
        f = owners[latest[k]]
        count = places[f, REQUESTS]
        in_wide = places[f, ORDINALS] + latest[k] - requests[f]
        in_narrow = places[f, LENGTHS] + latest[k] - requests[f]
        for row in range(3):
            found[row, k] = wide[in_wide + row * count]
            name = narrow[in_narrow + (1 + row) * count]
            found[5 + row, k] = names[f, row] + name if name >= 0 else 0
        found[3, k], found[4, k] = narrow[in_narrow + 4 * count], narrow[in_narrow + 5 * count]
        found[8, k], found[9, k] = f, text_begins[latest[k]]
        found[10, k] = found[9, k] + narrow[in_narrow]
    return found
