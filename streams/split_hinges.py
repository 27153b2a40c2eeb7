"""A hinge's Shapley values over a window, in one compiled pass over iterations and wide rows.

The plain way is `streams.attribution.hinges`, which this repeats operation by operation, tier by tier: nothing
where the threshold is out of reach, equal parts among plain decode, certified pieces with the wide rows singled
out. Equals are counted once for each kind of iteration, since chunks of a full budget are alike; the rest goes row
by row.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from schemas.compiled import compiled
from streams.attribution import Hinge, Trace
from streams.attribution.certificates import MAX_SINGLED_OUT, subsets
from streams.attribution.counted import equals_shares
from streams.attribution.exact import coalition_weights
from streams.attribution.hinges import HingeShares, row_by_row
from streams.attribution.trace import IterationSums

__all__ = ["hinge_shares"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_CLOSED: Final = -1
_OPEN: Final = -2
"""What is said of an iteration; 0 and above number its kind, whose equals are to be counted."""


def _coalition_weights() -> Floats:
    """Row n: those of n players, for up to one more than are singled out."""
    weights = np.zeros((MAX_SINGLED_OUT + 2, MAX_SINGLED_OUT + 2))
    for n in range(1, len(weights)):
        weights[n, :n] = coalition_weights(n)
    return weights


_WEIGHTS: Final = _coalition_weights()
_SIZES: Final = subsets(MAX_SINGLED_OUT)[1]
"""Of all subsets; those of fewer players stand in front."""

_Line = tuple[float, float, float, float]
_Three = tuple[Ints, Ints, Ints]


def hinge_shares(trace: Trace, sums: IterationSums, hinge: Hinge) -> HingeShares:
    """Shapley values of one hinge, O(D + W + T) where certified with d of one sign."""
    slope, of_wide, d_wide, said, kinds, still_open = _tiers(
        (sums.decode, sums.requests, sums.context),
        (trace.decode_first, trace.decode_length, trace.decode_context),
        (trace.wide_iteration, trace.wide_tokens, trace.wide_context),
        (hinge.per_request, hinge.per_token, hinge.per_context, hinge.per_attention),
        hinge.threshold,
        _WEIGHTS,
        _SIZES,
    )
    if len(kinds):
        one, others = _count_equals(kinds, hinge)
        _fill_in(said, one, others, trace.wide_iteration, d_wide, slope, of_wide)
    none = np.zeros(trace.requests)
    shares = HingeShares(slope, of_wide, by_request=none, half_widths=none, series=0)
    return row_by_row(trace, hinge, said == _OPEN, shares) if still_open else shares


def _count_equals(kinds: Floats, hinge: Hinge) -> tuple[Floats, Floats]:
    """Of each kind the slope (K,) and what those apart get (K, p); kinds (K, 1 + p): how many equals, d apart."""
    equal = hinge.per_request + hinge.per_token
    one, others = np.empty(len(kinds)), np.empty((len(kinds), kinds.shape[1] - 1))
    for count in set(kinds[:, 0].tolist()):
        same = np.flatnonzero(kinds[:, 0] == count)
        one[same], others[same] = equals_shares(kinds[same, 1:], equal, int(count), hinge.threshold)
    return one / equal, others


@compiled
def _tiers(
    of: tuple[Floats, Floats, Floats],
    decode: _Three,
    wide: _Three,
    line: _Line,
    threshold: float,
    weights: Floats,
    sizes: Ints,
) -> tuple[Floats, Floats, Floats, Ints, Floats, int]:
    """Slopes (T,), shares and d of wide rows (W,), what is said (T,), kinds (K, 1 + p), and how many are open."""
    decoding, requests, _ = of
    alpha, gamma = line[0] + line[1], line[2] + line[3]
    d_wide = _demands(wide, line)
    positive, negative = _decode_sums(of, decode, wide, line)
    begins, reach = _reach(wide[0], d_wide, positive)
    slope, of_wide = np.zeros(requests.size), np.zeros(d_wide.size)
    said = np.full(requests.size, _CLOSED)
    most_apart = weights.shape[0] - 2
    still_open, most = _within_reach(of, line, threshold, begins, reach, most_apart, slope, said)
    kinds = np.empty((still_open, 1 + most))
    found = 0
    singled, shares, above = np.zeros(most), np.zeros(most), np.zeros(1 << most)
    for t in range(requests.size):
        begin, end = begins[t], begins[t + 1]
        if said[t] == _CLOSED or end - begin > most_apart:
            continue
        for w in range(most):
            singled[w] = d_wide[begin + w] if begin + w < end else 0.0
        for u in range(above.size):
            above[u] = _subset_sum(singled, u) - threshold
        if _is_linear(above, positive[t], negative[t]):
            rest = positive[t] + negative[t]
            slope[t] = _pieces(above, negative[t], rest, weights, sizes, shares)
            for w in range(begin, end):
                of_wide[w] = shares[w - begin]
            if end - begin > 1:
                _level(d_wide, of_wide, begin, end)
            said[t] = _CLOSED
        elif gamma == 0.0 and alpha != 0.0:
            said[t] = _kind(kinds, found, decoding[t], singled)
            found = max(found, said[t] + 1)
        still_open -= said[t] != _OPEN
    return slope, of_wide, d_wide, said, kinds[:found], still_open


@compiled
def _within_reach(
    of: tuple[Floats, Floats, Floats],
    line: _Line,
    threshold: float,
    begins: Ints,
    reach: Floats,
    most_apart: int,
    slope: Floats,
    said: Ints,
) -> tuple[int, int]:
    """How many iterations are open, and the most wide rows of those that have at most `most_apart`.

    Equals among equals are given their slope at once: plain decode with a d that ignores context.
    """
    decoding, requests, _ = of
    alpha, gamma = line[0] + line[1], line[2] + line[3]
    still_open = most = 0
    for t in range(requests.size):
        if not reach[t] > threshold:
            continue
        if gamma == 0.0 and decoding[t] == requests[t]:
            total = alpha * decoding[t]
            slope[t] = (total - threshold) / total
            continue
        said[t] = _OPEN
        still_open += 1
        if begins[t + 1] - begins[t] <= most_apart:
            most = max(most, begins[t + 1] - begins[t])
    return still_open, most


@compiled
def _demands(wide: _Three, line: _Line) -> Floats:
    """(W,) the d of wide rows."""
    per_request, per_token, per_context, per_attention = line
    _, new_tokens, context = wide
    demands = np.empty(new_tokens.size)
    for w in range(new_tokens.size):
        q, c = float(new_tokens[w]), float(context[w])
        demands[w] = (per_request + per_token * q) + (per_context + per_attention * q) * c
    return demands


@compiled
def _decode_sums(
    of: tuple[Floats, Floats, Floats], decode: _Three, wide: _Three, line: _Line
) -> tuple[Floats, Floats]:
    """(T,) sums of the positive and of the negative d over plain decode rows."""
    decoding, _, contexts = of
    alpha, gamma = line[0] + line[1], line[2] + line[3]
    positive, negative = np.zeros(decoding.size), np.zeros(decoding.size)
    if alpha * gamma >= 0.0:
        of_wide = np.zeros(decoding.size)
        for w in range(wide[0].size):
            of_wide[wide[0][w]] += float(wide[2][w])
        for t in range(decoding.size):
            total = alpha * decoding[t] + gamma * (contexts[t] - of_wide[t])
            positive[t], negative[t] = max(total, 0.0), min(total, 0.0)
        return positive, negative
    first, length, context = decode
    for run in range(first.size):
        for step in range(length[run]):
            d = alpha + gamma * float(context[run] + step)
            positive[first[run] + step] += max(d, 0.0)
            negative[first[run] + step] += min(d, 0.0)
    return positive, negative


@compiled
def _reach(at: Ints, d_wide: Floats, positive: Floats) -> tuple[Ints, Floats]:
    """Where each iteration's wide rows begin (T + 1,), and all of its positive d (T,)."""
    begins, reach = np.zeros(positive.size + 1, np.int64), np.zeros(positive.size)
    for w in range(at.size):
        begins[at[w] + 1] += 1
        reach[at[w]] += max(d_wide[w], 0.0)
    for t in range(positive.size):
        begins[t + 1] += begins[t]
        reach[t] += positive[t]
    return begins, reach


@compiled
def _subset_sum(d: Floats, subset: int) -> float:
    total = 0.0
    for j in range(d.size):
        if (subset >> j) & 1:
            total += d[j]
    return total


@compiled
def _is_linear(above: Floats, positive: float, negative: float) -> bool:
    """Whether the others cannot carry any subset's sum across the threshold."""
    linear = True
    for u in range(above.size):
        linear = linear and not above[u] + negative < 0.0 < above[u] + positive
    return linear


@compiled
def _pieces(
    above: Floats, negative: float, rest: float, weights: Floats, sizes: Ints, shares: Floats
) -> float:
    """The slope, and into `shares` (p,) those of the players singled out; as `certificates.certify` has them."""
    p = shares.size
    slope = 0.0
    for u in range(above.size):
        if above[u] + negative >= 0.0:
            slope += weights[p + 1, sizes[u]]
    for j in range(p):
        by_height = by_rest = 0.0
        for u in range(above.size):
            joined = u + (1 << j)
            if (u >> j) & 1:
                continue
            height = turned_on = 0.0
            if above[joined] + negative >= 0.0:
                height, turned_on = above[joined], 1.0
            if above[u] + negative >= 0.0:
                height, turned_on = height - above[u], turned_on - 1.0
            by_height += height * weights[p, sizes[u]]
            by_rest += rest * turned_on * weights[p + 1, sizes[u] + 1]
        shares[j] = by_height + by_rest
    return slope


@compiled
def _level(d_wide: Floats, of_wide: Floats, begin: int, end: int) -> None:
    """Give an iteration's wide rows with equal d the mean of their shares, as `counted.level_equals` does."""
    for first in range(begin, end - 1):
        total, count, is_first = 0.0, 0, True
        for other in range(begin, end):
            if d_wide[other] == d_wide[first]:
                is_first = is_first and other >= first
                total += of_wide[other]
                count += 1
        if is_first and count > 1:
            for other in range(first, end):
                if d_wide[other] == d_wide[first]:
                    of_wide[other] = total / count


@compiled
def _kind(kinds: Floats, found: int, count: float, singled: Floats) -> int:
    """The number of this kind of iteration among those `found`, where it is entered if it is new."""
    for kind in range(found - 1, -1, -1):
        same = kinds[kind, 0] == count
        for j in range(singled.size):
            same = same and kinds[kind, 1 + j] == singled[j]
        if same:
            return kind
    kinds[found, 0] = count
    kinds[found, 1:] = singled
    return found


@compiled
def _fill_in(
    said: Ints, one: Floats, others: Floats, at: Ints, d_wide: Floats, slope: Floats, of_wide: Floats
) -> None:
    """Give the iterations of each kind its slope (K,) and the shares of those apart (K, p)."""
    begin = 0
    while begin < at.size:
        end = begin
        while end < at.size and at[end] == at[begin]:
            end += 1
        kind = said[at[begin]]
        if kind >= 0:
            slope[at[begin]] = one[kind]
            for w in range(begin, end):
                of_wide[w] = others[kind, w - begin]
            if end - begin > 1:
                _level(d_wide, of_wide, begin, end)
        begin = end
