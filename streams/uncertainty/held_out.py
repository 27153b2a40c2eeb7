"""Errors of a fit on windows that it did not see: every k-th window predicted from the others, k times."""

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from streams.attribution.nnls import robust_regression

__all__ = ["held_out_errors"]

Floats = NDArray[np.float64]

_FOLDS: Final = 5


def held_out_errors(
    windows: Sequence[Mapping[str, float]],
    energy_j: ArrayLike,
    terms: Sequence[str],
    known_j: ArrayLike,
    weights: ArrayLike,
) -> Floats:
    """(n,) relative errors, measured over predicted minus 1, of n windows, each by a fit without it.

    energy_j: (n,) measured, above 0. terms: features that are fitted. known_j: (n,) what other terms add whose
    coefficients are given. weights: (n,) of the windows in the fit. A window whose fold cannot be fitted, or
    that a fold predicts to need no energy, has error 0 there and is left to the others to judge. O(k · fit).
    """
    energy, known, weight = (np.asarray(values, np.float64) for values in (energy_j, known_j, weights))
    design = np.asarray([[float(window.get(name, 0.0)) for name in terms] for window in windows])
    left = energy - known
    usable = left > 0
    errors = np.zeros(energy.size)
    fold = np.arange(energy.size) % min(_FOLDS, energy.size)
    for number in range(_FOLDS):
        out = fold == number
        train = ~out & usable
        if np.count_nonzero(train) < design.shape[1] or not out.any():
            continue
        fit = robust_regression(design[train], left[train], weight[train])
        predicted = design[out] @ fit.coefficients + known[out]
        errors[out] = np.where(predicted > 0, energy[out] / np.maximum(predicted, 1e-300) - 1.0, 0.0)
    return errors
