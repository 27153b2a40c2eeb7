"""A window's shares, held time, linear terms and features, in one compiled pass over runs and iterations.

The plain way is `streams.attribution`, whose closed form, time game and features this repeats operation by
operation: the same joules to the last bit (tests hold the two to it). There it is some two hundred NumPy calls on
arrays of a few hundred entries, which cost what a call costs, not what the numbers do.
"""

import numpy as np
from numpy.typing import NDArray

from schemas.compiled import compiled

__all__ = ["Model", "of_window"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

Model = tuple[float, float, float, float, float, float]
"""Joules: fixed, per request, prefill token, context token, attention and padding token."""

Six = tuple[Floats, Floats, Floats, Floats, Floats, Floats]
Four = tuple[Ints, Ints, Ints, Ints]


@compiled
def of_window(
    of: Six,
    decode: Four,
    wide: Four,
    linear: tuple[Model, Model],
    hinged: tuple[Floats, Floats, Floats],
    experts: tuple[float, Floats, Floats, Floats],
    groups: tuple[float, float, Floats],
    weights: Floats,
    durations: Floats,
    features: tuple[Floats, Floats],
    request_j: Floats,
) -> tuple[Floats, Floats, Floats, Floats]:
    """v(N) (T,), what is held (R,), the linear terms (R, 7) and the terms' sums (F, 9 + K).

    linear: of energy and of time. hinged: lines (H, 6), slopes (H, T) and shares of wide rows (H, W). experts:
    joules, and at 1 joule the shares of decode rows (T,) and wide rows (W,) and what is touched (T,). groups:
    joules of an adapter and of a prefix group, and how many there are (2, T). features: weights (F, T) and knees
    (K,). The shares but those of groups are added to `request_j` (R,).
    """
    energy_game, time_game = linear
    constant, slope, of_wide, energy = _linear(of, wide, energy_game)
    experts_j, per_decode, per_wide, touched = experts
    adapter_j, prefix_group_j, distinct = groups
    for w in range(of_wide.size):
        of_wide[w] += experts_j * per_wide[w]
    for t in range(energy.size):
        constant[t] += experts_j * per_decode[t]
        energy[t] += experts_j * touched[t]
        energy[t] += adapter_j * distinct[0, t]
        energy[t] += prefix_group_j * distinct[1, t]
    _add_hinges(of, hinged, constant, slope, of_wide, energy)
    for t in range(energy.size):
        energy[t] *= 1.0 if of[1][t] > 0 else 0.0
    _add_totals(decode, wide, constant, slope, of_wide, weights, request_j)
    held = _held(of, decode, wide, time_game, weights, durations, request_j.size)
    terms = _linear_terms(of[1], decode, wide, weights, request_j.size)
    return energy, held, terms, _term_sums(of, touched, distinct, features[0], features[1])


@compiled
def _add_hinges(
    of: Six,
    hinged: tuple[Floats, Floats, Floats],
    constant: Floats,
    slope: Floats,
    of_wide: Floats,
    energy: Floats,
) -> None:
    """Add each hinge to decode rows' shares, wide rows' shares and v(N)."""
    lines, slopes, shares = hinged
    _, requests, tokens, context, attention, _ = of
    for hinge in range(lines.shape[0]):
        weight_j, threshold = lines[hinge, 0], lines[hinge, 1]
        per_request, per_token = lines[hinge, 2], lines[hinge, 3]
        per_context, per_attention = lines[hinge, 4], lines[hinge, 5]
        for t in range(energy.size):
            constant[t] += weight_j * slopes[hinge, t] * (per_request + per_token)
            slope[t] += weight_j * slopes[hinge, t] * (per_context + per_attention)
            demand = per_request * requests[t] + per_token * tokens[t]
            demand = demand + per_context * context[t] + per_attention * attention[t]
            energy[t] += weight_j * max(0.0, demand - threshold)
        for w in range(of_wide.size):
            of_wide[w] += weight_j * shares[hinge, w]


@compiled
def _linear(of: Six, wide: Four, model: Model) -> tuple[Floats, Floats, Floats, Floats]:
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
    decode: Four,
    wide: Four,
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
    of: Six, decode: Four, wide: Four, model: Model, weights: Floats, durations: Floats, size: int
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
def _linear_terms(requests: Floats, decode: Four, wide: Four, weights: Floats, size: int) -> Floats:
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


@compiled
def _term_sums(of: Six, experts: Floats, groups: Floats, weights: Floats, knees: Floats) -> Floats:
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
