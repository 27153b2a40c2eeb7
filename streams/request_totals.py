"""What each request did in a batch: tokens, iterations, context and when, summed from runs in O(runs)."""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from schemas.compiled import compiled
from streams.assembly import EngineWindow

__all__ = ["request_totals"]

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

SUMS: Final = (
    "prefill_tokens", "decode_tokens", "draft_tokens", "emitted_tokens", "iterations", "context_sum",
    "first_ns", "last_ns",
)  # fmt: skip
PREFILL, DECODE, DRAFTS, EMITTED, ITERATIONS, CONTEXT, FIRST, LAST = range(8)


def request_totals(window: EngineWindow, start_ns: int, end_ns: int) -> dict[str, NDArray[Any]]:
    """Per request (R,), under the ledger's column names.

    Counts are of iterations that end in the batch, so that each is counted in one; `first_ns` and `last_ns` are
    clipped to `[start_ns, end_ns)`. A row is prefill while its context is within the prompt, and where it
    computes several tokens of its own: a chunk, or what a preempted request must compute again.
    `shared_iterations` is Σ part inside the batch / requests in the iteration.
    """
    runs = window.runs
    sums, shared = _totals(
        (runs.request, runs.first, runs.length, runs.context),
        (
            runs.other_request,
            runs.other_iteration,
            runs.other_new_tokens,
            runs.other_context,
            runs.other_drafts,
            runs.other_emitted,
        ),
        window.requests.prompt_tokens,
        window.iteration_ends_here,
        window.iteration_share,
        window.iteration_start_ns,
        window.iteration_end_ns,
        start_ns,
        end_ns,
    )
    found: dict[str, NDArray[Any]] = dict(zip(SUMS, sums, strict=True))
    found["iterations"] = sums[ITERATIONS].astype(np.uint32)
    found["shared_iterations"] = shared
    return found


@compiled
def _totals(
    runs: tuple[Ints, Ints, Ints, Ints],
    others: tuple[Ints, Ints, Ints, Ints, Ints, Ints],
    prompt_tokens: Ints,
    ends_here: NDArray[np.bool_],
    share: Floats,
    begun_ns: Ints,
    ended_ns: Ints,
    start_ns: int,
    end_ns: int,
) -> tuple[Ints, Floats]:
    """SUMS (8, R) and the shared iterations (R,)."""
    request, first, length, context = runs
    other_request, other_iteration, new_tokens, other_context, drafts, emitted = others
    size, iterations = prompt_tokens.size, share.size
    counted, positions = np.zeros(iterations + 1, np.int64), np.zeros(iterations + 1, np.int64)
    steps = np.zeros(iterations + 1, np.int64)
    for d in range(request.size):
        steps[first[d]] += 1
        steps[first[d] + length[d]] -= 1
    set_apart = np.zeros(iterations, np.int64)
    for w in range(other_request.size):
        set_apart[other_iteration[w]] += 1
    part, parts = np.empty(iterations), np.zeros(iterations + 1)
    running = 0
    for i in range(iterations):
        counted[i + 1] = counted[i] + ends_here[i]
        positions[i + 1] = positions[i] + ends_here[i] * i
        running += steps[i]
        part[i] = share[i] / max(running + set_apart[i], 1)
        parts[i + 1] = parts[i] + part[i]
    sums = np.zeros((8, size), np.int64)
    sums[FIRST], sums[LAST] = end_ns, start_ns
    shared = np.zeros(size)
    for d in range(request.size):
        r, begin, end = request[d], first[d], first[d] + length[d]
        rows = counted[end] - counted[begin]
        prefill_end = begin + min(max(prompt_tokens[r] - context[d], 0), length[d])
        prefill_rows = counted[prefill_end] - counted[begin]
        sums[PREFILL, r] += prefill_rows
        sums[DECODE, r] += rows - prefill_rows
        sums[EMITTED, r] += rows
        sums[ITERATIONS, r] += rows
        sums[CONTEXT, r] += (context[d] - begin) * rows + positions[end] - positions[begin]
        shared[r] += parts[end] - parts[begin]
        sums[FIRST, r] = min(sums[FIRST, r], max(begun_ns[begin], start_ns))
        sums[LAST, r] = max(sums[LAST, r], min(ended_ns[end - 1], end_ns))
    for w in range(other_request.size):
        r, at = other_request[w], other_iteration[w]
        shared[r] += part[at]
        sums[FIRST, r] = min(sums[FIRST, r], max(begun_ns[at], start_ns))
        sums[LAST, r] = max(sums[LAST, r], min(ended_ns[at], end_ns))
        if not ends_here[at]:
            continue
        own = new_tokens[w] - drafts[w]
        is_prefill = own > 1 or other_context[w] < prompt_tokens[r]
        sums[PREFILL if is_prefill else DECODE, r] += own
        sums[DRAFTS, r] += drafts[w]
        sums[EMITTED, r] += emitted[w]
        sums[ITERATIONS, r] += 1
        sums[CONTEXT, r] += other_context[w]
    return sums, shared
