"""Stages on the trace itself: charges, small groups, contrasts; in pieces that survive an interruption."""

from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import asdict, dataclass, replace
from time import perf_counter
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from evaluation.coalitions import Progress, game_of
from evaluation.counterfactual import counterfactual_shapley
from evaluation.methods import Method, MethodSettings, charge
from evaluation.plan import Plan
from evaluation.results import Case, Contrast
from evaluation.runs import Run, run_system
from evaluation.store import Store
from evaluation.table_games import iteration_shapley
from producers.simulation.engine import Mode
from producers.simulation.requests import Requests, take

__all__ = [
    "Context",
    "cases",
    "charges",
    "contrasts",
    "group_starts",
    "sampled_case",
    "some",
]

Floats = NDArray[np.float64]

_SLOW: Final = ("leave_one_out", "sampled", "truncated")
"""Methods that simulate, or play every iteration: not run once more for a contrast."""


@dataclass(frozen=True, slots=True, eq=False)
class Context:
    """What every stage needs."""

    plan: Plan
    run: Run
    truth_g: Floats
    """(R,) per-iteration Shapley values of the run."""
    settings: MethodSettings
    methods: tuple[Method, ...]
    store: Store
    key: str
    """Digest of requests, system, models and version: part of every piece's name."""
    pool: Executor | None
    progress: Callable[[str], Progress]
    """Stage → whom to tell (done, total)."""


def charges(context: Context) -> dict[str, tuple[Floats, float]]:
    """Each method on the whole trace: (R,) gCO2e and seconds."""
    tell = context.progress("whole trace")
    found = {}
    for position, method in enumerate(context.methods):

        def compute(method: Method = method) -> Any:
            start = perf_counter()
            grams = charge(method, context.run, context.plan.seed)
            return [grams.tolist(), perf_counter() - start]

        piece = context.store.piece("charges", [context.key, method.name, context.plan.seed], compute)
        found[method.name] = (np.array(piece[0]), float(piece[1]))
        tell(position + 1, len(context.methods))
    return found


def cases(context: Context) -> list[Case]:
    """Groups of consecutive requests, drawn by the seed, each simulated as a system of its own."""
    sizes = context.plan.sizes
    tell = context.progress("enumerated coalitions")
    groups = group_starts(context, sizes.cases, sizes.case_requests, stream=1)
    found = []
    for position, first in enumerate(groups):

        def told(done: int, total: int, position: int = position) -> None:
            tell(position * total + done, len(groups) * total)

        found.append(_case(context, first, sizes.case_requests, told))
        tell(position + 1, len(groups))
    return found


def sampled_case(context: Context) -> Case | None:
    """One larger group, whose counterfactual values are sampled, with intervals."""
    size = min(context.plan.sizes.sampled_requests, len(context.run.requests))
    if size <= context.plan.sizes.case_requests:
        return None
    (first,) = group_starts(context, 1, size, stream=2)
    tell = context.progress("sampled coalitions")
    expected = context.plan.sizes.sampled_permutations * (size - 3) + 2 * size
    before = 0

    def counted(done: int, total: int) -> None:
        nonlocal before
        tell(min(before + done, expected - 1), expected)
        before += total if done == total else 0

    case = _case(context, first, size, counted)
    tell(expected, expected)
    return case


def _case(context: Context, first: int, size: int, tell: Progress) -> Case:
    plan = context.plan

    def compute() -> Any:
        run = run_system(some(context.run.requests, first, size), context.run.system)
        game = game_of(run, pool=context.pool, progress=tell)
        truth = counterfactual_shapley(
            game, run, rel_tol=0.02, permutations=plan.sizes.sampled_permutations, seed=plan.seed
        )
        return asdict(
            Case(
                first_request=first,
                requests=len(run.requests),
                mean_batch=run.request_iterations / run.iterations,
                shared_g=run.total_g,
                simulations=truth.simulations,
                converged=truth.converged,
                counterfactual_g=truth.values_g.tolist(),
                half_widths_g=truth.half_widths_g.tolist(),
                per_iteration_g=iteration_shapley(run).tolist(),
                charges_g={m.name: charge(m, run, plan.seed).tolist() for m in context.methods},
            )
        )

    names = [method.name for method in context.methods]
    inputs = [context.key, first, size, names, plan.sizes.sampled_permutations, plan.seed]
    return Case(**context.store.piece("case", inputs, compute))


def contrasts(context: Context) -> list[Contrast]:
    """Continuous and static batching on the same requests, with the methods that need no simulation."""
    tell = context.progress("batching contrast")
    cheap = [method for method in context.methods if method.name.partition(":")[0] not in _SLOW]
    found = []
    modes: tuple[Mode, ...] = ("continuous", "static")
    for position, mode in enumerate(modes):
        run = run_system(context.run.requests, replace(context.run.system, mode=mode))
        truth = iteration_shapley(run)
        distances = {
            method.name: 100.0
            * float(np.mean(np.abs(charge(method, run, context.plan.seed) - truth) / np.abs(truth)))
            for method in cheap
        }
        found.append(
            Contrast(
                mode=mode,
                mean_batch=run.request_iterations / run.iterations,
                duration_s=run.end_us / 1e6,
                shared_g=run.total_g,
                grams_per_1000_output_tokens=1000.0 * run.total_g / float(run.requests.output_tokens.sum()),
                mean_percent=distances,
            )
        )
        tell(position + 1, 2)
    return found


def group_starts(context: Context, count: int, size: int, *, stream: int) -> list[int]:
    """First requests of `count` groups of `size` consecutive ones that do not overlap, drawn by the seed.

    Fewer where the trace has no room for so many; `stream` keeps the draws of different stages apart.
    """
    places = max(1, len(context.run.requests) // size)
    rng = np.random.default_rng([context.plan.seed, stream])
    chosen = rng.choice(places, size=min(count, places), replace=False)
    return [int(place) * size for place in np.sort(chosen)]


def some(requests: Requests, first: int, size: int) -> Requests:
    """A group of consecutive requests, at their own times."""
    return take(requests, np.arange(first, min(first + size, len(requests))))
