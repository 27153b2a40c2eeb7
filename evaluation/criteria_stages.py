"""Stages that measure the criteria other than fairness: scalability, sample efficiency, incentive, axioms."""

from collections.abc import Callable
from dataclasses import asdict
from typing import Any, Final

import numpy as np

from evaluation.coalitions import game_of
from evaluation.counterfactual import all_coalitions, lookup
from evaluation.criteria.axioms import Verdict, check_axioms
from evaluation.criteria.incentive import Reward, Rewards, rewards, summarise
from evaluation.criteria.sample_efficiency import LADDER, Efficiency, sample_efficiency
from evaluation.criteria.scalability import AXES, Timing, axis_runs, time_methods
from evaluation.results import plain
from evaluation.runs import Segment, run_system
from evaluation.stages import Context, group_starts, some
from evaluation.table_games import iteration_sum_game, one_iteration_shapley
from streams.attribution import shapley

__all__ = ["axioms", "efficiencies", "incentives", "timings"]

_ITERATION_PLAYERS: Final = 32
"""Requests in the iteration on which sample efficiency is measured: the published claim's size."""


def timings(context: Context) -> list[Timing]:
    """Time of every method along every axis."""
    sizes = context.plan.sizes
    names = [method.name for method in context.methods]
    found: list[Timing] = []
    for axis in AXES:
        tell = context.progress(f"scalability, {axis}")

        def compute(axis: str = axis, tell: Callable[[int, int], None] = tell) -> Any:
            runs = axis_runs(context.run.system, axis, sizes.scale_sizes)
            measured = time_methods(
                context.methods,
                runs,
                axis,
                repeats=sizes.scale_repeats,
                limit_s=sizes.scale_limit_s,
                seed=context.plan.seed,
                progress=lambda done: tell(min(done, sizes.scale_sizes - 1), sizes.scale_sizes),
            )
            return [asdict(timing) for timing in measured]

        inputs = [context.key, axis, names, sizes.scale_sizes, sizes.scale_limit_s, sizes.scale_repeats]
        found += [Timing(**record) for record in context.store.piece("timings", inputs, compute)]
        tell(sizes.scale_sizes, sizes.scale_sizes)
    return found


def efficiencies(context: Context) -> list[Efficiency]:
    """Sample efficiency on one iteration of the trace and on one counterfactual game."""
    found: list[Efficiency] = []
    sizes = context.plan.sizes
    for name, compute in (("iteration", _iteration), ("counterfactual", _counterfactual)):
        inputs = [context.key, name, sizes.repeats, sizes.ladder, sizes.case_requests, context.plan.seed]

        def records(compute: Callable[[Context], list[Efficiency]] = compute) -> Any:
            return [plain(efficiency) for efficiency in compute(context)]

        found += [_efficiency(record) for record in context.store.piece("efficiency", inputs, records)]
    return found


def _efficiency(record: dict[str, Any]) -> Efficiency:
    """From plain data, in which a target that the ladder never met is null."""
    never = {key: float("inf") for key, value in record.items() if value is None}
    return Efficiency(**(record | never))


def _iteration(context: Context) -> list[Efficiency]:
    best: tuple[int, Segment, int] | None = None
    for segment in context.run.segments():
        rows = segment.schedule.decode_rows + segment.schedule.prefill_rows
        nearest = int(np.argmin(np.abs(rows - _ITERATION_PLAYERS)))
        gap = abs(int(rows[nearest]) - _ITERATION_PLAYERS)
        if best is None or gap < best[0]:
            best = (gap, segment, nearest)
    assert best is not None
    _, segment, iteration = best
    engine = context.run.system.engine
    game, who = iteration_sum_game(segment, engine, iteration)
    truth = one_iteration_shapley(segment, engine, iteration)[who]
    return sample_efficiency(
        f"an iteration of {len(who)} requests",
        game,
        truth,
        repeats=context.plan.sizes.repeats,
        ladder=LADDER[: context.plan.sizes.ladder],
        seed=context.plan.seed,
        progress=context.progress("sample efficiency, iteration"),
    )


def _counterfactual(context: Context) -> list[Efficiency]:
    size = context.plan.sizes.case_requests
    first = group_starts(context, 1, size, stream=1)[0]
    run = run_system(some(context.run.requests, first, size), context.run.system)
    n = len(run.requests)
    game = lookup(game_of(run, pool=context.pool)(all_coalitions(n)), n)
    return sample_efficiency(
        f"counterfactual of {n} requests",
        game,
        shapley.exact(game, n),
        repeats=context.plan.sizes.repeats,
        ladder=LADDER[: context.plan.sizes.ladder],
        seed=context.plan.seed,
        progress=context.progress("sample efficiency, counterfactual"),
    )


def incentives(context: Context) -> list[Reward]:
    """Rewards for asking for less, over a few small groups."""
    sizes = context.plan.sizes
    tell = context.progress("incentive")
    starts = group_starts(context, sizes.incentive_groups, sizes.incentive_requests, stream=3)
    names = [method.name for method in context.methods]
    groups = []
    for position, first in enumerate(starts):

        def compute(first: int = first) -> Any:
            requests = some(context.run.requests, first, sizes.incentive_requests)
            measured = rewards(
                requests, context.run.system, context.methods, pool=context.pool, seed=context.plan.seed
            )
            return measured.by_effort

        inputs = [context.key, first, sizes.incentive_requests, names, context.plan.seed]
        groups.append(Rewards(context.store.piece("incentive", inputs, compute)))
        tell(position + 1, len(starts))
    return summarise(groups)


def axioms(context: Context) -> list[Verdict]:
    """The axioms, on cases of their own."""
    tell = context.progress("axioms")
    names = [method.name for method in context.methods]
    found = check_axioms(names, context.settings.best_weights, seed=context.plan.seed)
    tell(1, 1)
    return found
