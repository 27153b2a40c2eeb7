"""Fits the attribution library's energy model to a run's windows, as a provider does who has only a meter.

Only sums over accounting windows are used, never the energy of an iteration: that is what the counters give.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from evaluation.runs import Run, Segment
from schemas.errors import AttributionError
from streams.attribution import EnergyModel
from streams.attribution.features import KNEES
from streams.attribution.trace import iteration_sums

__all__ = ["WINDOW_US", "FittedModel", "fit_energy_model", "windows_of"]

Floats = NDArray[np.float64]
Int64s = NDArray[np.int64]

WINDOW_US: Final = 5_000_000
"""The accounting window of the pipeline."""
_COLUMNS: Final = (
    "fixed_j",
    "request_j",
    "prefill_token_j",
    "context_token_j",
    "attention_j",
    "experts_j",
    "excess_token_j",
)


@dataclass(frozen=True, slots=True)
class FittedModel:
    """An energy model and how well it fits."""

    energy: EnergyModel
    median_error: float
    """Median relative error of a window's energy."""
    windows: int


def windows_of(segment: Segment) -> Int64s:
    """(T,) the window in which each iteration ends."""
    return np.asarray((segment.schedule.end_us - 1) // WINDOW_US, np.int64)


def fit_energy_model(run: Run) -> FittedModel:
    """Non-negative least squares of relative error over windows, for each candidate knee; the best one wins."""
    engine = run.system.engine
    fraction = 0.0 if engine.experts is None else engine.experts.active / engine.experts.total
    best: tuple[float, Floats, int] | None = None
    energy, features = _window_sums(run, fraction)
    busy = energy > 0
    scaled = energy[busy]
    for knee, excess in enumerate(features[len(_COLUMNS) - 1 :]):
        design = np.column_stack([*features[: len(_COLUMNS) - 1], excess])[busy] / scaled[:, None]
        coefficients = _non_negative(design, np.ones(len(scaled)))
        residual = design @ coefficients - 1.0
        error = float(np.sum(residual**2))
        if best is None or error < best[0] - 1e-12:
            best = (error, coefficients, knee)
    if best is None or not len(scaled):
        raise AttributionError("no window has energy: an energy model needs a run with at least one request")
    _, coefficients, knee = best
    design = np.column_stack([*features[: len(_COLUMNS) - 1], features[len(_COLUMNS) - 1 + knee]])[busy]
    values = dict(zip(_COLUMNS, coefficients.tolist(), strict=True))
    # A mixture's share of experts per token is known from its descriptor, not fitted.
    model = EnergyModel(**values, expert_fraction=fraction, knee_tokens=float(KNEES[knee]))
    error = float(np.median(np.abs(design @ coefficients / scaled - 1.0)))
    return FittedModel(model, error, int(busy.sum()))


def _window_sums(run: Run, expert_fraction: float) -> tuple[Floats, list[Floats]]:
    """(W,) joules and the features (W,) each: `_COLUMNS` without the last, then one excess per knee."""
    windows = int((max(run.end_us, 1) - 1) // WINDOW_US) + 1
    energy = np.zeros(windows)
    features = [np.zeros(windows) for _ in range(len(_COLUMNS) - 1 + len(KNEES))]
    for segment in run.segments():
        sums = iteration_sums(segment.trace)
        window = windows_of(segment)
        energy += np.bincount(window, segment.energy_j, windows)
        columns = [
            (sums.requests > 0).astype(np.float64),
            sums.requests,
            sums.tokens - sums.requests,
            sums.context,
            sums.attention,
            1.0 - (1.0 - expert_fraction) ** sums.tokens,
            *(np.maximum(0.0, sums.tokens - knee) for knee in KNEES),
        ]
        for feature, column in zip(features, columns, strict=True):
            feature += np.bincount(window, column, windows)
    return energy, features


def _non_negative(design: Floats, target: Floats) -> Floats:
    """The x ≥ 0 with the smallest ‖design x − target‖, by active sets (Lawson and Hanson 1974, chapter 23)."""
    scale = np.sqrt((design**2).sum(axis=0))
    used = scale > 0
    A = np.divide(design, scale, out=np.zeros_like(design), where=used)
    x = np.zeros(A.shape[1])
    active = np.zeros(A.shape[1], np.bool_)
    gradient = A.T @ target
    for _ in range(3 * A.shape[1]):
        free = ~active & used & (gradient > 1e-10 * np.abs(target).sum())
        if not free.any():
            break
        active[np.argmax(np.where(free, gradient, -np.inf))] = True
        while True:
            solution = np.zeros_like(x)
            solution[active] = np.linalg.lstsq(A[:, active], target, rcond=None)[0]
            below = active & (solution <= 0)
            if not below.any():
                break
            step = float(np.min(x[below] / np.maximum(x[below] - solution[below], 1e-300)))
            x = x + step * (solution - x)
            active &= ~(below & (x <= 1e-15))
        x = solution
        gradient = A.T @ (target - A @ x)
    unscaled: Floats = np.divide(x, scale, out=np.zeros_like(x), where=used)
    return unscaled
