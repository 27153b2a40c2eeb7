"""Carbon C = C^op + C^emb: ∫ P(t)·CI(t) dt and ∫ eci(t) dt, in grams of CO2 equivalent.

Two accounts. `serving`: carbon while iterations run, whole; an idle engine is the provider's, C(∅) = 0.
`always_on`: the engine's whole life, as the paper writes it; C(∅) is an idle engine's carbon over the same
period, and requests share what they cause beyond it: P(t) − P_idle while iterations run, and nothing of the
embodied carbon, which an idle engine has too.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from producers.simulation.engine_types import EngineType
from producers.simulation.tables import read_rows, real
from schemas.errors import DataError

__all__ = ["EMBODIED_KG_PER_GPU", "Account", "Carbon", "Signal", "constant", "embodied_rate", "read_signal"]

Floats = NDArray[np.float64]
Int64s = NDArray[np.int64]

Account = Literal["serving", "always_on"]

JOULES_PER_KWH: Final = 3.6e6
US_PER_S: Final = 1e6
EMBODIED_KG_PER_GPU: Final = 876.0
"""Manufacturing of an H100 (164 kg) and its eighth of a server without GPUs (5,700 kg), as EcoLogits has them."""
LIFETIME_YEARS: Final = 3.0
"""EcoLogits' amortisation."""
_SECONDS_PER_YEAR: Final = 365.0 * 86_400.0


@dataclass(frozen=True, slots=True, eq=False)
class Signal:
    """A step function of time: K values, each from its start until the next; the last one holds on."""

    start_us: Int64s
    """(K,) ascending from 0, microseconds from the trace's start."""
    values: Floats
    """(K,) at least 0."""

    def integral(self, times_us: Int64s | int) -> Floats:
        """∫ from 0 to each time, in value × seconds; exact."""
        at = np.searchsorted(self.start_us, times_us, side="right") - 1
        whole = np.concatenate([[0.0], np.cumsum(np.diff(self.start_us) * self.values[:-1])])
        inside = (np.asarray(times_us) - self.start_us[at]) * self.values[at]
        return np.asarray((whole[at] + inside) / US_PER_S, np.float64)

    def mean(self, start_us: Int64s, end_us: Int64s) -> Floats:
        """(T,) mean over each of T intervals [start, end), which must not be empty."""
        if self.values.size == 1:
            return np.full(len(start_us), self.values[0])
        return (self.integral(end_us) - self.integral(start_us)) / ((end_us - start_us) / US_PER_S)


@dataclass(frozen=True, slots=True, eq=False)
class Carbon:
    """What energy and time emit."""

    intensity: Signal
    """gCO2e per kWh."""
    embodied: Signal
    """gCO2e per second of the engine's existence, all its GPUs."""
    account: Account = "serving"

    def factors(self, engine: EngineType, start_us: Int64s, end_us: Int64s) -> tuple[Floats, Floats]:
        """(T,) grams per joule and (T,) grams per second of T iterations, by the account in force.

        Under `always_on` the second is negative: the idle power that was drawn anyway is not the requests'.
        """
        per_joule = self.intensity.mean(start_us, end_us) / JOULES_PER_KWH
        if self.account == "serving":
            return per_joule, self.embodied.mean(start_us, end_us)
        return per_joule, -engine.loaded_idle_w * engine.gpus * per_joule

    def idle_g(self, engine: EngineType, until_us: int) -> float:
        """C(∅): the idle engine from 0 to `until_us`; 0 where idle is not on this account."""
        if self.account == "serving":
            return 0.0
        power_w = engine.loaded_idle_w * engine.gpus
        grams = power_w * self.intensity.integral(until_us) / JOULES_PER_KWH + self.embodied.integral(
            until_us
        )
        return float(grams)


def constant(value: float) -> Signal:
    """A signal that never changes."""
    return Signal(np.zeros(1, np.int64), np.array([value]))


def embodied_rate(
    gpus: int, *, kg_per_gpu: float = EMBODIED_KG_PER_GPU, lifetime_years: float = LIFETIME_YEARS
) -> float:
    """gCO2e per second: manufacturing spread evenly over the lifetime."""
    return gpus * kg_per_gpu * 1000.0 / (lifetime_years * _SECONDS_PER_YEAR)


def read_signal(path: Path, column: str) -> Signal:
    """A CSV with `time_s` (from the trace's start, first 0, ascending) and `column`; DataError names the line."""
    times: list[float] = []
    values: list[float] = []
    for line, row in read_rows(path, ("time_s", column)):
        time, value = real(path, line, row, "time_s"), real(path, line, row, column)
        if not times and time != 0.0:
            raise DataError(
                f"{path}:{line}: column time_s is {time:g}; the first row must be at 0, the trace's start"
            )
        if not np.isfinite(time) or (times and time <= times[-1]):
            raise DataError(f"{path}:{line}: column time_s is {time:g}; sort the rows by ascending time")
        if not (np.isfinite(value) and value >= 0):
            raise DataError(f"{path}:{line}: column {column} is {value:g}; it must be a number of at least 0")
        times.append(time)
        values.append(value)
    if not times:
        raise DataError(f"{path}: holds no row; give at least one, with time_s 0 and {column}")
    return Signal(np.rint(np.array(times) * US_PER_S).astype(np.int64), np.array(values))
