"""From charges to statements: how far each method is from the truth, for whom, and how far truths are apart."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from evaluation.criteria.fairness import distance, grouped, relative_errors
from evaluation.results import Bias, Case, MethodDistance, TruthGap
from evaluation.runs import Run
from evaluation.stages import Context

__all__ = ["biases", "method_distances", "truth_gaps"]

Floats = NDArray[np.float64]


def method_distances(
    context: Context,
    charged: Mapping[str, tuple[Floats, float]],
    cases: Sequence[Case],
    sampled: Case | None,
) -> list[MethodDistance]:
    """Every method against every truth: the whole trace by request and by tenant, the groups by request."""
    tenant = context.run.requests.tenant.astype(np.int64)
    tenants = len(context.run.requests.tenants)
    truth = context.truth_g
    by_tenant = grouped(truth, tenant, tenants)
    active = by_tenant != 0
    found = []
    for method in context.methods:
        grams, seconds = charged[method.name]

        def add(
            truth_name: str,
            by: str,
            charges: Floats,
            values: Floats,
            taken: float | None = None,
            name: tuple[str, str] = (method.name, method.title),
        ) -> None:
            found.append(MethodDistance(*name, truth_name, by, distance(charges, values), taken))

        add("per-iteration", "request", grams, truth, seconds)
        add("per-iteration", "tenant", grouped(grams, tenant, tenants)[active], by_tenant[active])
        add("counterfactual", "request", *_joined(cases, method.name))
        if sampled is not None:
            add("sampled counterfactual", "request", *_joined([sampled], method.name))
    return found


def _joined(cases: Sequence[Case], method: str) -> tuple[Floats, Floats]:
    """Charges and counterfactual values of all requests of all groups."""
    charges = np.concatenate([np.array(case.charges_g[method]) for case in cases])
    return charges, np.concatenate([np.array(case.counterfactual_g) for case in cases])


def biases(run: Run, truth: Floats, charges: Mapping[str, Floats]) -> list[Bias]:
    """The signed error of four classes of requests: prompt and output, each below and above its median."""
    prompt, output = run.requests.prompt_tokens, run.requests.output_tokens
    long_prompt = prompt > np.median(prompt)
    long_output = output > np.median(output)
    classes = {
        "short prompt, short output": ~long_prompt & ~long_output,
        "short prompt, long output": ~long_prompt & long_output,
        "long prompt, short output": long_prompt & ~long_output,
        "long prompt, long output": long_prompt & long_output,
    }
    found = []
    for method, grams in charges.items():
        for name, members in classes.items():
            if members.any():
                whole = float(truth[members].sum())
                found.append(
                    Bias(
                        method=method,
                        requests_class=name,
                        requests=int(members.sum()),
                        share_percent=100.0 * whole / float(truth.sum()),
                        signed_percent=100.0 * (float(grams[members].sum()) / whole - 1.0),
                    )
                )
    return found


def truth_gaps(cases: Sequence[Case], sampled: Case | None) -> list[TruthGap]:
    """How far the per-iteration truth is from the counterfactual one."""
    found = [_gap(f"{len(cases)} groups of {cases[0].requests}, enumerated", cases)]
    if sampled is not None:
        found.append(_gap(f"one group of {sampled.requests}, sampled", [sampled]))
    return found


def _gap(name: str, cases: Sequence[Case]) -> TruthGap:
    truth = np.concatenate([np.array(case.counterfactual_g) for case in cases])
    other = np.concatenate([np.array(case.per_iteration_g) for case in cases])
    widths = np.concatenate([np.array(case.half_widths_g) for case in cases])
    percent = 100.0 * relative_errors(other, truth)
    return TruthGap(
        games=name,
        requests=len(truth),
        mean_percent=float(percent.mean()),
        median_percent=float(np.median(percent)),
        p95_percent=float(np.quantile(percent, 0.95)),
        worst_percent=float(percent.max()),
        misplaced_percent=50.0 * float(np.abs(other - truth).sum() / np.abs(truth).sum()),
        half_width_percent=100.0 * float(np.mean(widths / np.abs(truth))),
    )
