"""Continuous batching as vLLM does it, simulated event by event: requests in, the engine's schedule out.

An iteration runs every decoding request for one token and fills the token budget with prefill chunks, first
come, first served; at most one prefill is unfinished between iterations, and it is the last admitted. When
the KV cache is full the request admitted last is preempted, put first in the queue and computed again. Static
mode, the contrast: a batch is admitted when the engine is empty and nobody joins until all have finished.
"""

from collections.abc import Iterator
from typing import Literal

from producers.simulation.engine_types import EngineType
from producers.simulation.physics import timing
from producers.simulation.requests import Requests
from producers.simulation.schedule import Schedule
from producers.simulation.scheduler import Scheduler
from schemas.errors import DataError

__all__ = ["Mode", "simulate", "simulate_parts"]

Mode = Literal["continuous", "static"]

_FOREVER = 1 << 62


def simulate(
    requests: Requests, engine: EngineType, *, mode: Mode = "continuous", start_us: int = 0
) -> Schedule:
    """Run `requests` through `engine`, which is free from `start_us` on, until the last has finished.

    Deterministic: no clock, no random numbers. DataError names a request that the KV cache can never hold.
    """
    (schedule,) = simulate_parts(requests, engine, mode=mode, start_us=start_us, part_iterations=_FOREVER)
    return schedule


def simulate_parts(
    requests: Requests,
    engine: EngineType,
    *,
    mode: Mode = "continuous",
    start_us: int = 0,
    part_iterations: int,
) -> Iterator[Schedule]:
    """The same run in consecutive parts of at least `part_iterations` iterations, each numbered from 0.

    Memory is that of one part and of the requests, however long the trace. A decode stretch that crosses a
    cut becomes two pieces; a request's times and counts stand in the part in which they happened.
    """
    _check_capacity(requests, engine)
    state = Scheduler(requests, engine, timing(engine), static=mode == "static", start_us=start_us)
    while state.step():
        if state.iteration - state.record.first_iteration >= part_iterations:
            yield state.cut()
    yield state.cut()


def _check_capacity(requests: Requests, engine: EngineType) -> None:
    needed = requests.prompt_tokens.astype("int64") + requests.output_tokens - 1
    too_large = (needed > engine.kv_capacity_tokens).nonzero()[0]
    if too_large.size:
        i = int(too_large[0])
        prompt, output = requests.columns
        raise DataError(
            f"{requests.where(i)}: {prompt} {int(requests.prompt_tokens[i])} + {output} "
            f"{int(requests.output_tokens[i])} exceed the {engine.kv_capacity_tokens} KV tokens "
            f"of {engine.name}; remove the request, limit its output, or choose an engine with more memory"
        )
