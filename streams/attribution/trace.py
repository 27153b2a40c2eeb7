"""A window of one engine's iterations in columns: plain decode as runs, everything wider row by row.

A decode row says nothing that its neighbour did not (one new token, one more token of context), so a stay of
a request in the batch is one run, and a window costs O(runs + wide rows + iterations) instead of O(rows).
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from schemas.errors import AttributionError

__all__ = ["ExpandedRows", "IterationSums", "Trace", "iteration_sums", "totals"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Trace:
    """T iterations, R requests, D decode runs, W wide rows. Made by `from_rows`, which checks everything."""

    weights: Floats
    """(T,) part of each iteration that lies in the window, by time: 1 inside, less where an edge cuts it."""
    padded_tokens: Ints
    """(T,) tokens after padding to a CUDA graph's size; 0 where the engine does not say."""
    adapter: Ints
    """(R,) which adapter each request uses; -1 for none."""
    prefix_group: Ints
    """(R,) which shared prefix each request has; -1 for none."""
    decode_request: Ints
    """(D,) request of a run of consecutive iterations with one new token each."""
    decode_first: Ints
    """(D,) its first iteration."""
    decode_length: Ints
    """(D,) its iterations, ≥ 1."""
    decode_context: Ints
    """(D,) context before its first row; one more in every following row."""
    wide_request: Ints
    """(W,) request of a row with two or more new tokens: a prefill chunk or a speculative step."""
    wide_iteration: Ints
    """(W,) ascending."""
    wide_tokens: Ints
    """(W,) new tokens, ≥ 2."""
    wide_context: Ints
    """(W,) context before the row."""

    @property
    def iterations(self) -> int:
        """T."""
        return int(self.weights.size)

    @property
    def requests(self) -> int:
        """R."""
        return int(self.adapter.size)

    @property
    def rows(self) -> int:
        """Request-iterations with tokens."""
        return int(self.decode_length.sum()) + int(self.wide_request.size)

    @classmethod
    def from_rows(
        cls,
        iteration: ArrayLike,
        request: ArrayLike,
        new_tokens: ArrayLike,
        context_tokens: ArrayLike,
        *,
        iterations: int,
        requests: int,
        weights: ArrayLike | None = None,
        padded_tokens: ArrayLike | None = None,
        adapter: ArrayLike | None = None,
        prefix_group: ArrayLike | None = None,
    ) -> "Trace":
        """Rows (N,) in any order; fastest when each request's rows stand together, iterations ascending.

        A row with 0 new tokens is no player and gets nothing. Negative, NaN or missing tokens and indices
        out of range are AttributionError. `adapter` (R,) counts from 0 with -1 for none; `prefix_group` (R,)
        is any number, 0 for none.
        """
        at = _whole("iteration", iteration, None, 0, iterations - 1)
        who = _whole("request", request, at.size, 0, requests - 1)
        q = _whole("new_tokens", new_tokens, at.size, 0)
        c = _whole("context_tokens", context_tokens, at.size, 0)
        if not q.all():
            at, who, q, c = at[q > 0], who[q > 0], q[q > 0], c[q > 0]
        if at.size > 1 and np.count_nonzero(who[1:] == who[:-1]) < at.size // 2:
            order = np.lexsort((at, who))
            at, who, q, c = at[order], who[order], q[order], c[order]
        wide = np.flatnonzero(q > 1)
        wide = wide[np.argsort(at[wide], kind="stable")]
        first, length = _decode_runs(at, who, q, c)
        return cls(
            weights=_weights(weights, iterations),
            padded_tokens=_optional("padded_tokens", padded_tokens, iterations, 0),
            adapter=_optional("adapter", adapter, requests, -1),
            prefix_group=_groups(prefix_group, requests),
            decode_request=who[first],
            decode_first=at[first],
            decode_length=length,
            decode_context=c[first],
            wide_request=who[wide],
            wide_iteration=at[wide],
            wide_tokens=q[wide],
            wide_context=c[wide],
        )

    @classmethod
    def from_runs(
        cls,
        *,
        decode_request: Ints,
        decode_first: Ints,
        decode_length: Ints,
        decode_context: Ints,
        wide_request: Ints,
        wide_iteration: Ints,
        wide_tokens: Ints,
        wide_context: Ints,
        weights: Floats,
        padded_tokens: Ints,
        adapter: Ints,
        prefix_group: ArrayLike,
    ) -> "Trace":
        """The columns themselves, from a decoded frame, which has checked them: O(requests) beside them.

        Decode runs may stand in any order and touch; wide rows ascend by iteration. `prefix_group` is as in
        `from_rows`.
        """
        return cls(
            weights=weights,
            padded_tokens=padded_tokens,
            adapter=adapter,
            prefix_group=_groups(prefix_group, adapter.size),
            decode_request=decode_request,
            decode_first=decode_first,
            decode_length=decode_length,
            decode_context=decode_context,
            wide_request=wide_request,
            wide_iteration=wide_iteration,
            wide_tokens=wide_tokens,
            wide_context=wide_context,
        )

    def reweighted(self, weights: Floats) -> "Trace":
        """The same rows with other weights (T,): any measure of an iteration, such as seconds per unit."""
        return replace(self, weights=_weights(weights, self.iterations))

    def expand(self, wanted: NDArray[np.bool_] | None = None) -> "ExpandedRows":
        """Rows written out, iterations ascending, of all iterations or of those `wanted` (T,)."""
        offset = _ranges(self.decode_length)
        at = np.concatenate([np.repeat(self.decode_first, self.decode_length) + offset, self.wide_iteration])
        who = np.concatenate([np.repeat(self.decode_request, self.decode_length), self.wide_request])
        c = np.concatenate([np.repeat(self.decode_context, self.decode_length) + offset, self.wide_context])
        q = np.concatenate([np.ones(offset.size, np.int64), self.wide_tokens])
        if wanted is not None:
            keep = wanted[at]
            at, who, q, c = at[keep], who[keep], q[keep], c[keep]
        # Sixteen bits sort by radix, in linear time.
        key = at.astype(np.uint16) if self.iterations <= 2**16 else at
        order = np.argsort(key, kind="stable")
        return ExpandedRows(at[order], who[order], q[order], c[order])


@dataclass(frozen=True, slots=True)
class ExpandedRows:
    """N rows, iterations ascending."""

    iteration: Ints
    request: Ints
    new_tokens: Ints
    context_tokens: Ints


@dataclass(frozen=True, slots=True)
class IterationSums:
    """What an iteration's energy depends on, (T,) each; integers held as floats, exact below 2^53."""

    decode: Floats
    """Requests with one new token."""
    requests: Floats
    tokens: Floats
    """New tokens."""
    context: Floats
    """Context tokens before the iteration."""
    attention: Floats
    """Σ new tokens × context."""
    padding: Floats
    """Tokens added by padding."""


def iteration_sums(trace: Trace) -> IterationSums:
    """Sums per iteration in O(D + W + T), by adding each run at its start and taking it off at its end."""
    T = trace.iterations
    first, end = trace.decode_first, trace.decode_first + trace.decode_length
    base = (trace.decode_context - first).astype(np.float64)
    decode = _between(first, end, None, T)
    decode_context = _between(first, end, base, T) + decode * np.arange(T)
    at = trace.wide_iteration
    q = trace.wide_tokens.astype(np.float64)
    c = trace.wide_context.astype(np.float64)
    tokens = decode + totals(at, q, T)
    return IterationSums(
        decode=decode,
        requests=decode + np.bincount(at, minlength=T),
        tokens=tokens,
        context=decode_context + totals(at, c, T),
        attention=decode_context + totals(at, q * c, T),
        padding=np.maximum(trace.padded_tokens - tokens, 0.0) * (trace.padded_tokens > 0),
    )


def totals(index: Ints, weights: Floats, size: int) -> Floats:
    """(size,) Σ of the weights at each index, added in the order given."""
    return np.asarray(np.bincount(index, weights, size), np.float64)


def _between(first: Ints, end: Ints, weights: Floats | None, T: int) -> Floats:
    """(T,) Σ of weights over the runs that cover each iteration."""
    steps = np.bincount(first, weights, T + 1) - np.bincount(end, weights, T + 1)
    return np.cumsum(steps)[:T].astype(np.float64)


def _decode_runs(at: Ints, who: Ints, q: Ints, c: Ints) -> tuple[Ints, Ints]:
    """Positions of the first rows of decode runs, and their lengths."""
    if at.size == 0:
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    plain = q == 1
    starts = np.ones(at.size, np.bool_)
    starts[1:] = ~(
        plain[1:] & plain[:-1] & (who[1:] == who[:-1]) & (at[1:] == at[:-1] + 1) & (c[1:] == c[:-1] + 1)
    )
    first = np.flatnonzero(starts)
    length = np.diff(np.append(first, at.size))
    decode = plain[first]
    return first[decode], length[decode]


def _ranges(lengths: Ints) -> Ints:
    """0, 1, ..., length - 1 for each length, one after another."""
    ends = np.cumsum(lengths)
    return np.arange(int(ends[-1]) if ends.size else 0, dtype=np.int64) - np.repeat(ends - lengths, lengths)


def _whole(name: str, given: ArrayLike, size: int | None, least: int, most: int | None = None) -> Ints:
    """A vector of whole numbers in [least, most], or an error that names the first bad one."""
    array = np.asarray(given)
    if array.ndim != 1 or (size is not None and array.size != size):
        raise AttributionError(f"{name} has shape {array.shape}: one number per row is needed ({size})")
    if array.dtype.kind not in "iu":
        floats = array.astype(np.float64)
        bad = ~(np.isfinite(floats) & (floats == np.floor(floats)))
        if bad.any():
            where = int(np.flatnonzero(bad)[0])
            raise AttributionError(
                f"{name}[{where}] = {array[where]!r}: not a whole number; missing is not 0"
            )
    whole = array.astype(np.int64, copy=False)
    bad = whole < least if most is None else (whole < least) | (whole > most)
    if bad.any():
        where = int(np.flatnonzero(bad)[0])
        span = f"at least {least}" if most is None else f"in {least}..{most}"
        raise AttributionError(f"{name}[{where}] = {array[where]!r}: must be {span}")
    return whole


def _optional(name: str, given: ArrayLike | None, size: int, default: int) -> Ints:
    return np.full(size, default, np.int64) if given is None else _whole(name, given, size, default)


def _weights(given: ArrayLike | None, iterations: int) -> Floats:
    if given is None:
        return np.ones(iterations)
    weights = np.asarray(given, np.float64)
    if weights.shape != (iterations,) or not np.isfinite(weights).all() or (weights < 0).any():
        raise AttributionError(f"weights must be {iterations} finite numbers of at least 0")
    return weights


def _groups(given: ArrayLike | None, requests: int) -> Ints:
    """Prefix groups numbered from 0 in order of their value; -1 for none."""
    if given is None:
        return np.full(requests, -1, np.int64)
    raw = np.asarray(given)
    if raw.shape != (requests,) or raw.dtype.kind not in "iu":
        raise AttributionError(f"prefix_group must be {requests} whole numbers, one per request, 0 for none")
    if not np.count_nonzero(raw):
        return np.full(requests, -1, np.int64)
    distinct, index = np.unique(raw, return_inverse=True)
    numbered = np.cumsum(distinct != 0) - 1
    return np.where(raw == 0, -1, numbered[index]).astype(np.int64)
