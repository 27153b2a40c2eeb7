"""What the split takes from a window under a declared energy model, in compiled passes.

The plain way is `streams.attribution`, whose closed form, time game and features these passes repeat operation by
operation: the same joules to the last bit (tests hold the two to it). There it is some two hundred NumPy calls on
arrays of a few hundred entries, which cost what a call costs, not what the numbers do.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from schemas.compiled import compiled
from streams.attribution import EnergyModel, Trace
from streams.attribution.experts import expert_shares
from streams.attribution.features import KNEES
from streams.attribution.time_game import TimeModel
from streams.attribution.trace import IterationSums
from streams.attribution.unions import distinct_groups, union_shares
from streams.split_hinges import hinge_shares

__all__ = ["Shares", "declared_shares"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


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
    of = (sums.decode, sums.requests, sums.tokens, sums.context, sums.attention, sums.padding)
    decode = (trace.decode_request, trace.decode_first, trace.decode_length, trace.decode_context)
    wide = (trace.wide_request, trace.wide_iteration, trace.wide_tokens, trace.wide_context)
    linear = _coefficients(model)
    constant, slope, of_wide, energy = _linear(of, wide, linear)
    experts = np.zeros(trace.iterations)
    if model.expert_fraction > 0:
        experts = 1.0 - (1.0 - model.expert_fraction) ** sums.tokens
    if model.experts_j > 0:
        per_decode, per_wide = expert_shares(trace, sums.decode, sums.requests, 1.0 - model.expert_fraction)
        constant += model.experts_j * per_decode
        of_wide += model.experts_j * per_wide
        energy += model.experts_j * experts
    groups = np.zeros((2, trace.iterations))
    request_j, half_widths_j = np.zeros(trace.requests), np.zeros(trace.requests)
    kinds = ((model.adapter_j, trace.adapter), (model.prefix_group_j, trace.prefix_group))
    for index, (cost_j, group) in enumerate(kinds):
        if group.max(initial=-1) >= 0:
            groups[index] = distinct_groups(trace, group)
            energy += cost_j * groups[index]
    series = 0
    for hinge in model.all_hinges:
        shares = hinge_shares(trace, sums, hinge)
        constant += hinge.weight_j * shares.slope * (hinge.per_request + hinge.per_token)
        slope += hinge.weight_j * shares.slope * (hinge.per_context + hinge.per_attention)
        of_wide += hinge.weight_j * shares.wide
        request_j += hinge.weight_j * shares.by_request
        half_widths_j += hinge.weight_j * shares.half_widths
        series += shares.series
        demand = (
            hinge.per_request * sums.requests
            + hinge.per_token * sums.tokens
            + hinge.per_context * sums.context
            + hinge.per_attention * sums.attention
        )
        energy += hinge.weight_j * np.maximum(0.0, demand - hinge.threshold)
    _add_totals(decode, wide, constant, slope, of_wide, trace.weights, request_j)
    for cost_j, group in kinds:
        if cost_j > 0:
            request_j += union_shares(trace, group, cost_j * trace.weights)[0]
    held = _held(of, decode, wide, _TIME, trace.weights, durations, trace.requests)
    terms = _linear_terms(sums.requests, decode, wide, trace.weights, trace.requests)
    return Shares(
        request_j=request_j,
        half_widths_j=half_widths_j,
        iteration_j=energy * (sums.requests > 0),
        held=held,
        linear_terms=terms,
        features=_features(of, experts, groups, weights),
        series=series,
    )


_Model = tuple[float, float, float, float, float, float]


def _coefficients(model: EnergyModel) -> _Model:
    return (
        model.fixed_j,
        model.request_j,
        model.prefill_token_j,
        model.context_token_j,
        model.attention_j,
        model.padding_token_j,
    )


def _time_coefficients(times: TimeModel) -> _Model:
    return (times.fixed, times.per_request, times.per_prefill_token, times.per_context_token, 0.0, 0.0)


_TIME: Final = _time_coefficients(TimeModel())

_Six = tuple[Floats, Floats, Floats, Floats, Floats, Floats]
_Four = tuple[Ints, Ints, Ints, Ints]


@compiled
def _linear(of: _Six, wide: _Four, model: _Model) -> tuple[Floats, Floats, Floats, Floats]:
    """A decode row's share is constant + slope · context, (T,) each; a wide row's (W,); v(N) if there are rows."""
    _, requests, tokens, context, attention, padding = of
    fixed_j, request_j, prefill_j, context_j, attention_j, padding_j = model
    iterations = requests.size
    constant, slope = np.empty(iterations), np.full(iterations, context_j + attention_j)
    energy = np.empty(iterations)
    for t in range(iterations):
        n = max(requests[t], 1.0)
        constant[t] = (fixed_j + padding_j * padding[t]) / n
        some = 1.0 if requests[t] > 0 else 0.0
        joules = fixed_j * some + request_j * requests[t]
        joules += prefill_j * (tokens[t] - requests[t])
        joules += context_j * context[t] + attention_j * attention[t]
        energy[t] = joules + padding_j * padding[t]
    _, at, new_tokens, contexts = wide
    of_wide = np.empty(at.size)
    for w in range(at.size):
        q = float(new_tokens[w])
        share = constant[at[w]] + request_j + prefill_j * (q - 1.0)
        of_wide[w] = share + (context_j + attention_j * q) * float(contexts[w])
    for t in range(iterations):
        constant[t] += request_j
    return constant, slope, of_wide, energy


@compiled
def _add_totals(
    decode: _Four,
    wide: _Four,
    constant: Floats,
    slope: Floats,
    of_wide: Floats,
    weights: Floats,
    request_j: Floats,
) -> None:
    """Add to each request what its rows are given, by the iterations' weights."""
    iterations = weights.size
    at_zero, per_context = np.zeros(iterations + 1), np.zeros(iterations + 1)
    for t in range(iterations):
        weighted = slope[t] * weights[t]
        at_zero[t + 1] = at_zero[t] + (constant[t] * weights[t] + weighted * t)
        per_context[t + 1] = per_context[t] + weighted
    who, first, length, context = decode
    total = np.zeros(request_j.size)
    for d in range(who.size):
        begin, end = first[d], first[d] + length[d]
        base = float(context[d] - begin)
        total[who[d]] += at_zero[end] - at_zero[begin] + base * (per_context[end] - per_context[begin])
    for r in range(request_j.size):
        request_j[r] += total[r]
        total[r] = 0.0
    wide_who, at = wide[0], wide[1]
    for w in range(wide_who.size):
        total[wide_who[w]] += of_wide[w] * weights[at[w]]
    for r in range(request_j.size):
        request_j[r] += total[r]


@compiled
def _held(
    of: _Six, decode: _Four, wide: _Four, model: _Model, weights: Floats, durations: Floats, size: int
) -> Floats:
    """(R,) what each request held of the iterations' durations."""
    constant, slope, of_wide, energy = _linear(of, wide, model)
    requests = of[1]
    scale = np.zeros(weights.size)
    for t in range(weights.size):
        modelled = energy[t] * (1.0 if requests[t] > 0 else 0.0)
        if modelled > 0:
            scale[t] = weights[t] * durations[t] / modelled
    held = np.zeros(size)
    _add_totals(decode, wide, constant, slope, of_wide, scale, held)
    return held


@compiled
def _linear_terms(requests: Floats, decode: _Four, wide: _Four, weights: Floats, size: int) -> Floats:
    """(R, 7): see `Shares.linear_terms`."""
    iterations = weights.size
    count, late, fixed = np.zeros(iterations + 1), np.zeros(iterations + 1), np.zeros(iterations + 1)
    per_request = np.zeros(iterations)
    for t in range(iterations):
        if requests[t] > 0:
            per_request[t] = weights[t] / requests[t]
        count[t + 1] = count[t] + weights[t]
        late[t + 1] = late[t] + weights[t] * t
        fixed[t + 1] = fixed[t] + per_request[t]
    shares = np.zeros((size, 7))
    who, first, length, context = decode
    for d in range(who.size):
        begin, end, r = first[d], first[d] + length[d], who[d]
        rows = count[end] - count[begin]
        contexts = late[end] - late[begin] + float(context[d] - begin) * rows
        shares[r, 0] += fixed[end] - fixed[begin]
        shares[r, 1] += rows
        shares[r, 3] += contexts
        shares[r, 4] += contexts
    more = np.zeros((size, 5))
    wide_who, at, new_tokens, wide_context = wide
    for w in range(wide_who.size):
        r, weight = wide_who[w], weights[at[w]]
        q, c = float(new_tokens[w]), float(wide_context[w])
        more[r, 0] += per_request[at[w]]
        more[r, 1] += weight
        more[r, 2] += weight * (q - 1.0)
        more[r, 3] += weight * c
        more[r, 4] += weight * q * c
    for r in range(size):
        for column in range(5):
            shares[r, column] += more[r, column]
    return shares


_NAMES: Final = (
    "iterations", "requests", "prefill_tokens", "context_tokens", "attention_tokens", "experts", "padding_tokens",
    "adapters", "prefix_groups", *(f"excess_tokens_{knee}" for knee in KNEES),
)  # fmt: skip
_KNEES: Final = np.array(KNEES, np.float64)


def _features(of: _Six, experts: Floats, groups: Floats, weights: Floats) -> tuple[dict[str, float], ...]:
    sums = _term_sums(of, experts, groups, weights, _KNEES)
    return tuple(dict(zip(_NAMES, row, strict=True)) for row in sums.tolist())


@compiled
def _term_sums(of: _Six, experts: Floats, groups: Floats, weights: Floats, knees: Floats) -> Floats:
    """(F, 9 + knees) the iterations' terms, as `features.iteration_features` orders them, times each weight."""
    _, requests, tokens, context, attention, padding = of
    sums = np.zeros((weights.shape[0], 9 + knees.size))
    for row in range(weights.shape[0]):
        into = sums[row]
        for t in range(requests.size):
            weight = weights[row, t]
            if weight == 0.0:
                continue
            some = 1.0 if requests[t] > 0 else 0.0
            into[0] += some * weight
            into[1] += requests[t] * weight
            into[2] += (tokens[t] - requests[t]) * weight
            into[3] += context[t] * weight
            into[4] += attention[t] * weight
            into[5] += experts[t] * weight
            into[6] += padding[t] * some * weight
            into[7] += groups[0, t] * weight
            into[8] += groups[1, t] * weight
            for k in range(knees.size):
                into[9 + k] += max(0.0, tokens[t] - knees[k]) * weight
    return sums
