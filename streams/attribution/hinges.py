"""Shapley values of a hinge over a whole window: certified iterations in columns, the others one by one.

weight · max(0, Σ d_i − threshold), with d_i affine in a request's context: crossing the token knee, or the
roofline (compute time over memory time). Tiers: 0 the positive d cannot reach the threshold, the term is 0
for every coalition; 1 certified piecewise linear; 2 exchangeable or few players, enumerated; 3 a series.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from schemas.errors import AttributionError
from streams.attribution.certificates import MAX_SINGLED_OUT, certify
from streams.attribution.counted import equals_shares, level_equals
from streams.attribution.ridge import ridge_shares
from streams.attribution.trace import IterationSums, Trace, totals

__all__ = ["Hinge", "HingeShares", "hinge_shares", "row_by_row"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Hinge:
    """weight_j · max(0, Σ_i d_i − threshold), where
    d_i = per_request + per_token q + (per_context + per_attention q) c.
    """

    weight_j: float
    """Joules per unit of d above the threshold, ≥ 0."""
    threshold: float
    """≥ 0, so that an empty batch costs 0."""
    per_request: float = 0.0
    per_token: float = 0.0
    per_context: float = 0.0
    per_attention: float = 0.0

    def __post_init__(self) -> None:
        for name in self.__slots__:
            if not np.isfinite(getattr(self, name)):
                raise AttributionError(f"hinge {name} = {getattr(self, name)!r}: a finite number is needed")
        if self.weight_j < 0 or self.threshold < 0:
            raise AttributionError(
                f"hinge weight_j = {self.weight_j!r}, threshold = {self.threshold!r}: both must be at least 0"
            )

    def demand(self, new_tokens: Ints | Floats | float, context_tokens: Ints | Floats) -> Floats:
        """The d of rows."""
        q = np.asarray(new_tokens, np.float64)
        c = np.asarray(context_tokens, np.float64)
        return (self.per_request + self.per_token * q) + (self.per_context + self.per_attention * q) * c


@dataclass(frozen=True, slots=True)
class HingeShares:
    """Shares of weight_j = 1: columns for certified iterations, sums for the rest."""

    slope: Floats
    """(T,) a decode row's share is slope · d; 0 in iterations handled one by one."""
    wide: Floats
    """(W,) shares of wide rows in certified iterations."""
    by_request: Floats
    """(R,) shares from iterations handled one by one, weighted like the trace."""
    half_widths: Floats
    """(R,) error estimates of `by_request`; 0 without a series."""
    series: int
    """Iterations that needed a series."""


def hinge_shares(trace: Trace, sums: IterationSums, hinge: Hinge) -> HingeShares:
    """Shapley values of one hinge, O(D + W + T) where certified with d of one sign."""
    signed = _signed_decode_sums(trace, sums, hinge)
    d_wide = hinge.demand(trace.wide_tokens, trace.wide_context)
    reach = signed[0] + totals(trace.wide_iteration, np.maximum(d_wide, 0.0), trace.iterations)
    shares = HingeShares(
        slope=np.zeros(trace.iterations),
        wide=np.zeros(d_wide.size),
        by_request=np.zeros(trace.requests),
        half_widths=np.zeros(trace.requests),
        series=0,
    )
    open_ = reach > hinge.threshold
    if not open_.any():
        return shares
    open_ = _equal_decodes(sums, hinge, open_, shares)
    open_ = _wide_singled_out(trace, sums, hinge, signed, d_wide, open_, shares)
    if not open_.any():
        return shares
    return row_by_row(trace, hinge, open_, shares)


def _signed_decode_sums(trace: Trace, sums: IterationSums, hinge: Hinge) -> tuple[Floats, Floats]:
    """(T,) sums of the positive and of the negative d over plain decode rows."""
    alpha, gamma = _decode_line(hinge)
    T = trace.iterations
    if alpha * gamma >= 0.0:
        wide_context = np.bincount(trace.wide_iteration, trace.wide_context.astype(np.float64), T)
        total = alpha * sums.decode + gamma * (sums.context - wide_context)
        return np.maximum(total, 0.0), np.minimum(total, 0.0)
    offset = np.arange(int(trace.decode_length.sum())) - np.repeat(
        np.cumsum(trace.decode_length) - trace.decode_length, trace.decode_length
    )
    at = np.repeat(trace.decode_first, trace.decode_length) + offset
    d = hinge.demand(1.0, np.repeat(trace.decode_context, trace.decode_length) + offset)
    return totals(at, np.maximum(d, 0.0), T), totals(at, np.minimum(d, 0.0), T)


def _decode_line(hinge: Hinge) -> tuple[float, float]:
    """Intercept and slope: d = alpha + gamma · context of a plain decode row."""
    return hinge.per_request + hinge.per_token, hinge.per_context + hinge.per_attention


def _equal_decodes(sums: IterationSums, hinge: Hinge, open_: Bools, shares: HingeShares) -> Bools:
    """Plain decode with a d that ignores context: equals among equals, an equal share each."""
    alpha, gamma = _decode_line(hinge)
    if gamma != 0.0:
        return open_
    equal = open_ & (sums.decode == sums.requests)
    total = alpha * sums.decode[equal]
    shares.slope[equal] = (total - hinge.threshold) / total
    still: Bools = open_ & ~equal
    return still


def _wide_singled_out(
    trace: Trace,
    sums: IterationSums,
    hinge: Hinge,
    signed: tuple[Floats, Floats],
    d_wide: Floats,
    open_: Bools,
    shares: HingeShares,
) -> Bools:
    """Tier 1 with the wide rows singled out, then equal decodes counted: no decode row is looked at."""
    at = trace.wide_iteration
    wide_count = np.bincount(at, minlength=trace.iterations)
    candidate = np.flatnonzero(open_ & (wide_count <= MAX_SINGLED_OUT))
    if candidate.size == 0:
        return open_
    row_of = np.full(trace.iterations, -1, np.int64)
    row_of[candidate] = np.arange(candidate.size)
    column = np.arange(at.size) - (np.cumsum(wide_count) - wide_count)[at]
    chosen = np.flatnonzero(row_of[at] >= 0)
    row, column = row_of[at[chosen]], column[chosen]
    singled = np.zeros((candidate.size, int(wide_count[candidate].max())))
    singled[row, column] = d_wide[chosen]
    closed, slope, wide = certify(singled, signed[0][candidate], signed[1][candidate], hinge.threshold)
    alpha, gamma = _decode_line(hinge)
    if gamma == 0.0 and alpha != 0.0:
        counts = sums.decode[candidate].astype(np.int64)
        for count in np.unique(counts[~closed]).tolist():
            same = np.flatnonzero(~closed & (counts == count))
            one, wide[same] = equals_shares(singled[same], alpha, count, hinge.threshold)
            slope[same] = one / alpha
            closed[same] = True
    shares.slope[candidate[closed]] = slope[closed]
    done = closed[row]
    shares.wide[chosen[done]] = level_equals(wide[row[done], column[done]], row[done], d_wide[chosen[done]])
    still = open_.copy()
    still[candidate[closed]] = False
    return still


def row_by_row(trace: Trace, hinge: Hinge, open_: Bools, shares: HingeShares) -> HingeShares:
    """Write the remaining iterations out: the largest |d| singled out, then exchangeable, then the series."""
    rows = trace.expand(open_)
    d = hinge.demand(rows.new_tokens, rows.context_tokens)
    starts = np.flatnonzero(np.diff(rows.iteration, prepend=-1))
    values, errors, series = ridge_shares(d, starts, hinge.threshold)
    weight = trace.weights[rows.iteration]
    return HingeShares(
        slope=shares.slope,
        wide=shares.wide,
        by_request=totals(rows.request, values * weight, trace.requests),
        half_widths=totals(rows.request, errors * weight, trace.requests),
        series=series,
    )
