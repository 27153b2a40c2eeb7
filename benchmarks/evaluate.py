"""Speed of the evaluation: simulated request-iterations, counterfactual coalitions, memory against trace length.

    uv run python -m benchmarks.evaluate [--repeats 7]      (or: make bench-evaluate)

One core. Prints medians with the range over the repeats, beside what is promised: 100,000 request-iterations
simulated per second, 20,000 coalitions of 12 small requests per minute, memory that does not grow with the
trace but by the requests' own columns.
"""

import argparse
import resource
import statistics
import subprocess
import sys
from collections.abc import Callable
from time import perf_counter

import numpy as np

from evaluation.carbon import Carbon, constant, embodied_rate
from evaluation.coalitions import coalition_value
from evaluation.counterfactual import all_coalitions
from evaluation.naive import per_utilisation
from evaluation.runs import System, run_system
from evaluation.table_games import iteration_shapley
from evaluation.workload import Workload, load_workload
from producers.simulation.engine_types import engine_type
from producers.simulation.requests import Requests, from_columns, take

_COALITIONS_PER_REPEAT = 512
_LENGTHS = (1, 4, 16)


def _system(name: str = "llama-3.1-8b-h100") -> System:
    engine = engine_type(name)
    return System(engine, Carbon(constant(400.0), constant(embodied_rate(engine.gpus))))


def _measured(work: Callable[[], int], repeats: int) -> list[float]:
    """Units of work per second, once per repeat, after one for warming up."""
    work()
    rates = []
    for _ in range(repeats):
        start = perf_counter()
        rates.append(work() / (perf_counter() - start))
    return rates


def _line(name: str, rates: list[float], unit: str, promised: float, per: float = 1.0) -> None:
    middle, low, high = (per * value for value in (statistics.median(rates), min(rates), max(rates)))
    print(f"{name:44} {middle:>12,.0f} {unit}  ({low:,.0f} – {high:,.0f})  promised {promised:,.0f}")


def _small_requests() -> Requests:
    rng = np.random.default_rng(1)
    return from_columns(
        np.sort(rng.integers(0, 300_000, 12)),
        rng.integers(50, 2_000, 12).astype(np.int32),
        rng.integers(8, 60, 12).astype(np.int32),
    )


def _coalitions() -> int:
    requests, system = _small_requests(), _system()
    members = all_coalitions(12)[:: 4096 // _COALITIONS_PER_REPEAT]
    for row in members:
        coalition_value(take(requests, np.flatnonzero(row)), system, 10_000_000)
    return len(members)


def _simulated(trace: str, pace: float) -> Callable[[], int]:
    requests, system = load_workload(Workload(trace, pace=pace), seed=1), _system()
    return lambda: run_system(requests, system).request_iterations


def _peak_mb(factor: int) -> tuple[float, int]:
    """Peak resident megabytes and request-iterations of a trace `factor` times as long, in a fresh process."""
    out = subprocess.run(
        [sys.executable, "-m", "benchmarks.evaluate", "--memory", str(factor)],
        check=True,
        capture_output=True,
        text=True,
    )
    megabytes, rows = out.stdout.split()
    return float(megabytes), int(rows)


def _measure_memory(factor: int) -> None:
    """A chat trace of 4,000 · factor requests, both kinds of pass over its iterations."""
    requests = load_workload(Workload("synthetic", requests=4_000 * factor, requests_per_s=8.0), seed=1)
    run = run_system(requests, _system())
    iteration_shapley(run)
    per_utilisation(run)
    peak_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(peak_kb / 1024.0, run.request_iterations)


def main() -> None:
    """Print the three measurements."""
    parser = argparse.ArgumentParser(description="Speed of the evaluation, on one core.")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--memory", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.memory is not None:
        _measure_memory(options.memory)
        return
    for trace, pace in (("sample:azure", 4.0), ("synthetic", 1.0), ("sample:mooncake", 1.0)):
        rates = _measured(_simulated(trace, pace), options.repeats)
        _line(f"simulated and priced, {trace}", rates, "request-iterations/s", 100_000)
    rates = _measured(_coalitions, options.repeats)
    _line("coalitions of 12 small requests", rates, "per minute", 20_000, per=60.0)
    print("\npeak memory, synthetic chat trace, closed-form truth and utilisation over all iterations")
    for factor in _LENGTHS:
        megabytes, rows = _peak_mb(factor)
        print(f"{4_000 * factor:>9,} requests {rows:>12,} request-iterations {megabytes:>8.0f} MB")


if __name__ == "__main__":
    main()
