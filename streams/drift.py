"""Whether an engine class has changed under its model: newer windows that err alike, and unlike the ones before.

A power cap, another quantisation or a driver moves every window by the same part from one moment on. What only
scatters, or errs for a single window, is not a change.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np

from streams.attribution import EnergyModel
from streams.attribution.features import modelled_energy
from streams.epoch_fit import FEWEST_WINDOWS, FitWindows

__all__ = ["Change", "find_change"]

LEAST_CHANGE: Final = 0.05
"""Below this the next epoch's fit follows soon enough; meters of one class differ by as much."""
SURE: Final = 6.0
"""Standard errors by which the two sides of a change must differ: once in a class's life by chance."""

FEWEST_SIDE: Final = 4
"""Windows that each side of a change needs before it is believed."""
_LEAST_SCATTER: Final = 1e-4
"""Of windows that agree to the last digit, as only simulations do."""


@dataclass(frozen=True, slots=True)
class Change:
    """A regime began."""

    since_ns: int
    """Start of its first window."""
    before: float
    """Median of measured over modelled energy until then, minus 1."""
    after: float

    def describe(self) -> str:
        """One line for people."""
        return f"measured energy went from {self.before:+.1%} to {self.after:+.1%} of what the model expects"


def find_change(model: EnergyModel, windows: FitWindows) -> Change | None:
    """The moment that best divides W windows, oldest first, into two that err differently; None if none does.

    The sides' distances to their medians are least there. A change with fewer than FEWEST_WINDOWS behind it is left
    to the next look: a fit could not follow. Medians: nearly half of either side may be wrong. O(W²) for the few
    minutes that are watched.
    """
    expected_j = np.asarray([modelled_energy(model, window) for window in windows.features])
    usable = expected_j > 0
    if np.count_nonzero(usable) < FEWEST_WINDOWS + FEWEST_SIDE:
        return None
    ratio = windows.energy_j[usable] / expected_j[usable] - 1.0
    start_ns = windows.start_ns[usable]
    best: Change | None = None
    least, enough = np.inf, False
    for at_ns in np.unique(start_ns).tolist():
        older, newer = ratio[start_ns < at_ns], ratio[start_ns >= at_ns]
        if min(older.size, newer.size) < FEWEST_SIDE:
            continue
        before, after = float(np.median(older)), float(np.median(newer))
        off = np.concatenate([np.abs(older - before), np.abs(newer - after)])
        # 1.2533: how much less sure a median is than a mean.
        error = 1.2533 * max(1.4826 * float(np.median(off)), _LEAST_SCATTER)
        error *= (1.0 / older.size + 1.0 / newer.size) ** 0.5
        if abs(after - before) > max(LEAST_CHANGE, SURE * error) and float(off.sum()) < least:
            best, least = Change(int(at_ns), before, after), float(off.sum())
            enough = newer.size >= FEWEST_WINDOWS
    return best if enough else None
