"""Two regimes in one engine's windows: some engines run host-bound at times, and one model would average both."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from streams.attribution.nnls import robust_regression

__all__ = ["Regimes", "split_regimes"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_BETTER: Final = 1.5
"""Two models must bring the mean error down by this factor, and by Schwarz's criterion be worth their terms."""
_WORTHWHILE: Final = 0.05
"""Mean error of the single model above which regimes are looked for: below, averaging does no harm."""
_THRESHOLDS: Final = 16
"""Places tried on each cause."""


@dataclass(frozen=True, slots=True)
class Regimes:
    """A split of the windows into two, each with a model of its own."""

    labels: Ints
    """(n,) 0 or 1."""
    coefficients: tuple[Floats, Floats]
    """Of each regime, in the design's order."""
    single_error: float
    """Mean relative error of one model for all."""
    split_error: float
    """Mean relative error of two."""

    def describe(self) -> str:
        """One line for people."""
        sizes = np.bincount(self.labels, minlength=2)
        return (
            f"two regimes of {sizes[0]} and {sizes[1]} windows: one model errs by {self.single_error:.1%}, "
            f"two by {self.split_error:.1%}; the newest windows are in regime {int(self.labels[-1])}"
        )


def split_regimes(design: Floats, energy: Floats, prior: Floats, causes: Floats) -> Regimes | None:
    """Two regressions on either side of a threshold on one cause; None unless that is much better than one.

    `causes` (n, c) are what may tell regimes apart, such as context per request, or time: any scatter is
    halved by the sign of its residual, a regime has a cause. Each side needs two windows more than terms, so
    that neither is an interpolation.
    """
    single = robust_regression(design, energy, prior).coefficients
    single_error = float(np.mean(np.abs(design @ single / energy - 1.0)))
    least = design.shape[1] + 2
    if single_error < _WORTHWHILE or energy.size < 2 * least:
        return None
    best: Regimes | None = None
    tried = 0
    for cause in causes.T:
        ordered = np.sort(cause)
        places = np.unique(np.linspace(least, energy.size - least, _THRESHOLDS).astype(np.int64))
        for place in places.tolist():
            labels = (cause >= ordered[place]).astype(np.int64)
            if min(np.bincount(labels, minlength=2)) < least:
                continue
            tried += 1
            low, high = (
                robust_regression(design[side], energy[side], prior[side]).coefficients
                for side in (labels == 0, labels == 1)
            )
            predicted = np.where(labels == 0, design @ low, design @ high)
            error = float(np.mean(np.abs(predicted / energy - 1.0)))
            if best is None or error < best.split_error:
                best = Regimes(labels, (low, high), single_error, error)
    if best is None or best.split_error * _BETTER > single_error:
        return None
    # Errors spread as Laplace's law: the log-likelihood of n windows is -n ln(mean error) and a constant.
    gain = energy.size * np.log(single_error / max(best.split_error, 1e-12))
    return best if gain > (design.shape[1] + 1) / 2 * np.log(energy.size) + np.log(tried) else None
