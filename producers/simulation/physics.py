"""Time and energy of one iteration from an engine type's measured table.

    decode    table(B) + context · (Σ context − B · table's context)
    prefill   g(B + P) − g(B) + pair · Σ chunk · context,   g flat to the knee, then steep
    experts   (bytes of experts that P prefill tokens touch beyond those of the B decode rows)

with B decode rows and P prefill tokens. The table is piecewise linear between its rows: monotone as measured,
concave where the measurement is, and not the linear model that an energy fit assumes. Times are integer
picoseconds, so that a jump over many iterations ends at the same instant as a walk through them.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from producers.simulation.engine_types import EngineType

__all__ = ["PS_PER_US", "Timing", "energy_j", "iteration_ps", "timing"]

Floats = NDArray[np.float64]
Int64s = NDArray[np.int64]

PS_PER_US = 1_000_000
_PS_PER_MS = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Timing:
    """An engine type's times in integer picoseconds, by decode rows 0..max_batch."""

    base_ps: tuple[int, ...]
    """Of an iteration with so many decode rows at context 0."""
    context_ps: int
    """Per context token of decode rows."""
    knee_tokens: int
    below_ps: int
    above_ps: int
    pair_ps: int
    experts_ps: int
    """Reading every expert once; 0 for a dense model."""
    miss: float
    """Probability that one token misses a given expert."""


@lru_cache(maxsize=64)  # counterfactual coalitions ask for the same few types thousands of times
def timing(engine: EngineType) -> Timing:
    """The integer times of `engine`; raises nothing for a checked engine type."""
    rows = np.arange(engine.max_batch + 1)
    at_table = _table(engine, engine.iteration_ms, rows)
    at_zero = at_table - engine.context_ms_per_token * engine.mean_context_tokens * rows
    experts = engine.experts
    return Timing(
        base_ps=tuple(round(ms * _PS_PER_MS) for ms in at_zero.tolist()),
        context_ps=round(engine.context_ms_per_token * _PS_PER_MS),
        knee_tokens=engine.knee_tokens,
        below_ps=round(engine.prefill_ms_below * _PS_PER_MS),
        above_ps=round(engine.prefill_ms_above * _PS_PER_MS),
        pair_ps=round(engine.prefill_ms_per_pair * _PS_PER_MS),
        experts_ps=0 if experts is None else round(experts.weight_bytes / experts.bytes_per_s * 1e12),
        miss=1.0 if experts is None else 1.0 - experts.active / experts.total,
    )


def iteration_ps(times: Timing, rows: int, context: int, prefill: int, pairs: int) -> int:
    """Duration of one iteration: `rows` decode rows over `context` tokens, `prefill` chunk tokens, `pairs`.

    `pairs` is Σ over chunks of (tokens × context before + tokens × (tokens + 1) / 2).
    """
    duration = times.base_ps[rows] + times.context_ps * context
    if prefill:
        below = max(0, min(prefill, times.knee_tokens - rows))
        duration += times.below_ps * below + times.above_ps * (prefill - below) + times.pair_ps * pairs
        if times.experts_ps:
            duration += round(times.experts_ps * (times.miss**rows - times.miss ** (rows + prefill)))
    return duration


def energy_j(engine: EngineType, rows: Int64s, context: Int64s, prefill: Int64s, pairs: Int64s) -> Floats:
    """(I,) joules of all GPUs per iteration, from (I,) features as in `iteration_ps`; O(I)."""
    deviation = context - rows * engine.mean_context_tokens
    energy = _table(engine, engine.energy_j, rows) + engine.context_j_per_token * deviation
    below = np.clip(engine.knee_tokens - rows, 0, prefill)
    prefill_ms = engine.prefill_ms_below * below + engine.prefill_ms_above * (prefill - below)
    prefill_ms = prefill_ms + engine.prefill_ms_per_pair * pairs
    energy = energy + engine.prefill_power_w * prefill_ms / 1000.0
    if engine.experts is not None:
        miss = 1.0 - engine.experts.active / engine.experts.total
        touched = np.power(miss, rows) - np.power(miss, rows + prefill)
        energy = energy + engine.experts.weight_bytes * engine.experts.j_per_byte * touched
    return np.asarray(energy, np.float64)


def _table(engine: EngineType, values: Floats, rows: Int64s) -> Floats:
    """Piecewise linear through (batches, values); below the first row along the first segment."""
    slope = (values[1] - values[0]) / (engine.batches[1] - engine.batches[0])
    low = values[0] + slope * (rows - engine.batches[0])
    inside = np.interp(rows, engine.batches, values)
    return np.where(rows < engine.batches[0], low, inside)
