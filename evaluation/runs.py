"""One run of the three ingredients: requests through a runtime, with the carbon of every iteration.

A run is a sequence of segments, stretches of iterations in columns. What adds up over iterations takes one
segment at a time: of a long trace only one is in memory, simulated anew each time it is asked for.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from evaluation.carbon import US_PER_S, Carbon
from evaluation.rows import trace_of
from producers.simulation.engine import Mode, simulate_parts
from producers.simulation.engine_types import EngineType
from producers.simulation.requests import Requests
from producers.simulation.schedule import Schedule, iteration_energy_j
from streams.attribution import Trace

__all__ = ["Run", "Segment", "System", "run_system"]

Floats = NDArray[np.float64]
Int64s = NDArray[np.int64]

_SEGMENT_ITERATIONS = 50_000
"""A segment is then some 20 MB: large enough for array operations, small beside the interpreter."""
_KEPT_SEGMENTS = 4
"""Runs up to this length stay in memory and are simulated once."""


@dataclass(frozen=True, slots=True, eq=False)
class System:
    """Runtime S and carbon C: everything but the requests."""

    engine: EngineType
    carbon: Carbon
    mode: Mode = "continuous"
    prefix_cache: bool = True
    """Whether requests of a trace that names prefix blocks find them cached."""

    def visible(self, requests: Requests) -> Requests:
        """The requests as this runtime sees them: without prefix blocks if it has no prefix cache."""
        if self.prefix_cache or not requests.block_tokens:
            return requests
        return replace(requests, block_tokens=0, blocks=((),) * len(requests))


@dataclass(frozen=True, slots=True, eq=False)
class Segment:
    """T iterations of a run of R requests."""

    schedule: Schedule
    energy_j: Floats
    """(T,) by the measured tables, all GPUs."""
    seconds: Floats
    """(T,)"""
    per_joule_g: Floats
    """(T,) gCO2e per joule."""
    per_second_g: Floats
    """(T,) gCO2e per second."""
    trace: Trace
    """The rows, as the attribution library takes them."""

    @property
    def carbon_g(self) -> Floats:
        """(T,) gCO2e of each iteration, shared by its requests."""
        return self.energy_j * self.per_joule_g + self.seconds * self.per_second_g


@dataclass(frozen=True, slots=True, eq=False)
class Run:
    """What happened when `system` served `requests`."""

    requests: Requests
    """As the runtime sees them."""
    system: System
    total_g: float
    """C(N) − C(∅): what the requests share."""
    idle_g: float
    """C(∅): the provider's in any case."""
    energy_j: float
    iterations: int
    request_iterations: int
    end_us: int
    """End of the last iteration."""
    admitted_us: Int64s
    """(R,) start of each request's first iteration."""
    finished_us: Int64s
    """(R,)"""
    cached_tokens: Int64s
    """(R,) prompt tokens found in the prefix cache."""
    kept: tuple[Segment, ...] | None
    """All segments, or None where they are too long to keep."""

    def segments(self) -> Iterator[Segment]:
        """The run's iterations in order; simulated again for a run too long to keep."""
        return iter(self.kept) if self.kept is not None else _segments(self.requests, self.system)


def run_system(requests: Requests, system: System) -> Run:
    """Simulate; deterministic, no clock. DataError names a request that the KV cache can never hold."""
    seen = system.visible(requests)
    count = len(seen)
    admitted, finished, cached = (np.full(count, -1, np.int64) for _ in range(3))
    kept: list[Segment] | None = []
    carbon_g = energy_j = 0.0
    iterations = request_iterations = end_us = 0
    for segment in _segments(seen, system):
        schedule = segment.schedule
        first = (schedule.admission >= 0) & (admitted < 0)
        admitted[first] = schedule.admitted_us[first]
        cached[first] = schedule.cached_tokens[first]
        finished = np.maximum(finished, schedule.finished_us)
        carbon_g += float(segment.carbon_g.sum())
        energy_j += float(segment.energy_j.sum())
        iterations += len(schedule.start_us)
        request_iterations += schedule.request_iterations
        end_us = int(schedule.end_us[-1]) if len(schedule.end_us) else end_us
        if kept is not None:
            kept.append(segment)
            if len(kept) > _KEPT_SEGMENTS:
                kept = None
    return Run(
        requests=seen,
        system=system,
        total_g=carbon_g,
        idle_g=system.carbon.idle_g(system.engine, end_us),
        energy_j=energy_j,
        iterations=iterations,
        request_iterations=request_iterations,
        end_us=end_us,
        admitted_us=admitted,
        finished_us=finished,
        cached_tokens=cached,
        kept=None if kept is None else tuple(kept),
    )


def _segments(requests: Requests, system: System) -> Iterator[Segment]:
    parts = simulate_parts(requests, system.engine, mode=system.mode, part_iterations=_SEGMENT_ITERATIONS)
    for schedule in parts:
        per_joule, per_second = system.carbon.factors(system.engine, schedule.start_us, schedule.end_us)
        yield Segment(
            schedule=schedule,
            energy_j=iteration_energy_j(schedule, system.engine),
            seconds=(schedule.end_us - schedule.start_us) / US_PER_S,
            per_joule_g=per_joule,
            per_second_g=per_second,
            trace=trace_of(schedule, requests),
        )
