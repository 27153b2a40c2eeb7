"""What each request did in a batch: tokens, iterations, context and when, summed from runs in O(runs)."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from streams.assembly import EngineWindow

__all__ = ["request_totals"]

Ints = NDArray[np.int64]


def request_totals(window: EngineWindow, start_ns: int, end_ns: int) -> dict[str, NDArray[Any]]:
    """Per request (R,), under the ledger's column names.

    Counts are of iterations that end in the batch, so that each is counted in one; `first_ns` and `last_ns` are
    clipped to `[start_ns, end_ns)`. A row is prefill while its context is within the prompt, and where it
    computes several tokens of its own: a chunk, or what a preempted request must compute again.
    `shared_iterations` is Σ part inside the batch / requests in the iteration.
    """
    runs, size = window.runs, len(window.requests.ordinal)
    here = window.iteration_ends_here.astype(np.int64)
    counted = np.concatenate(([0], np.cumsum(here)))
    positions = np.concatenate(([0], np.cumsum(here * np.arange(len(here)))))
    end = runs.first + runs.length
    rows = counted[end] - counted[runs.first]
    prompt_left = window.requests.prompt_tokens[runs.request] - runs.context
    prefill_end = runs.first + np.clip(prompt_left, 0, runs.length)
    prefill_rows = counted[prefill_end] - counted[runs.first]
    context = (runs.context - runs.first) * rows + positions[end] - positions[runs.first]

    other_here = here[runs.other_iteration]
    own = runs.other_new_tokens - runs.other_drafts
    other_prefill = (own > 1) | (runs.other_context < window.requests.prompt_tokens[runs.other_request])

    def total(of_runs: Ints, of_others: Ints) -> Ints:
        sums = np.zeros(size, np.int64)
        np.add.at(sums, runs.request, of_runs)
        np.add.at(sums, runs.other_request, of_others * other_here)
        return sums

    present = np.bincount(runs.other_iteration, minlength=len(here)).astype(np.float64)
    steps = np.bincount(runs.first, minlength=len(here) + 1) - np.bincount(end, minlength=len(here) + 1)
    present += np.cumsum(steps)[:-1]
    part = window.iteration_share / np.maximum(present, 1.0)
    parts = np.concatenate(([0.0], np.cumsum(part)))
    shared = np.zeros(size)
    np.add.at(shared, runs.request, parts[end] - parts[runs.first])
    np.add.at(shared, runs.other_request, part[runs.other_iteration])

    nothing = np.zeros(len(runs.request), np.int64)
    first_ns = np.full(size, end_ns, np.int64)
    last_ns = np.full(size, start_ns, np.int64)
    begun = np.maximum(window.iteration_start_ns, start_ns)
    ended = np.minimum(window.iteration_end_ns, end_ns)
    np.minimum.at(first_ns, runs.request, begun[runs.first])
    np.minimum.at(first_ns, runs.other_request, begun[runs.other_iteration])
    np.maximum.at(last_ns, runs.request, ended[end - 1])
    np.maximum.at(last_ns, runs.other_request, ended[runs.other_iteration])
    return {
        "prefill_tokens": total(prefill_rows, np.where(other_prefill, own, 0)),
        "decode_tokens": total(rows - prefill_rows, np.where(other_prefill, 0, own)),
        "draft_tokens": total(nothing, runs.other_drafts),
        "emitted_tokens": total(rows, runs.other_emitted),
        "iterations": total(rows, np.ones(len(runs.other_request), np.int64)).astype(np.uint32),
        "context_sum": total(context, runs.other_context),
        "shared_iterations": shared,
        "first_ns": first_ns,
        "last_ns": last_ns,
    }
