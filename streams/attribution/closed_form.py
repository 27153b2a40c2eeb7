"""Shapley values of an energy model over a whole window, term by term in closed form.

A certified iteration gives every plain decode row A_t + B_t · context, so a request's total is a difference
of prefix sums: O(1) per stay in the batch and O(1) per iteration.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from streams.attribution.energy_model import EnergyModel, iteration_energy
from streams.attribution.experts import expert_shares
from streams.attribution.hinges import hinge_shares
from streams.attribution.trace import IterationSums, Trace, iteration_sums, totals
from streams.attribution.unions import union_shares

__all__ = ["ClosedForm", "RequestShares", "closed_form", "request_shares"]

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class ClosedForm:
    """A window's shares before they are scaled to a measurement."""

    request_j: Floats
    """(R,) each request's Shapley value, summed over the iterations by weight."""
    half_widths_j: Floats
    """(R,) error estimate of the series; 0 where no iteration needed one."""
    iteration_j: Floats
    """(T,) weighted v(N)."""
    series: int
    """Iterations that needed a series; 0: all is exact."""


@dataclass(frozen=True, slots=True)
class RequestShares:
    """A window's shares alone."""

    request_j: Floats
    half_widths_j: Floats
    series: int


def closed_form(trace: Trace, model: EnergyModel, sums: IterationSums | None = None) -> ClosedForm:
    """Shapley values of every request over the window; O(runs + wide rows + iterations) where certified.

    sums: the trace's, if they are known already.
    """
    of = iteration_sums(trace) if sums is None else sums
    shares = request_shares(trace, model, of)
    iteration_j = iteration_energy(model, trace, of) * trace.weights
    return ClosedForm(shares.request_j, shares.half_widths_j, iteration_j, shares.series)


def request_shares(trace: Trace, model: EnergyModel, sums: IterationSums) -> RequestShares:
    """The same without the iterations' energies."""
    n = np.maximum(sums.requests, 1.0)
    head = (model.fixed_j + model.padding_token_j * sums.padding) / n
    constant = head + model.request_j
    slope = np.full(trace.iterations, model.context_token_j + model.attention_j)
    q, c = trace.wide_tokens, trace.wide_context
    wide = head[trace.wide_iteration] + model.request_j + model.prefill_token_j * (q - 1)
    wide += (model.context_token_j + model.attention_j * q) * c
    if model.experts_j > 0:
        per_decode, per_wide = expert_shares(trace, sums.decode, sums.requests, 1.0 - model.expert_fraction)
        constant += model.experts_j * per_decode
        wide += model.experts_j * per_wide
    request_j = np.zeros(trace.requests)
    half_widths_j = np.zeros(trace.requests)
    series = 0
    for hinge in model.all_hinges:
        shares = hinge_shares(trace, sums, hinge)
        constant += hinge.weight_j * shares.slope * (hinge.per_request + hinge.per_token)
        slope += hinge.weight_j * shares.slope * (hinge.per_context + hinge.per_attention)
        wide += hinge.weight_j * shares.wide
        request_j += hinge.weight_j * shares.by_request
        half_widths_j += hinge.weight_j * shares.half_widths
        series += shares.series
    request_j += _decode_totals(trace, constant * trace.weights, slope * trace.weights)
    request_j += totals(trace.wide_request, wide * trace.weights[trace.wide_iteration], trace.requests)
    for cost_j, group in ((model.adapter_j, trace.adapter), (model.prefix_group_j, trace.prefix_group)):
        if cost_j > 0:
            request_j += union_shares(trace, group, cost_j * trace.weights)[0]
    return RequestShares(request_j, half_widths_j, series)


def _decode_totals(trace: Trace, constant: Floats, slope: Floats) -> Floats:
    """(R,) Σ over each request's decode rows of constant_t + slope_t · context."""
    first, end = trace.decode_first, trace.decode_first + trace.decode_length
    base = (trace.decode_context - first).astype(np.float64)
    at_zero = _prefix_sums(constant + slope * np.arange(trace.iterations))
    per_context = _prefix_sums(slope)
    total = at_zero[end] - at_zero[first] + base * (per_context[end] - per_context[first])
    return totals(trace.decode_request, total, trace.requests)


def _prefix_sums(values: Floats) -> Floats:
    return np.concatenate([[0.0], np.cumsum(values)])
