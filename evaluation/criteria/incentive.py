"""Incentive: how much less a request is charged when its sender asks for less (Li et al.).

    R_prompt = (C(p) − C(p/2)) / C(p)

where C(p) is what the method charges the request with a prompt of p tokens, everybody else unchanged; likewise
for half of the output, and for a chain of thought stopped early. The same ratio of the true Shapley values says
what the reward should be.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from evaluation.coalitions import game_of
from evaluation.counterfactual import counterfactual_shapley
from evaluation.methods import Method, charge
from evaluation.runs import Run, System, run_system
from evaluation.table_games import iteration_shapley
from producers.simulation.requests import Requests

__all__ = ["EFFORTS", "TRUTHS", "Reward", "Rewards", "rewards", "summarise"]

Floats = NDArray[np.float64]

THOUGHT_KEPT: Final = 0.25
"""A chain of thought is most of a reasoning model's output: stopped early, a quarter of the tokens is left."""
TRUTHS: Final = ("counterfactual Shapley", "per-iteration Shapley")


def _shorter_prompt(requests: Requests, i: int) -> Requests:
    return _replaced(requests, "prompt_tokens", i, 0.5)


def _shorter_output(requests: Requests, i: int) -> Requests:
    return _replaced(requests, "output_tokens", i, 0.5)


def _stopped_thought(requests: Requests, i: int) -> Requests:
    return _replaced(requests, "output_tokens", i, THOUGHT_KEPT)


EFFORTS: Final[dict[str, Callable[[Requests, int], Requests]]] = {
    "half the prompt": _shorter_prompt,
    "half the output": _shorter_output,
    "thought stopped early": _stopped_thought,
}


@dataclass(frozen=True, slots=True)
class Rewards:
    """Rewards of every request of one group, by effort and method: (n,) each."""

    by_effort: dict[str, dict[str, list[float]]]


@dataclass(frozen=True, slots=True)
class Reward:
    """A method's reward for an effort, over requests."""

    effort: str
    method: str
    mean: float
    worst: float
    """The smallest: below 0, asking for less costs more."""
    off_truth: float
    """Mean distance to the reward that the counterfactual Shapley value gives."""
    requests: int


def rewards(
    requests: Requests, system: System, methods: Sequence[Method], *, pool: Executor | None = None, seed: int
) -> Rewards:
    """Let each of a few requests in turn ask for less; 3 n runs and, for the truth, 3 n 2^n simulations."""
    before = _charges(run_system(requests, system), methods, pool, seed)
    by_effort: dict[str, dict[str, list[float]]] = {}
    for effort, shorten in EFFORTS.items():
        gained: dict[str, list[float]] = {name: [] for name in before}
        for i in range(len(requests)):
            after = _charges(run_system(shorten(requests, i), system), methods, pool, seed)
            for name, charges in before.items():
                gained[name].append(float((charges[i] - after[name][i]) / charges[i]))
        by_effort[effort] = gained
    return Rewards(by_effort)


def summarise(groups: Sequence[Rewards]) -> list[Reward]:
    """Mean, smallest and distance to the truth over all requests of all groups."""
    found = []
    for effort in EFFORTS:
        joined = {
            name: np.concatenate([group.by_effort[effort][name] for group in groups])
            for name in groups[0].by_effort[effort]
        }
        truth = joined[TRUTHS[0]]
        for name, values in joined.items():
            found.append(
                Reward(
                    effort=effort,
                    method=name,
                    mean=float(values.mean()),
                    worst=float(values.min()),
                    off_truth=float(np.abs(values - truth).mean()),
                    requests=len(values),
                )
            )
    return found


def _charges(run: Run, methods: Sequence[Method], pool: Executor | None, seed: int) -> dict[str, Floats]:
    truth = counterfactual_shapley(game_of(run, pool=pool), run, rel_tol=0.01, permutations=2_000, seed=seed)
    found = {TRUTHS[0]: truth.values_g, TRUTHS[1]: iteration_shapley(run)}
    return found | {method.name: charge(method, run, seed) for method in methods}


def _replaced(requests: Requests, column: str, i: int, factor: float) -> Requests:
    values = getattr(requests, column).copy()
    values[i] = max(1, int(values[i] * factor))
    return replace(requests, **{column: values})
