"""Writes down a simulated engine's stretches and pieces as they happen; columns at the end."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from producers.simulation.physics import PS_PER_US
from producers.simulation.schedule import Schedule

__all__ = ["Recorder"]

Int64s = NDArray[np.int64]


class Recorder:
    """Append-only lists of what the scheduler did; `schedule` expands stretches into iterations.

    Iterations are counted by the engine; columns number them from `first_iteration`.
    """

    def __init__(self, first_iteration: int = 0) -> None:
        self.first_iteration = first_iteration
        self._stretches: list[tuple[int, int, int, int, int, int, int]] = []
        self._prefills: list[tuple[int, int, int, int]] = []
        self._pieces: list[tuple[int, int, int, int, int, int, int]] = []
        self._admitted: list[tuple[int, int, int]] = []
        self._finished: list[tuple[int, int]] = []
        self._preempted: list[tuple[int, int]] = []

    def iterations(
        self, count: int, start_ps: int, first_ps: int, step_ps: int, rows: int, context: int, kv_after: int
    ) -> None:
        """`count` iterations with the same `rows`: the j-th takes first + j·step over context + j·rows."""
        self._stretches.append((count, start_ps, first_ps, step_ps, rows, context, kv_after))

    def prefill(self, iteration: int, rows: int, tokens: int, pairs: int) -> None:
        """The prefill part of an iteration."""
        self._prefills.append((iteration - self.first_iteration, rows, tokens, pairs))

    def chunk(self, request: int, iteration: int, context: int, tokens: int, *, emits: bool) -> None:
        """One prefill chunk; the last of a prefill emits a token."""
        self._pieces.append((request, iteration - self.first_iteration, 1, context, tokens, int(emits), 1))

    def decode(self, request: int, first: int, length: int, context: int) -> None:
        """A run of decode rows."""
        self._pieces.append((request, first - self.first_iteration, length, context, 1, 1, 0))

    def admit(self, request: int, now_ps: int, reused: int) -> None:
        """A first admission, or a resumption after a preemption."""
        self._admitted.append((request, now_ps, reused))

    def finish(self, request: int, now_ps: int) -> None:
        """The request's last token was emitted."""
        self._finished.append((request, now_ps))

    def preempt(self, request: int, lost: int) -> None:
        """The request gave up `lost` KV tokens."""
        self._preempted.append((request, lost))

    def schedule(self, requests: int) -> Schedule:
        """Everything so far, as columns; `requests` is the number of requests of the trace."""
        iterations = _iterations(_table(self._stretches, 7), _table(self._prefills, 4))
        pieces = _table(self._pieces, 7)
        admitted, finished, preempted = (
            _table(self._admitted, 3),
            _table(self._finished, 2),
            _table(self._preempted, 2),
        )
        seen, first = np.unique(admitted[:, 0], return_index=True)
        by_time = np.argsort(first, kind="stable")
        admission = np.full(requests, -1, np.int64)
        admission[seen[by_time]] = np.arange(len(seen))
        admitted_us, finished_us = np.zeros(requests, np.int64), np.zeros(requests, np.int64)
        admitted_us[seen] = admitted[first, 1] // PS_PER_US
        finished_us[finished[:, 0]] = finished[:, 1] // PS_PER_US
        cached = np.zeros(requests, np.int32)
        cached[seen] = admitted[first, 2]
        return Schedule(
            **iterations,
            piece_request=pieces[:, 0].astype(np.int32),
            piece_first=pieces[:, 1].copy(),
            piece_length=pieces[:, 2].copy(),
            piece_context=pieces[:, 3].copy(),
            piece_new_tokens=pieces[:, 4].copy(),
            piece_emitted=pieces[:, 5].astype(np.int32),
            piece_prefill=pieces[:, 6].astype(np.bool_),
            admitted_us=admitted_us,
            finished_us=finished_us,
            admission=admission,
            cached_tokens=cached,
            reused_tokens=_sums(admitted[:, 0], admitted[:, 2], requests),
            lost_tokens=_sums(preempted[:, 0], preempted[:, 1], requests),
            preemptions=np.bincount(preempted[:, 0], minlength=requests).astype(np.int32),
        )


def _table(rows: list[Any], width: int) -> Int64s:
    return np.asarray(rows, np.int64).reshape(-1, width)


def _sums(at: Int64s, values: Int64s, size: int) -> Int64s:
    sums = np.zeros(size, np.int64)
    np.add.at(sums, at, values)
    return sums


def _iterations(stretches: Int64s, prefills: Int64s) -> dict[str, Int64s]:
    """Expand stretches: iteration j of a stretch starts at start + j·first + step·j(j−1)/2."""
    count, start, first, step, rows, context, kv_after = stretches.T
    total = int(count.sum())
    j = np.arange(total) - np.repeat(np.cumsum(count) - count, count)
    first, step, rows = (np.repeat(column, count) for column in (first, step, rows))
    start_ps = np.repeat(start, count) + j * first + step * (j * (j - 1) // 2)
    end_ps = start_ps + first + j * step
    features = np.zeros((3, total), np.int64)
    features[:, prefills[:, 0]] = prefills[:, 1:].T
    return {
        "start_us": start_ps // PS_PER_US,
        "end_us": end_ps // PS_PER_US,
        "decode_rows": rows,
        "prefill_rows": features[0],
        "context_tokens": np.repeat(context, count) + j * rows,
        "prefill_tokens": features[1],
        "prefill_pairs": features[2],
        "kv_tokens": np.repeat(kv_after, count) - (np.repeat(count, count) - 1 - j) * rows,
    }
