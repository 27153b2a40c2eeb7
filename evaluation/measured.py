"""Judges attribution methods and the energy model against measured sub-batches: nothing here is simulated.

The model is fitted to the grid alone; the batches whose sub-batches were measured are new to it. A method's error
has two parts: the model's (the exact Shapley value of the fitted model against that of the measured game) and the
estimator's (the method against the exact Shapley value of the fitted model).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from evaluation.criteria.fairness import relative_errors
from evaluation.measured_data import MeasuredData
from evaluation.measured_fit import GridFit, fit_grid, sub_batches
from evaluation.measured_games import MeasuredGame, draws, measured_game
from evaluation.measured_methods import METHODS, MeasuredMethod, our_half_widths
from evaluation.measured_results import BatchResult, Coverage, Measured, MethodResult, ModelResult, Target
from schemas.errors import DataError

__all__ = [
    "BatchResult",
    "Coverage",
    "Measured",
    "MethodResult",
    "ModelResult",
    "Target",
    "evaluate_measured",
]

Floats = NDArray[np.float64]

DRAWS: Final = 400
"""Of the measurement's errors: 5th and 95th percentiles to about a tenth of the interval."""
SEEDS: Final = 20
"""Of methods that draw permutations: their distance is a mean over so many runs."""
MODEL_TARGET: Final = 2.0
"""Per cent, median per iteration; the best published is 1.79 % on one dense model."""
DISTANCE_TARGET: Final = 3.0
"""Per cent, mean over requests."""
TOKEN_TARGET: Final = 5.0
"""Times smaller than the token-based method's distance."""


def evaluate_measured(data: MeasuredData, *, seed: int) -> Measured:
    """All figures from a data set; the same data and seed give the same figures."""
    if not data.batches:
        raise DataError("requests.csv: no batch was measured: there is no Shapley value to compare with")
    fits = _fits(data)
    games = [measured_game(batch) for batch in data.batches]
    rng = np.random.default_rng(seed)
    compared = [_compare(game, fits[game.batch.model], rng, seed) for game in games]
    methods = [result for one in compared for result in one.results]
    methods = [_over_all(method, compared) for method in METHODS] + methods
    models = [_model_result(fit, data) for fit in fits.values()]
    reference = data.reference_j
    return Measured(
        gpu_model=data.gpu_model,
        cells=len(data.cells),
        sub_batches=sum(batch.energy_j.size - 1 for batch in data.batches),
        drift_percent=100.0 * float(reference.std(ddof=1) / reference.mean()) if reference.size > 1 else None,
        methods=methods,
        batches=[one.batch for one in compared],
        models=models,
        coverage=_coverage([one.batch for one in compared]),
        targets=_targets(methods, fits),
    )


def _fits(data: MeasuredData) -> dict[str, GridFit]:
    used = [name for name in data.models if any(cell.model == name for cell in data.cells)]
    lacking = sorted({batch.model for batch in data.batches} - set(used))
    if lacking:
        raise DataError(
            f"grid.csv: no cell of {', '.join(lacking)}, whose batches were measured: nothing to fit"
        )
    return {
        name: fit_grid(data.models[name], [c for c in data.cells if c.model == name], data.gpu_model)
        for name in used
    }


@dataclass(frozen=True, slots=True, eq=False)
class _Compared:
    """One batch with every method."""

    batch: BatchResult
    results: list[MethodResult]
    errors: dict[str, Floats]
    """By method, (n,) relative errors."""
    drawn: dict[str, Floats]
    """By method, (DRAWS,) sums over requests of relative errors."""


def _compare(game: MeasuredGame, fit: GridFit, rng: np.random.Generator, seed: int) -> _Compared:
    batch = game.batch
    truth = game.shapley_j / game.total_j
    drawn_j, drawn_total_j = draws(game, DRAWS, rng)
    drawn_truth = drawn_j / drawn_total_j[:, None]
    modelled = sub_batches(fit.energy, batch)
    by_model = game.matrix @ modelled / modelled[-1]
    errors, drawn, results = {}, {}, []
    for method in METHODS:
        runs = [method.shares(batch, fit, seed + k) for k in range(SEEDS if method.drawn else 1)]
        errors[method.name] = np.mean([relative_errors(run, truth) for run in runs], axis=0)
        drawn[method.name] = np.mean(
            [np.sum(np.abs(run - drawn_truth) / np.abs(drawn_truth), axis=1) for run in runs], axis=0
        )
        parts = _parts(runs, by_model, truth) if method.modelled else (None, None, None)
        interval = _interval(errors[method.name], drawn[method.name] / truth.size)
        results.append(
            MethodResult(
                method=method.name,
                title=method.title,
                batch=batch.name,
                mean_percent=100.0 * float(errors[method.name].mean()),
                low_percent=interval[0],
                high_percent=interval[1],
                worst_percent=100.0 * float(errors[method.name].max()),
                misplaced_percent=50.0 * float(np.mean([np.abs(run - truth).sum() for run in runs])),
                unassigned_percent=100.0 * (1.0 - float(np.mean([run.sum() for run in runs]))),
                model_percent=parts[0],
                estimator_percent=parts[1],
                model_share=parts[2],
            )
        )
    off = np.abs(modelled[1:] / batch.energy_j[1:] - 1.0)
    ours = METHODS[0].shares(batch, fit, seed)
    result = BatchResult(
        batch=batch.name,
        about=batch.about,
        model=batch.model,
        requests=truth.size,
        energy_j=game.total_j,
        floor_percent=100.0 * float(np.mean(np.abs(drawn_truth - truth) / np.abs(truth))),
        model_median_percent=100.0 * float(np.median(off)),
        model_worst_percent=100.0 * float(off.max()),
        shapley_j=game.shapley_j.tolist(),
        half_widths_j=game.half_widths_j.tolist(),
        ours_j=(ours * game.total_j).tolist(),
        ours_half_widths_j=(our_half_widths(batch, fit) * game.total_j).tolist(),
    )
    return _Compared(result, results, errors, drawn)


def _interval(errors: Floats, drawn: Floats) -> tuple[float, float]:
    """Per cent: the mean of (n,) errors with the spread of (DRAWS,) such means, drawn with other measuring errors.

    Draws carry those errors twice, once as measured and once as drawn, and lie too high: only their spread counts.
    """
    low, high = np.quantile(drawn, (0.05, 0.95)) - drawn.mean()
    mean = float(errors.mean())
    return 100.0 * max(0.0, mean + float(low)), 100.0 * (mean + float(high))


def _parts(runs: Sequence[Floats], by_model: Floats, truth: Floats) -> tuple[float, float, float]:
    """(model's %, estimator's %, the model's share of both)."""
    model = 100.0 * float(relative_errors(by_model, truth).mean())
    estimator = 100.0 * float(np.mean([np.abs(run - by_model) / np.abs(truth) for run in runs]))
    return model, estimator, model / (model + estimator) if model + estimator > 0 else 1.0


def _over_all(method: MeasuredMethod, compared: Sequence[_Compared]) -> MethodResult:
    """The mean over the requests of all batches, each request counting once."""
    own = [next(r for r in one.results if r.method == method.name) for one in compared]
    errors = np.concatenate([one.errors[method.name] for one in compared])
    drawn = np.sum([one.drawn[method.name] for one in compared], axis=0) / errors.size
    interval = _interval(errors, drawn)
    requests = np.array([one.batch.requests for one in compared], np.float64)
    parts = [
        _mean_of([getattr(r, name) for r in own], requests) for name in ("model_percent", "estimator_percent")
    ]
    return MethodResult(
        method=method.name,
        title=method.title,
        batch="all",
        mean_percent=100.0 * float(errors.mean()),
        low_percent=interval[0],
        high_percent=interval[1],
        worst_percent=100.0 * float(errors.max()),
        misplaced_percent=float(np.mean([r.misplaced_percent for r in own])),
        unassigned_percent=float(np.mean([r.unassigned_percent for r in own])),
        model_percent=parts[0],
        estimator_percent=parts[1],
        model_share=_share(parts[0], parts[1]),
    )


def _mean_of(values: Sequence[float | None], weights: Floats) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.average(known, weights=weights)) if len(known) == len(weights) else None


def _share(model: float | None, estimator: float | None) -> float | None:
    if model is None or estimator is None:
        return None
    return model / (model + estimator) if model + estimator > 0 else 1.0


def _model_result(fit: GridFit, data: MeasuredData) -> ModelResult:
    cells = [cell for cell in data.cells if cell.model == fit.model.name]
    new = [
        np.abs(sub_batches(fit.energy, batch)[1:] / batch.energy_j[1:] - 1.0)
        for batch in data.batches
        if batch.model == fit.model.name
    ]
    return ModelResult(
        model=fit.model.name,
        cells=len(cells),
        terms=", ".join(fit.terms),
        fit_median_percent=100.0 * float(np.median(fit.fit_errors)),
        fit_worst_percent=100.0 * float(fit.fit_errors.max()),
        held_out_median_percent=100.0 * float(np.median(fit.held_out_errors)),
        held_out_p95_percent=100.0 * float(np.quantile(fit.held_out_errors, 0.95)),
        sub_batches_median_percent=100.0 * float(np.median(np.concatenate(new))) if new else None,
        prior_median_percent=100.0 * float(np.median(fit.prior_errors)) if fit.prior_errors.size else None,
        flags=list(fit.flags),
    )


def _coverage(batches: Sequence[BatchResult]) -> Coverage:
    truth, width, ours, own = (
        np.concatenate([getattr(batch, name) for batch in batches])
        for name in ("shapley_j", "half_widths_j", "ours_j", "ours_half_widths_j")
    )
    gap = np.abs(ours - truth)
    return Coverage(
        requests=gap.size,
        covered=float(np.mean(gap <= own)),
        covered_both=float(np.mean(gap <= np.hypot(own, width))),
        mean_width_percent=100.0 * float(np.mean(own / ours)),
    )


def _targets(methods: Sequence[MethodResult], fits: dict[str, GridFit]) -> list[Target]:
    mean = {r.method: r.mean_percent for r in methods if r.batch == "all"}
    median = 100.0 * float(np.median(np.concatenate([fit.held_out_errors for fit in fits.values()])))
    times = mean["token"] / mean["shapley"] if mean["shapley"] > 0 else float("inf")
    distance = mean["shapley"]
    return [
        Target(
            "energy model, median error per held-out iteration, %",
            f"≤ {MODEL_TARGET:g}",
            median,
            median <= MODEL_TARGET,
        ),
        Target(
            "our mean distance to the measured Shapley value, %",
            f"≤ {DISTANCE_TARGET:g}",
            distance,
            distance <= DISTANCE_TARGET,
        ),
        Target("per-token distance over ours", f"≥ {TOKEN_TARGET:g}", times, times >= TOKEN_TARGET),
    ]
