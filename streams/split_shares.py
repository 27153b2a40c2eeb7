"""What the split takes from a window under a declared energy model, in compiled passes.

Experts and groups are few and stay with `streams.attribution`; what every window has goes through `split_passes`.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from streams.attribution import EnergyModel, Hinge, Trace
from streams.attribution.experts import expert_shares
from streams.attribution.features import KNEES
from streams.attribution.time_game import TimeModel
from streams.attribution.trace import IterationSums
from streams.attribution.unions import distinct_groups, union_shares
from streams.split_hinges import hinge_shares
from streams.split_passes import Model, of_window

__all__ = ["Shares", "declared_shares"]

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Shares:
    """A window's shares before they are scaled; R counts the rows whose output was dropped as players too."""

    request_j: Floats
    """(R,)"""
    half_widths_j: Floats
    """(R,) of the series; 0 where all is exact."""
    iteration_j: Floats
    """(T,) v(N), not weighted."""
    held: Floats
    """(R,) of the iterations' durations, by the time game."""
    linear_terms: Floats
    """(R, 7) Shapley values in the game of each of the five linear coefficients, at 1 joule; then zeros."""
    features: tuple[dict[str, float], ...]
    """Sums of the terms, by each row of the weights that were asked for."""
    series: int


def declared_shares(
    trace: Trace, sums: IterationSums, model: EnergyModel, durations: Floats, weights: Floats
) -> Shares:
    """Everything at once; durations (T,) of the iterations, weights (F, T) by which features are summed."""
    declared = _declared(model)
    of = (sums.decode, sums.requests, sums.tokens, sums.context, sums.attention, sums.padding)
    decode = (trace.decode_request, trace.decode_first, trace.decode_length, trace.decode_context)
    wide = (trace.wide_request, trace.wide_iteration, trace.wide_tokens, trace.wide_context)
    request_j, half_widths_j = np.zeros(trace.requests), np.zeros(trace.requests)
    slopes = np.empty((len(declared.hinges), trace.iterations))
    of_wide = np.empty((len(declared.hinges), trace.wide_iteration.size))
    series = 0
    for index, hinge in enumerate(declared.hinges):
        shares = hinge_shares(trace, sums, hinge)
        slopes[index], of_wide[index] = shares.slope, shares.wide
        request_j += hinge.weight_j * shares.by_request
        half_widths_j += hinge.weight_j * shares.half_widths
        series += shares.series
    groups = np.zeros((2, trace.iterations))
    kinds = ((model.adapter_j, trace.adapter), (model.prefix_group_j, trace.prefix_group))
    for index, (_, group) in enumerate(kinds):
        if group.max(initial=-1) >= 0:
            groups[index] = distinct_groups(trace, group)
    experts = _experts(trace, sums, model)
    iteration_j, held, terms, features = of_window(
        of,
        decode,
        wide,
        (declared.linear, _TIME),
        (declared.lines, slopes, of_wide),
        (model.experts_j, *experts),
        (model.adapter_j, model.prefix_group_j, groups),
        trace.weights,
        durations,
        (weights, _KNEES),
        request_j,
    )
    for cost_j, group in kinds:
        if cost_j > 0:
            request_j += union_shares(trace, group, cost_j * trace.weights)[0]
    return Shares(
        request_j=request_j,
        half_widths_j=half_widths_j,
        iteration_j=iteration_j,
        held=held,
        linear_terms=terms,
        features=tuple(dict(zip(_NAMES, row, strict=True)) for row in features.tolist()),
        series=series,
    )


def _experts(trace: Trace, sums: IterationSums, model: EnergyModel) -> tuple[Floats, Floats, Floats]:
    """Of the experts, at 1 joule: shares of decode rows (T,) and wide rows (W,), and what is touched (T,)."""
    per_decode = touched = np.zeros(trace.iterations)
    per_wide = np.zeros(trace.wide_iteration.size)
    if model.expert_fraction > 0:
        touched = 1.0 - (1.0 - model.expert_fraction) ** sums.tokens
    if model.experts_j > 0:
        per_decode, per_wide = expert_shares(trace, sums.decode, sums.requests, 1.0 - model.expert_fraction)
    return per_decode, per_wide, touched


@dataclass(frozen=True, slots=True)
class _Declared:
    """What the passes take of an energy model."""

    linear: Model
    hinges: tuple[Hinge, ...]
    lines: Floats
    """(H, 6) of each hinge: weight, threshold, then its d per request, token, context and attention."""


@lru_cache(maxsize=1024)
def _declared(model: EnergyModel) -> _Declared:
    linear = (
        model.fixed_j,
        model.request_j,
        model.prefill_token_j,
        model.context_token_j,
        model.attention_j,
        model.padding_token_j,
    )
    hinges = model.all_hinges
    lines = [
        (one.weight_j, one.threshold, one.per_request, one.per_token, one.per_context, one.per_attention)
        for one in hinges
    ]
    return _Declared(linear, hinges, np.array(lines, np.float64).reshape(-1, 6))


def _time_coefficients(times: TimeModel) -> Model:
    return (times.fixed, times.per_request, times.per_prefill_token, times.per_context_token, 0.0, 0.0)


_TIME: Final = _time_coefficients(TimeModel())

_NAMES: Final = (
    "iterations", "requests", "prefill_tokens", "context_tokens", "attention_tokens", "experts", "padding_tokens",
    "adapters", "prefix_groups", *(f"excess_tokens_{knee}" for knee in KNEES),
)  # fmt: skip
_KNEES: Final = np.array(KNEES, np.float64)
