"""Runs an evaluation from plan to results: everything is checked first, then each stage adds its part.

The output directory is not touched until requests, runtime, carbon model and methods have been found good.
Finished pieces lie in its `.pieces`; the same plan, started again after an interruption, reads them.
"""

import platform
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

import numpy as np

from evaluation import criteria_stages, stages
from evaluation.coalitions import Progress
from evaluation.criteria.scalability import exponents
from evaluation.figure1 import energy_curve, operator_times
from evaluation.fitting import fit_energy_model
from evaluation.methods import MethodSettings, charge, parse_methods
from evaluation.naive import best_token_weights
from evaluation.paper_cases import leave_one_out_case, token_case
from evaluation.plan import Plan, build_system, identity
from evaluation.results import About, Results, RunFacts, plain
from evaluation.runs import Run, System, run_system
from evaluation.store import Store, digest
from evaluation.summaries import biases, method_distances, truth_gaps
from evaluation.table_games import iteration_shapley
from evaluation.workload import load_workload
from producers.simulation.requests import take
from schemas.errors import ConfigurationError

__all__ = ["Prepared", "evaluate", "prepare"]

_PIECES: Final = ".pieces"
_PACKAGES: Final = ("wattledger", "numpy", "matplotlib", "jinja2")


@dataclass(frozen=True, slots=True, eq=False)
class Prepared:
    """A plan whose ingredients were read, checked and simulated once; nothing has been written."""

    plan: Plan
    run: Run
    settings: MethodSettings


def prepare(plan: Plan) -> Prepared:
    """Read and check everything; DataError and ConfigurationError name what is wrong and what to do."""
    system = build_system(plan.runtime, plan.carbon)
    requests = load_workload(plan.workload, seed=plan.seed)
    run = run_system(requests, system)
    if not run.total_g > 0:
        raise ConfigurationError(
            f"the requests emit {run.total_g:g} gCO2e together, so there is nothing to share: raise the carbon "
            "intensity or the embodied rate"
        )
    fitted = fit_energy_model(run)
    settings = MethodSettings(fitted, best_token_weights(run, iteration_shapley(run)))
    _try_methods(plan, run, settings)
    return Prepared(plan, run, settings)


def _try_methods(plan: Plan, run: Run, settings: MethodSettings) -> None:
    """A method that is unknown, or a plugin that fails, is found out before an hour of work, not after."""
    few = run_system(take(run.requests, np.arange(min(2, len(run.requests)))), run.system)
    for method in parse_methods(plan.methods, settings):
        charge(method, few, plan.seed)


def evaluate(
    prepared: Prepared,
    directory: Path,
    *,
    command: str,
    pool: Executor | None,
    progress: Callable[[str], Progress],
) -> Results:
    """Measure everything; O(minutes), resumable. `progress` is asked for a teller for each stage."""
    plan, run = prepared.plan, prepared.run
    settings = MethodSettings(prepared.settings.fitted, prepared.settings.best_weights, pool)
    requests_digest = identity(run.requests, run.system)
    context = stages.Context(
        plan=plan,
        run=run,
        truth_g=iteration_shapley(run),
        settings=settings,
        methods=parse_methods(plan.methods, settings),
        store=Store(directory / _PIECES),
        key=digest(
            [
                requests_digest,
                version("wattledger"),
                settings.best_weights,
                settings.fitted.energy.coefficients(),
            ]
        ),
        pool=pool,
        progress=progress,
    )
    charged = stages.charges(context)
    cases = stages.cases(context)
    sampled = stages.sampled_case(context)
    timings = criteria_stages.timings(context)
    charges_g = {name: grams for name, (grams, _) in charged.items()}
    return Results(
        about=About(
            command=command,
            versions=_versions(),
            seed=plan.seed,
            plan=_plan_record(plan),
            requests_digest=requests_digest,
        ),
        run=_facts(plan, run, settings),
        charges_g={"per-iteration Shapley": context.truth_g.tolist()}
        | {name: grams.tolist() for name, grams in charges_g.items()},
        distances=method_distances(context, charged, cases, sampled),
        biases=biases(run, context.truth_g, charges_g),
        cases=cases,
        sampled_case=sampled,
        truth_gaps=truth_gaps(cases, sampled),
        contrasts=stages.contrasts(context),
        timings=timings,
        exponents=exponents(timings),
        efficiencies=criteria_stages.efficiencies(context),
        rewards=criteria_stages.incentives(context),
        verdicts=criteria_stages.axioms(context),
        leave_one_out_case=leave_one_out_case(),
        token_case=token_case(),
        figure1=_figure1(run.system),
    )


def _facts(plan: Plan, run: Run, settings: MethodSettings) -> RunFacts:
    requests, engine = run.requests, run.system.engine
    by_time = sum(float(segment.per_second_g @ segment.seconds) for segment in run.segments())
    return RunFacts(
        source=Path(plan.workload.trace).name,
        engine=engine.name,
        gpu_model=engine.gpu_model,
        gpus=engine.gpus,
        mode=run.system.mode,
        account=run.system.carbon.account,
        requests=len(requests),
        tenants=len(np.unique(requests.tenant)),
        iterations=run.iterations,
        request_iterations=run.request_iterations,
        mean_batch=run.request_iterations / run.iterations,
        duration_s=run.end_us / 1e6,
        preemptions=sum(int(segment.schedule.preemptions.sum()) for segment in run.segments()),
        cached_tokens=int(run.cached_tokens.sum()),
        prompt_tokens=int(requests.prompt_tokens.sum()),
        output_tokens=int(requests.output_tokens.sum()),
        energy_j=run.energy_j,
        shared_g=run.total_g,
        idle_g=run.idle_g,
        operational_g=run.total_g - by_time,
        embodied_g=by_time,
        model_source=settings.fitted.source,
        fit_error_percent=100.0 * settings.fitted.median_error,
        best_token_weight=settings.best_weights[1],
    )


def _figure1(system: System) -> dict[str, Any]:
    operators, energy = operator_times(), energy_curve(system.engine)
    return {
        "tokens": operators.tokens.tolist(),
        "classes_ms": {name: values.tolist() for name, values in operators.classes_ms.items()},
        "engine": energy.engine,
        "batch": energy.batch.tolist(),
        "iteration_j": energy.iteration_j.tolist(),
        "token_j": energy.token_j.tolist(),
    }


def _plan_record(plan: Plan) -> dict[str, Any]:
    record: dict[str, Any] = plain(plan)
    for part in record.values():
        if isinstance(part, dict):
            part.update({key: str(value) for key, value in part.items() if isinstance(value, Path)})
    return record


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
