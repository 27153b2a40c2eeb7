"""Energy models from measured windows: non-negative, robust, forgetting, and frank about what they cannot tell."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypedDict

import numpy as np
from numpy.typing import ArrayLike, NDArray

from schemas.errors import AttributionError
from streams.attribution.energy_model import EnergyModel
from streams.attribution.features import FEATURES, KNEES
from streams.attribution.fit_checks import Flag, PhysicsCheck, Shape, mixture_flags, physics_check
from streams.attribution.nnls import Regression, robust_regression
from streams.attribution.regimes import Regimes, split_regimes

__all__ = ["Fit", "FitSettings", "fit_energy_model"]

Floats = NDArray[np.float64]

_TERMS: Final = tuple(name for name in FEATURES if not name.startswith("excess_tokens"))
_SEPARATE: Final = 0.02
"""Part of a feature's size that must be new beside the features before it; below, noise decides the split."""
_POOR: Final = 0.10
"""Held-out error above which a fit does not describe its engine: dense fits reach 3 %, mixtures 5 %."""
_WORTH: Final = 0.9
"""A knee is kept if it brings the held-out error below this part of what it is without one."""


@dataclass(frozen=True, slots=True)
class Fit:
    """A fitted model with everything that has to be published beside its splits."""

    model: EnergyModel
    """Where two regimes were found: the one that the newest windows belong to."""
    terms: tuple[str, ...]
    """Features that the model uses, in the covariance's order."""
    covariance: tuple[tuple[float, ...], ...]
    """Of the terms' coefficients."""
    fit_error: float
    """Median relative error on the windows it was fitted to."""
    held_out_error: float
    """Median relative error on windows that were left out, every k-th in turn."""
    windows: int
    outliers: int
    """Windows that Huber's loss gives less than half of their weight."""
    regimes: Regimes | None
    """Two regimes, where one model would average them."""
    physics: PhysicsCheck | None
    """The coefficients against the weights' and the cache's bytes, where the model's shape is known."""
    flags: tuple[Flag, ...]
    """What a reader must know; nothing here stops the fit from being used."""

    @property
    def standard_errors(self) -> dict[str, float]:
        """Of each term's coefficient, by the coefficient's name."""
        return {FEATURES[name]: float(self.covariance[i][i] ** 0.5) for i, name in enumerate(self.terms)}


class FitSettings(TypedDict, total=False):
    """Keyword arguments of `fit_energy_model`."""

    terms: Sequence[str] | None
    expert_fraction: float
    ages: ArrayLike | None
    half_life: float | None
    shape: Shape | None
    folds: int


def fit_energy_model(
    windows: Sequence[Mapping[str, float]],
    energy_j: ArrayLike,
    *,
    terms: Sequence[str] | None = None,
    expert_fraction: float = 0.0,
    ages: ArrayLike | None = None,
    half_life: float | None = None,
    shape: Shape | None = None,
    folds: int = 5,
) -> Fit:
    """Fit an EnergyModel to windows: their features (as `window_features` names them) and measured joules.

    `terms` defaults to every feature that is present and can be told apart from those before it; features
    given by name that cannot are an AttributionError, as are windows that all look alike. A knee is chosen
    by held-out error. `ages` with `half_life`, in the same unit, make older windows count less. `shape` is
    what the physics check compares with, and says whether the model is a mixture of experts.
    """
    energy = _energies(energy_j, len(windows))
    prior = _forgetting(ages, half_life, energy.size)
    chosen, dropped = _terms(windows, energy, terms)
    if terms is None:
        chosen = _with_knee(windows, energy, prior, chosen, folds)
    design = _design(windows, chosen)
    if energy.size < len(chosen) + 1:
        raise AttributionError(
            f"{energy.size} windows for {len(chosen)} terms ({', '.join(chosen)}): one more is needed"
        )
    regimes = split_regimes(design, energy, prior, _causes(windows, chosen, ages))
    if regimes is not None:
        prior = prior * (regimes.labels == regimes.labels[-1])
    regression = robust_regression(design, energy, prior)
    used = np.flatnonzero(prior > 0)
    error = _median_error(design[used] @ regression.coefficients, energy[used])
    held_out = _held_out(design[used], energy[used], prior[used], folds)
    model = _model(chosen, regression, expert_fraction)
    physics = physics_check(model, shape) if shape is not None else None
    flags = [
        Flag("not_separable", f"{name} cannot be told apart from the terms before it") for name in dropped
    ]
    if "experts" not in (*chosen, *dropped):
        basics = _design(windows, ("iterations", "requests"))
        flags += mixture_flags(basics, design, energy, prior, shape)
    flags += list(physics.flags) if physics is not None else []
    if regimes is not None:
        flags.append(Flag("two_regimes", regimes.describe()))
    if held_out > _POOR:
        flags.append(Flag("poor_fit", f"held-out error {held_out:.1%} is above {_POOR:.0%}"))
    return Fit(
        model=model,
        terms=chosen,
        covariance=tuple(tuple(row) for row in regression.covariance.tolist()),
        fit_error=error,
        held_out_error=held_out,
        windows=int(used.size),
        outliers=int(np.count_nonzero(regression.weights[used] < 0.5 * prior[used])),
        regimes=regimes,
        physics=physics,
        flags=tuple(flags),
    )


def _model(terms: tuple[str, ...], regression: Regression, expert_fraction: float) -> EnergyModel:
    coefficients = {
        FEATURES[name]: float(value) for name, value in zip(terms, regression.coefficients, strict=True)
    }
    knees = [float(name.rsplit("_", 1)[1]) for name in terms if name.startswith("excess_tokens")]
    if knees:
        coefficients["knee_tokens"] = knees[0]
    return EnergyModel.from_coefficients(coefficients | {"expert_fraction": expert_fraction})


def _energies(given: ArrayLike, windows: int) -> Floats:
    energy = np.asarray(given, np.float64)
    if energy.shape != (windows,) or windows == 0:
        raise AttributionError(
            f"energy_j has shape {energy.shape} for {windows} windows: one figure per window"
        )
    bad = ~(np.isfinite(energy) & (energy > 0))
    if bad.any():
        where = int(np.flatnonzero(bad)[0])
        raise AttributionError(
            f"energy_j[{where}] = {energy[where]!r}: must be above 0; leave such windows out"
        )
    return energy


def _forgetting(ages: ArrayLike | None, half_life: float | None, windows: int) -> Floats:
    if ages is None or half_life is None:
        return np.ones(windows)
    age = np.asarray(ages, np.float64)
    if age.shape != (windows,) or not np.isfinite(age).all() or not half_life > 0:
        raise AttributionError(f"ages must be {windows} numbers and half_life = {half_life!r} above 0")
    return np.asarray(0.5 ** ((age - age.min()) / half_life))


def _causes(windows: Sequence[Mapping[str, float]], terms: Sequence[str], ages: ArrayLike | None) -> Floats:
    """(n, c) what may tell regimes apart: each feature per request, and age where it is known.

    Not the batch size: an energy that bends with it is a missing term, not a second regime.
    """
    others = [name for name in terms if name not in ("iterations", "requests", "experts")]
    requests = _design(windows, ("requests",))
    causes = _design(windows, others) / np.maximum(requests, 1e-300)
    return causes if ages is None else np.column_stack([causes, np.asarray(ages, np.float64)])


def _design(windows: Sequence[Mapping[str, float]], terms: Sequence[str]) -> Floats:
    """(windows, terms), checked."""
    rows = [[float(window.get(name, 0.0)) for name in terms] for window in windows]
    design = np.array(rows).reshape(len(windows), len(terms))
    bad = ~(np.isfinite(design) & (design >= 0))
    if bad.any():
        row, column = (int(i) for i in np.argwhere(bad)[0])
        raise AttributionError(
            f"windows[{row}][{terms[column]!r}] = {design[row, column]!r}: a feature is a sum of at least 0"
        )
    return design


def _terms(
    windows: Sequence[Mapping[str, float]], energy: Floats, wanted: Sequence[str] | None
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The terms to fit and those that are present but not separable."""
    candidates = tuple(wanted) if wanted is not None else _TERMS
    unknown = [name for name in candidates if name not in FEATURES]
    if unknown:
        raise AttributionError(f"terms {unknown} are unknown; there are {', '.join(FEATURES)}")
    relative = _design(windows, candidates) / energy[:, None]
    kept: list[str] = []
    dropped: list[str] = []
    basis = np.zeros((energy.size, 0))
    for name, column in zip(candidates, relative.T, strict=True):
        size = float(np.linalg.norm(column))
        new = column - basis @ (basis.T @ column)
        if size == 0.0:
            if wanted is not None:
                raise AttributionError(f"term {name!r} is 0 in every window: leave it out")
        elif float(np.linalg.norm(new)) < _SEPARATE * size:
            dropped.append(name)
        else:
            kept.append(name)
            basis = np.column_stack([basis, new / np.linalg.norm(new)])
    if dropped and (wanted is not None or len(kept) < 2):
        raise AttributionError(
            f"singular fit: {', '.join(dropped)} cannot be told apart from {', '.join(kept)}; windows with "
            "other batch sizes or contexts are needed"
        )
    if not kept:
        raise AttributionError("no window has any feature above 0: there is nothing to fit")
    return tuple(kept), tuple(dropped)


def _with_knee(
    windows: Sequence[Mapping[str, float]], energy: Floats, prior: Floats, terms: tuple[str, ...], folds: int
) -> tuple[str, ...]:
    """The terms, and a knee if one of those on offer makes held-out windows clearly better."""
    best, least = terms, _WORTH * _held_out(_design(windows, terms), energy, prior, folds)
    for knee in KNEES:
        more = (*terms, f"excess_tokens_{knee}")
        design = _design(windows, more)
        separate = design[:, -1].any() and np.linalg.matrix_rank(design / energy[:, None], tol=None) == len(
            more
        )
        if separate and energy.size > len(more) + 1:
            error = _held_out(design, energy, prior, folds)
            if error < least:
                best, least = more, error
    return best


def _held_out(design: Floats, energy: Floats, prior: Floats, folds: int) -> float:
    """Median relative error on every k-th window, fitted on the others, over all k."""
    count = min(folds, energy.size)
    predicted = np.empty(energy.size)
    fold = np.arange(energy.size) % count
    for k in range(count):
        train = fold != k
        if np.count_nonzero(train) < design.shape[1]:
            return float("inf")
        coefficients = robust_regression(design[train], energy[train], prior[train]).coefficients
        predicted[~train] = design[~train] @ coefficients
    return _median_error(predicted, energy)


def _median_error(predicted: Floats, energy: Floats) -> float:
    return float(np.median(np.abs(predicted / energy - 1.0)))
