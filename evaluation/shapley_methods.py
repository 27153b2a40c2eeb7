"""Shapley attribution as the pipeline does it: a fitted model, each window scaled to what its meter says.

The model splits, the meter decides how much: within a window every iteration's modelled energy is multiplied
by measured / modelled. Embodied carbon is a game of its own, time held, with the library's time model.
"""

import numpy as np
from numpy.typing import NDArray

from evaluation.fitting import windows_of
from evaluation.runs import Run, Segment
from streams.attribution import EnergyModel, TimeModel, attribute_trace, iteration_energy
from streams.attribution.sampling import AUTO

__all__ = ["by_model"]

Floats = NDArray[np.float64]


def by_model(
    run: Run,
    model: EnergyModel,
    *,
    method: str = AUTO,
    permutations: int | None = None,
    tolerance: float = 0.0,
    rel_tol: float = 0.005,
    seed: int,
) -> Floats:
    """(R,) gCO2e by `attribute_trace` with the given estimator; energy and time use the same permutations."""
    times = TimeModel()
    clock = EnergyModel(
        fixed_j=times.fixed,
        request_j=times.per_request,
        prefill_token_j=times.per_prefill_token,
        context_token_j=times.per_context_token,
    )
    grams = np.zeros(len(run.requests))
    for segment in run.segments():
        pairs = (
            (model, _metered(segment, model) * segment.per_joule_g),
            (clock, _per_modelled(segment.seconds, clock, segment) * segment.per_second_g),
        )
        for game, weights in pairs:
            sign = -1.0 if weights.size and weights.min() < 0 else 1.0
            split = attribute_trace(
                segment.trace.reweighted(sign * weights),
                game,
                method=method,
                permutations=permutations,
                tolerance=tolerance,
                rel_tol=rel_tol,
                seed=seed,
            )
            grams += sign * split.request_j
    return grams


def _metered(segment: Segment, model: EnergyModel) -> Floats:
    """(T,) measured over modelled energy of the window that each iteration ends in."""
    modelled = iteration_energy(model, segment.trace)
    window = windows_of(segment)
    window = window - (window[0] if window.size else 0)
    measured_j = np.bincount(window, segment.energy_j)
    modelled_j = np.bincount(window, modelled)
    scale = np.divide(measured_j, modelled_j, out=np.zeros_like(measured_j), where=modelled_j > 0)
    return scale[window]


def _per_modelled(values: Floats, model: EnergyModel, segment: Segment) -> Floats:
    modelled = iteration_energy(model, segment.trace)
    return np.divide(values, modelled, out=np.zeros_like(values), where=modelled > 0)
