"""What meters do to windows before a fit may compare them: each has a level of its own, and some run late.

A counter that averages the trailing second counts work when it is a second old. A window's energy is then not
that of its own work, and a fit takes bursts (prefill) for cheap and what follows them (decode) for dear. Which of
the two a counter does is not documented: whichever describes held-out windows better is believed.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from schemas.compiled import compiled
from streams.attribution import EnergyModel
from streams.attribution.features import FEATURES, modelled_energy
from streams.uncertainty.held_out import held_out_errors

if TYPE_CHECKING:
    from streams.epoch_fit import FitWindows

__all__ = ["OWED", "OWED_BUSY", "late_share", "level", "seen_by_the_counter"]

Floats = NDArray[np.float64]

OWED: Final = "owed."
"""Prefix of a batch's features that a late counter has not counted when the window ends."""
OWED_BUSY: Final = "owed.busy_s"
"""Seconds of iterations among them; with what is left of half the average, idle seconds."""
_CLEARLY: Final = 0.95
"""A late counter must bring the held-out error below this part of a punctual one's: noise alone may favour it."""


@compiled
def late_share(
    start_ns: NDArray[np.int64], end_ns: NDArray[np.int64], until_ns: int, average_s: float
) -> Floats:
    """(I,) part of each iteration's energy before `until_ns` that a counter averaging `average_s` still owes then.

    Of what happened u seconds ago it has counted u / average_s, up to all of it.
    """
    average_ns = average_s * 1e9
    owed = np.empty(start_ns.size)
    for i in range(start_ns.size):
        begin = min(max(average_ns - (until_ns - start_ns[i]), 0.0), average_ns)
        end = min(max(average_ns - (until_ns - end_ns[i]), 0.0), average_ns)
        owed[i] = (end * end - begin * begin) / (2.0 * average_ns) / (end_ns[i] - start_ns[i])
    return owed


def seen_by_the_counter(
    features: Sequence[Mapping[str, float]], windows: "FitWindows", weights: Floats
) -> list[dict[str, float]]:
    """The features of the work whose energy each window's meter shows: its own, or shifted by what is owed."""
    own = [dict(window) for window in features]
    if not windows.owed:
        return own
    shifted = [
        {name: max(value + owed.get(name, 0.0), 0.0) for name, value in window.items()}
        for window, owed in zip(own, windows.owed, strict=True)
    ]
    punctual, late = (_error(candidate, windows, weights) for candidate in (own, shifted))
    return shifted if late < _CLEARLY * punctual else own


def _error(features: Sequence[Mapping[str, float]], windows: "FitWindows", weights: Floats) -> float:
    """Mean held-out error under the plain terms, whatever they are worth; large errors count little."""
    plain = [
        name for name in FEATURES if not name.startswith("excess") and any(w.get(name) for w in features)
    ]
    errors = held_out_errors(features, windows.energy_j, plain, np.zeros(len(features)), weights)
    return float(np.mean(np.minimum(np.abs(errors), 0.2)))


def level(
    features: Sequence[Mapping[str, float]], energy_j: Floats, group: Sequence[str], model: EnergyModel
) -> Floats:
    """(W,) energies with each meter's proportional error against the others taken off.

    The median of measured over modelled is a group's level. Fits of one class over many meters would otherwise
    read a difference between two meters as a difference between what the engines did.
    """
    ratio = energy_j / np.asarray([modelled_energy(model, window) for window in features])
    names = np.asarray(group)
    levels = {name: float(np.median(ratio[names == name])) for name in sorted(set(group))}
    overall = float(np.median([levels[name] for name in group]))
    return np.asarray(energy_j * overall / np.asarray([levels[name] for name in group]))
