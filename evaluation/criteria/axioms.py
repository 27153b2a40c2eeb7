"""The Shapley axioms by construction: cases in which the right answer is known, and who gets it wrong.

All cases run on an engine whose iterations cost the same whatever is in them, so that the games are plain, and
without embodied carbon. A broken axiom is shown with its witness: who is charged what, and should be.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from evaluation.carbon import Carbon, Signal, constant
from evaluation.coalitions import game_of
from evaluation.counterfactual import counterfactual_shapley
from evaluation.criteria.fairness import grouped
from evaluation.fitting import FittedModel
from evaluation.methods import Method, MethodSettings, charge, parse_methods
from evaluation.runs import Run, System, run_system
from evaluation.table_games import iteration_shapley
from producers.simulation.engine_types import EngineType, engine_type
from producers.simulation.requests import Requests, from_columns
from streams.attribution import EnergyModel

__all__ = ["AXIOMS", "Verdict", "check_axioms"]

Floats = NDArray[np.float64]

AXIOMS: Final = ("efficiency", "symmetry", "null player", "linearity")
_ITERATION_J: Final = 36.0
_ITERATION_MS: Final = 10.0
_TOLERANCE: Final = 1e-9
"""Of the run's carbon: rounding, not a broken axiom."""
_PERIOD_US: Final = 10_000_000


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a method keeps an axiom."""

    axiom: str
    method: str
    kept: bool
    gap_percent: float
    """How far off, in per cent of the case's carbon."""
    witness: str
    """What was charged in the case; empty where the axiom is kept."""


def check_axioms(names: Sequence[str], best_weights: tuple[float, float], *, seed: int) -> list[Verdict]:
    """Every method of `names` and the two truths, on every axiom."""
    fitted = FittedModel(EnergyModel(fixed_j=_ITERATION_J), "fit", median_error=0.0, windows=0)
    methods = (*_truths(), *parse_methods(names, MethodSettings(fitted, best_weights)))
    checks: tuple[Callable[[Method, int], Verdict], ...] = (_efficiency, _symmetry, _null_player, _linearity)
    return [check(method, seed) for method in methods for check in checks]


def _truths() -> tuple[Method, Method]:
    def counterfactual(run: Run, seed: int) -> Floats:
        return counterfactual_shapley(game_of(run), run, rel_tol=0.01, permutations=1_000, seed=seed).values_g

    return (
        Method("counterfactual Shapley", "counterfactual Shapley", counterfactual),
        Method("per-iteration Shapley", "per-iteration Shapley", lambda run, _: iteration_shapley(run)),
    )


def _flat_engine() -> EngineType:
    """Every iteration takes 10 ms and 36 J, with whomever in it."""
    return replace(
        engine_type("llama-3.1-8b-h100"),
        name="flat",
        batches=np.array([1.0, 510.0]),
        iteration_ms=np.full(2, _ITERATION_MS),
        energy_j=np.full(2, _ITERATION_J),
        context_ms_per_token=0.0,
        context_j_per_token=0.0,
        prefill_ms_below=0.0,
        prefill_ms_above=0.0,
        prefill_ms_per_pair=0.0,
        prefill_power_w=0.0,
    )


def _system(first_g_per_kwh: float, then_g_per_kwh: float) -> System:
    """The flat engine with one carbon intensity in the first ten seconds and another afterwards."""
    steps = Signal(np.array([0, _PERIOD_US]), np.array([first_g_per_kwh, then_g_per_kwh]))
    return System(_flat_engine(), Carbon(steps, constant(0.0)))


def _three() -> Requests:
    """Requests 0 and 1 cost the same in every coalition; their prompts differ."""
    return from_columns([0, 0, 0], [100, 900, 500], [20, 20, 40], source="axioms")


def _efficiency(method: Method, seed: int) -> Verdict:
    run = run_system(_three(), _system(400.0, 400.0))
    charged = charge(method, run, seed)
    gap = float(charged.sum()) - run.total_g
    return _verdict(
        "efficiency",
        method,
        gap / run.total_g,
        f"three requests cause {run.total_g:.4f} g together and are charged {charged.sum():.4f} g",
    )


def _symmetry(method: Method, seed: int) -> Verdict:
    run = run_system(_three(), _system(400.0, 400.0))
    charged = charge(method, run, seed)
    return _verdict(
        "symmetry",
        method,
        float(charged[1] - charged[0]) / run.total_g,
        "two requests cost the same in every coalition, with prompts of 100 and 900 tokens, and are charged "
        f"{charged[0]:.4f} g and {charged[1]:.4f} g",
    )


def _null_player(method: Method, seed: int) -> Verdict:
    """The third request runs alone, when electricity emits nothing: it adds nothing to any coalition."""
    requests = from_columns([0, 0, _PERIOD_US + 1], [100, 900, 500], [20, 20, 40], source="axioms")
    run = run_system(requests, _system(400.0, 0.0))
    charged = charge(method, run, seed)
    return _verdict(
        "null player",
        method,
        float(charged[2]) / run.total_g,
        f"a request that emits nothing in any coalition (alone, at 0 g/kWh) is charged {charged[2]:.4f} g "
        f"of {run.total_g:.4f} g",
    )


def _linearity(method: Method, seed: int) -> Verdict:
    """Two tenants in two periods that do not touch: each period alone, against both at once."""
    arrivals = np.array([0, 0, *[_PERIOD_US] * 4])
    prompts, outputs = np.array([100, 100, 100, 500, 300, 300]), np.array([20, 20, 20, 40, 20, 20])
    system = _system(200.0, 500.0)

    def tenants(part: slice) -> tuple[Floats, float]:
        requests = from_columns(
            arrivals[part],
            prompts[part],
            outputs[part],
            tenants=("a", "b"),
            tenant=np.array([0, 1, 0, 1, 1, 1])[part],
            source="axioms",
        )
        run = run_system(requests, system)
        return grouped(charge(method, run, seed), run.requests.tenant.astype(np.int64), 2), run.total_g

    (first, _), (second, _), (both, total) = tenants(slice(0, 2)), tenants(slice(2, 6)), tenants(slice(0, 6))
    alone = first + second
    return _verdict(
        "linearity",
        method,
        float(both[0] - alone[0]) / total,
        f"tenant a is charged {first[0]:.4f} g and {second[0]:.4f} g in two periods, {alone[0]:.4f} g together, "
        f"but {both[0]:.4f} g when both are attributed at once",
    )


def _verdict(axiom: str, method: Method, gap: float, witness: str) -> Verdict:
    kept = abs(gap) <= _TOLERANCE
    return Verdict(axiom, method.name, kept, 100.0 * gap, "" if kept else witness)
