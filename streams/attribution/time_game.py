"""Who held the engine for how long: requests that share an iteration split its duration by a game of its own.

Energy and time are different games (embodied carbon is charged for time held). The time model has a fixed
part, t0/n each, and linear parts, each to its owner; every iteration is scaled to the time it really took.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from schemas.errors import AttributionError
from streams.attribution.closed_form import request_shares
from streams.attribution.energy_model import EnergyModel, iteration_energy
from streams.attribution.trace import IterationSums, Trace, iteration_sums

__all__ = ["TimeModel", "held_time"]

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class TimeModel:
    """How an iteration's duration is made up; only the ratios matter, since each iteration is scaled.

    The defaults are ratios measured for dense models: decode milliseconds of a 70B on four H100 are
    28.8 + 0.26 per request + 1e-4 per context token (fitted to Splitwise's table); prefill is the slope
    above Vidur's knee, 0.067 ms per token beside 9.7 ms for one token of an 8B on an A100.
    """

    fixed: float = 1.0
    """An iteration of nobody's work: reading the weights, launching kernels."""
    per_request: float = 9e-3
    per_prefill_token: float = 7e-3
    per_context_token: float = 3.5e-6

    def __post_init__(self) -> None:
        for name in self.__slots__:
            value = getattr(self, name)
            if not (np.isfinite(value) and value >= 0):
                raise AttributionError(
                    f"time model {name} = {value!r}: a finite number of at least 0 is needed"
                )
        if self.fixed + self.per_request <= 0:
            raise AttributionError("a time model needs a fixed or a per-request part: every row takes time")


def held_time(
    trace: Trace, durations: Floats, model: TimeModel | None = None, sums: IterationSums | None = None
) -> Floats:
    """(R,) how much of the iterations' durations (T,) each request held, in the durations' unit.

    The sum over the requests is the sum of weight · duration over the iterations that have rows. sums: the
    trace's, if they are known already.
    """
    game = _game(model or _DEFAULT)
    of = iteration_sums(trace) if sums is None else sums
    modelled = iteration_energy(game, trace, of)
    spent = trace.weights * durations
    scale = np.divide(spent, modelled, out=np.zeros(trace.iterations), where=modelled > 0)
    return request_shares(trace.reweighted(scale), game, of).request_j


_DEFAULT: Final = TimeModel()


@lru_cache(maxsize=16)
def _game(times: TimeModel) -> EnergyModel:
    return EnergyModel(
        fixed_j=times.fixed,
        request_j=times.per_request,
        prefill_token_j=times.per_prefill_token,
        context_token_j=times.per_context_token,
    )
