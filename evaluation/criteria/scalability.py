"""Scalability: measured time against clients C, iterations I, tokens t and requests R, with fitted exponents.

Each axis doubles one of the four and holds the others as far as a serving system allows; the table shows what all
four really were. A method takes part until it is slow. Simulation is not part of a method's time, unless the
method itself asks for simulations, as leave-one-out does.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Final

import numpy as np

from evaluation.criteria.fairness import grouped
from evaluation.methods import Method, charge
from evaluation.runs import Run, System, run_system
from producers.simulation.requests import Requests, from_columns

__all__ = ["AXES", "Exponent", "Timing", "axis_runs", "exponents", "time_methods"]

AXES: Final = ("clients", "iterations", "tokens", "requests")
_REQUESTS: Final = 64
_PROMPT: Final = 128
_OUTPUT: Final = 48
_ENOUGH_S: Final = 2.0
_GROWTH: Final = 1.2
"""Of a size that still counts as growing."""
_FITTED: Final = 5
_GAP_US: Final = 40_000
"""Between arrivals: about 16 requests at once on a 70B model."""


@dataclass(frozen=True, slots=True)
class Timing:
    """One method at one size."""

    axis: str
    method: str
    clients: int
    iterations: int
    tokens: int
    requests: int
    seconds: float
    """Median of the repeats."""
    seconds_min: float
    seconds_max: float


@dataclass(frozen=True, slots=True)
class Exponent:
    """time ∝ size^exponent, by least squares over the logarithms."""

    axis: str
    method: str
    exponent: float
    standard_error: float


def axis_runs(system: System, axis: str, sizes: int) -> Iterator[Run]:
    """Up to `sizes` runs in which `axis` about doubles from one to the next; fewer where it cannot grow further.

    Iterations stop growing once no two requests share one.
    """
    largest = 0
    for power in range(sizes):
        run = run_system(_requests(axis, 2**power), system)
        size = _size(run, axis)
        if size < _GROWTH * largest:
            return
        largest = size
        yield run


def _size(run: Run, axis: str) -> int:
    tokens = int(run.requests.prompt_tokens.sum() + run.requests.output_tokens.sum())
    sizes = {"clients": len(run.requests.tenants), "iterations": run.iterations, "tokens": tokens}
    return sizes.get(axis, len(run.requests))


def _requests(axis: str, factor: int) -> Requests:
    count, prompt, gap_us, clients = _REQUESTS, _PROMPT, _GAP_US, 1
    if axis == "clients":
        clients = factor
    elif axis == "iterations":
        # The same work further apart: fewer requests share an iteration, so there are more iterations.
        gap_us = _GAP_US * factor // 4
    elif axis == "tokens":
        prompt = _PROMPT * factor
    else:
        # More requests in the same time: the batch grows, the iterations hardly do.
        count, gap_us = _REQUESTS * factor // 4, 4 * _GAP_US // factor
    return from_columns(
        np.arange(count, dtype=np.int64) * gap_us,
        np.full(count, prompt, np.int32),
        np.full(count, _OUTPUT, np.int32),
        tenants=tuple(f"client-{i}" for i in range(clients)),
        tenant=np.arange(count, dtype=np.int32) % clients,
        source="scalability",
    )


def time_methods(
    methods: Sequence[Method],
    runs: Iterable[Run],
    axis: str,
    *,
    repeats: int,
    limit_s: float,
    seed: int,
    progress: Callable[[int], None],
) -> list[Timing]:
    """Wall time of every method, down to the sums per tenant, on every run until one takes over `limit_s`.

    `progress` is told how many runs are done.
    """
    timings: list[Timing] = []
    quick = list(methods)
    for position, run in enumerate(runs):
        clients = len(run.requests.tenants)
        for method in tuple(quick):
            if position == 0:
                _seconds(method, run, seed)  # once for nothing: imports and caches are not the method's
            seconds = _repeated(method, run, repeats, seed)
            if seconds[0] > limit_s:
                quick.remove(method)
            timings.append(
                Timing(
                    axis=axis,
                    method=method.name,
                    clients=clients,
                    iterations=run.iterations,
                    tokens=_size(run, "tokens"),
                    requests=len(run.requests),
                    seconds=float(np.median(seconds)),
                    seconds_min=min(seconds),
                    seconds_max=max(seconds),
                )
            )
        progress(position + 1)
    return timings


def _repeated(method: Method, run: Run, repeats: int, seed: int) -> list[float]:
    """Up to `repeats` measurements, at least one, within about two seconds."""
    seconds: list[float] = []
    while len(seconds) < repeats and sum(seconds) < _ENOUGH_S:
        seconds.append(_seconds(method, run, seed))
    return seconds


def _seconds(method: Method, run: Run, seed: int) -> float:
    start = perf_counter()
    shares = charge(method, run, seed)
    grouped(shares, run.requests.tenant.astype(np.int64), len(run.requests.tenants))
    return perf_counter() - start


def exponents(timings: Sequence[Timing]) -> list[Exponent]:
    """One exponent per axis and method with three sizes or more, over its five largest: below is overhead."""
    found = []
    for axis in AXES:
        for method in dict.fromkeys(t.method for t in timings if t.axis == axis):
            points = [t for t in timings if t.axis == axis and t.method == method][-_FITTED:]
            sizes = np.log([float(getattr(t, axis)) for t in points])
            if len(points) < 3 or np.ptp(sizes) == 0:
                continue
            times = np.log([t.seconds for t in points])
            centred = sizes - sizes.mean()
            slope = float(centred @ times / (centred @ centred))
            residual = times - times.mean() - slope * centred
            error = float(np.sqrt(residual @ residual / (len(points) - 2) / (centred @ centred)))
            found.append(Exponent(axis, method, slope, error))
    return found
