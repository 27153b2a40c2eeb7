"""The split itself, over one iteration or a whole window: by a declared model, a sum game or any callable."""

from collections.abc import Sized
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from schemas.errors import AttributionError
from streams.attribution.apportion import apportion
from streams.attribution.closed_form import closed_form
from streams.attribution.energy_model import EnergyModel, iteration_energy
from streams.attribution.games import Game
from streams.attribution.iteration_games import iteration_game, iteration_seed
from streams.attribution.sampling import AUTO, Sampling
from streams.attribution.trace import IterationSums, Trace, iteration_sums

__all__ = [
    "Attribution",
    "IterationRows",
    "TraceAttribution",
    "attribute",
    "attribute_trace",
    "declared_attribution",
]

Floats = NDArray[np.float64]
Int64s = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class IterationRows:
    """The n requests of one iteration; a row with 0 new tokens is no player and gets nothing."""

    new_tokens: ArrayLike
    """(n,)"""
    context_tokens: ArrayLike
    """(n,) in the KV cache before the iteration."""
    adapter: ArrayLike | None = None
    """(n,) counted from 0, -1 for none."""
    prefix_group: ArrayLike | None = None
    """(n,) any number, 0 for none."""
    padded_tokens: int = 0
    """Tokens after padding; 0 where the engine does not say."""

    def __len__(self) -> int:
        return int(np.asarray(self.new_tokens).size)

    def trace(self) -> Trace:
        """The iteration as a window of one."""
        n = len(self)
        return Trace.from_rows(
            np.zeros(n, np.int64), np.arange(n), self.new_tokens, self.context_tokens,
            iterations=1, requests=n, padded_tokens=[self.padded_tokens],
            adapter=self.adapter, prefix_group=self.prefix_group,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Attribution:
    """One iteration's measured energy, split."""

    shares_uj: Int64s
    """(n,) sum to the measured energy exactly."""
    half_widths: Floats
    """(n,) µJ; 0 where exact."""
    method: str
    """shapley_exact, shapley_series, shapley_sampled_K<k> or shapley_truncated_K<k>."""
    permutations: int
    evaluations: int
    """Coalitions that v was asked for; 0 for a closed form."""
    error_estimate: float
    """Largest half-width relative to its share."""
    converged: bool
    seed: int


@dataclass(frozen=True, slots=True)
class TraceAttribution:
    """A window's modelled energy, split; scale with `apportion`."""

    request_j: Floats
    """(R,) modelled joules of each request in the window."""
    half_widths_j: Floats
    """(R,) of the estimator alone; the model's and the meter's errors come on top."""
    iteration_j: Floats
    """(T,) modelled joules v(N) of each iteration, times its weight."""
    method: str
    permutations: int
    """Most permutations drawn for one iteration."""
    evaluations: int
    error_estimate: float
    converged: bool
    seed: int


def attribute(
    rows: IterationRows | Sized,
    model: EnergyModel | Game,
    measured_uj: int,
    *,
    method: str = AUTO,
    permutations: int | None = None,
    tolerance: float = 0.0,
    rel_tol: float = 0.005,
    confidence: float = 0.95,
    max_permutations: int = 20_000,
    seed: int,
) -> Attribution:
    """Split one iteration's measured energy among its rows.

    `model` is an EnergyModel (then `rows` are IterationRows), a SumGame or a callable on boolean coalitions
    (then only the number of rows matters). `method` is `auto` (closed form for an EnergyModel, otherwise
    `shapley.sample`), `sampled` or `truncated`; `permutations` and `tolerance` are `shapley.truncated`'s,
    `rel_tol`, `confidence` and `max_permutations` are `shapley.sample`'s.

    Shares are integers that sum to `measured_uj` exactly. No measured energy gives zeros; energy without
    rows, or a model that gives the batch none, is an AttributionError: it belongs to an account.
    """
    sampling = Sampling(method, permutations, tolerance, rel_tol, confidence, max_permutations)
    if measured_uj < 0:
        raise AttributionError(f"measured_uj = {measured_uj}: a meter only grows; look for a counter reset")
    if len(rows) == 0:
        raise AttributionError(f"no rows for {measured_uj} µJ: book it to idle, overhead or unobserved")
    if isinstance(model, EnergyModel):
        if not isinstance(rows, IterationRows):
            raise AttributionError(f"rows are {type(rows).__name__}: an EnergyModel needs IterationRows")
        split = _attribute_trace(rows.trace(), model, sampling, seed)
        values, half_widths = split.request_j, split.half_widths_j
        name, drawn, asked, converged = split.method, split.permutations, split.evaluations, split.converged
    else:
        estimate = sampling.run(model, len(rows), seed)
        values, half_widths = estimate.values, estimate.half_widths
        name, drawn, asked = sampling.name(estimate), estimate.permutations, estimate.evaluations
        converged = estimate.converged
    return Attribution(
        shares_uj=apportion(values, measured_uj),
        half_widths=half_widths * (measured_uj / float(values.sum()) if measured_uj else 0.0),
        method=name,
        permutations=drawn,
        evaluations=asked,
        error_estimate=_largest_relative(values, half_widths),
        converged=converged,
        seed=seed,
    )


def attribute_trace(
    trace: Trace,
    model: EnergyModel,
    *,
    method: str = AUTO,
    permutations: int | None = None,
    tolerance: float = 0.0,
    rel_tol: float = 0.005,
    confidence: float = 0.95,
    max_permutations: int = 20_000,
    seed: int,
    sums: IterationSums | None = None,
) -> TraceAttribution:
    """Split a window's modelled energy among its requests: Σ weight_t · the iteration's Shapley values.

    `auto` is the closed form, at tens of nanoseconds per request-iteration. `truncated` and `sampled` play
    every iteration as a black box (microseconds per request-iteration), each with a seed derived from `seed`
    and its number, so that permutations are not shared and a recomputation gives the same figures.

    sums: the trace's, if they are known already.
    """
    sampling = Sampling(method, permutations, tolerance, rel_tol, confidence, max_permutations)
    return _attribute_trace(trace, model, sampling, seed, sums)


def _attribute_trace(
    trace: Trace, model: EnergyModel, sampling: Sampling, seed: int, sums: IterationSums | None = None
) -> TraceAttribution:
    if sampling.method != AUTO:
        return _play_each_iteration(trace, model, sampling, seed)
    shares = closed_form(trace, model, sums)
    return declared_attribution(
        shares.request_j, shares.half_widths_j, shares.iteration_j, shares.series, seed
    )


def declared_attribution(
    request_j: Floats, half_widths_j: Floats, iteration_j: Floats, series: int, seed: int
) -> TraceAttribution:
    """The outcome of a closed form in which `series` iterations needed one; columns as `TraceAttribution`'s."""
    return TraceAttribution(
        request_j=request_j,
        half_widths_j=half_widths_j,
        iteration_j=iteration_j,
        method="shapley_series" if series else "shapley_exact",
        permutations=0,
        evaluations=0,
        error_estimate=_largest_relative(request_j, half_widths_j) if series else 0.0,
        converged=True,
        seed=seed,
    )


def _play_each_iteration(trace: Trace, model: EnergyModel, sampling: Sampling, seed: int) -> TraceAttribution:
    sums = iteration_sums(trace)
    rows = trace.expand()
    bounds = np.searchsorted(rows.iteration, np.arange(trace.iterations + 1)).tolist()
    request_j = np.zeros(trace.requests)
    variance = np.zeros(trace.requests)
    drawn, asked, converged = 0, 0, True
    name = sampling.method
    for t in range(trace.iterations):
        part = slice(bounds[t], bounds[t + 1])
        who, weight = rows.request[part], trace.weights[t]
        if who.size == 0 or weight == 0.0:
            continue
        game = iteration_game(
            model, rows.new_tokens[part], rows.context_tokens[part],
            trace.adapter[who], trace.prefix_group[who], float(sums.padding[t]),
        )  # fmt: skip
        estimate = sampling.run(game, who.size, iteration_seed(seed, t))
        np.add.at(request_j, who, estimate.values * weight)
        np.add.at(variance, who, (estimate.half_widths * weight) ** 2)
        asked += estimate.evaluations
        converged &= estimate.converged
        if estimate.permutations >= drawn:
            drawn, name = estimate.permutations, sampling.name(estimate)
    half_widths_j = np.sqrt(variance)
    return TraceAttribution(
        request_j=request_j,
        half_widths_j=half_widths_j,
        iteration_j=iteration_energy(model, trace, sums) * trace.weights,
        method=name,
        permutations=drawn,
        evaluations=asked,
        error_estimate=_largest_relative(request_j, half_widths_j),
        converged=converged,
        seed=seed,
    )


def _largest_relative(values: Floats, half_widths: Floats) -> float:
    """The largest half-width relative to its share; shares of nothing have no relative error."""
    uncertain = half_widths > 0
    if not uncertain.any():
        return 0.0
    return float(np.max(half_widths[uncertain] / np.maximum(np.abs(values[uncertain]), 1e-300)))
