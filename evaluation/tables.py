"""The results as tables: the same rows for the terminal, the CSV files, the report and the documentation."""

from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields
from typing import Any

from evaluation.criteria.axioms import AXIOMS
from evaluation.criteria.fairness import Distance
from evaluation.criteria.scalability import AXES, Exponent
from evaluation.results import MethodDistance, Results

__all__ = ["Table", "exponent_matrix", "grams", "number", "records", "summary", "tables"]


@dataclass(frozen=True, slots=True)
class Table:
    """Named columns of text, numbers or None, which is shown as a dash."""

    name: str
    """Of the CSV file."""
    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]


def number(value: Any) -> str:
    """A cell for people: three significant digits, none beyond a thousand."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "kept" if value else "broken"
    if not isinstance(value, float):
        return str(value)
    if value != value or value in (float("inf"), float("-inf")):
        return "∞" if value > 0 else "–"
    size = abs(value)
    if size >= 1000:
        return f"{value:,.0f}"
    if size < 1e-9:
        return "0"
    if size < 1e-3:
        return f"{value:.1e}"
    return f"{value:.3g}"


def summary(results: Results) -> Table:
    """One line per method: the four criteria and the axioms."""
    exponent = {(e.axis, e.method): e.exponent for e in results.exponents}
    rewards = {(r.effort, r.method): r for r in results.rewards}
    rows = []
    for method in _methods(results):
        request = _distance(results, method, "per-iteration", "request")
        tenant = _distance(results, method, "per-iteration", "tenant")
        counterfactual = _distance(results, method, "counterfactual", "request")
        kept = sum(v.kept for v in results.verdicts if v.method == method)
        prompt = rewards.get(("half the prompt", method))
        rows.append(
            (
                request.title,
                request.distance.mean_percent,
                request.distance.p95_percent,
                request.distance.worst_percent,
                tenant.distance.worst_percent,
                counterfactual.distance.mean_percent,
                request.distance.misplaced_percent,
                request.distance.unassigned_percent,
                None if request.seconds is None else 1000.0 * request.seconds,
                exponent.get(("requests", method)),
                None if prompt is None else prompt.mean,
                f"{kept}/{len(AXIOMS)}",
            )
        )
    columns = (
        "method",
        "mean %",
        "p95 %",
        "worst %",
        "worst tenant %",
        "counterfactual mean %",
        "misplaced %",
        "unassigned %",
        "milliseconds",
        "time ∝ R^",
        "reward, half prompt",
        "axioms kept",
    )
    return Table("summary", "Distance to the Shapley value, and the other criteria", columns, tuple(rows))


def tables(results: Results) -> list[Table]:
    """Every table but the summary."""
    return [
        _fairness(results),
        records("bias", "Who pays too much or too little, by class of requests", results.biases),
        records("truth_gap", "The two ground truths against each other", results.truth_gaps),
        records("exponents", "Time as a power of size", results.exponents),
        records("scalability", "Measured times", results.timings),
        records("sample_efficiency", "Evaluations of v until within ε", results.efficiencies),
        records("incentive", "Rewards for asking for less", results.rewards),
        _axioms(results),
        records("axiom_witnesses", "Witnesses of broken axioms", [v for v in results.verdicts if not v.kept]),
        _contrasts(results),
        _cases(results),
        _requests(results),
        _operators(results),
        _energy(results),
    ]


def records(name: str, title: str, items: Sequence[Any]) -> Table:
    """A table of dataclass records, one column per field."""
    columns = tuple(field.name for field in fields(items[0])) if items else ()
    return Table(name, title, columns, tuple(astuple(item) for item in items))


def _methods(results: Results) -> list[str]:
    return list(dict.fromkeys(d.method for d in results.distances))


def _distance(results: Results, method: str, truth: str, by: str) -> MethodDistance:
    return next(d for d in results.distances if d.method == method and d.truth == truth and d.by == by)


def _fairness(results: Results) -> Table:
    columns = (
        "method",
        "truth",
        "by",
        *(field.name for field in fields(results.distances[0].distance)),
        "seconds",
    )
    rows = tuple((d.method, d.truth, d.by, *astuple(d.distance), d.seconds) for d in results.distances)
    return Table("fairness", "Distance to the Shapley value", columns, rows)


def _axioms(results: Results) -> Table:
    verdicts = {(v.method, v.axiom): v.kept for v in results.verdicts}
    methods = dict.fromkeys(v.method for v in results.verdicts)
    rows = tuple((method, *(verdicts[method, axiom] for axiom in AXIOMS)) for method in methods)
    return Table("axioms", "Shapley axioms kept and broken", ("method", *AXIOMS), rows)


def _contrasts(results: Results) -> Table:
    methods = tuple(results.contrasts[0].mean_percent)
    columns = (
        "mode",
        "mean_batch",
        "duration_s",
        "shared_g",
        "grams_per_1000_output_tokens",
        *(f"{method}_mean_percent" for method in methods),
    )
    rows = tuple(
        (
            c.mode,
            c.mean_batch,
            c.duration_s,
            c.shared_g,
            c.grams_per_1000_output_tokens,
            *(c.mean_percent[method] for method in methods),
        )
        for c in results.contrasts
    )
    return Table("batching", "Continuous and static batching", columns, rows)


def _cases(results: Results) -> Table:
    methods = tuple(results.cases[0].charges_g)
    columns = ("group", "request", "counterfactual_g", "half_width_g", "per_iteration_g", *methods)
    rows = []
    for group, case in enumerate([*results.cases, *([results.sampled_case] if results.sampled_case else [])]):
        for i in range(case.requests):
            charges = (case.charges_g[method][i] for method in methods)
            known = (case.counterfactual_g[i], case.half_widths_g[i], case.per_iteration_g[i])
            rows.append((group, case.first_request + i, *known, *charges))
    return Table("groups", "Groups whose counterfactual game was solved", columns, tuple(rows))


def _requests(results: Results) -> Table:
    names = tuple(results.charges_g)
    rows = zip(*(results.charges_g[name] for name in names), strict=True)
    return Table(
        "requests",
        "gCO2e of every request by every method",
        ("request", *names),
        tuple((i, *row) for i, row in enumerate(rows)),
    )


def _operators(results: Results) -> Table:
    classes = results.figure1["classes_ms"]
    rows = zip(results.figure1["tokens"], *classes.values(), strict=True)
    return Table("operator_times", "Milliseconds by operator class", ("tokens", *classes), tuple(rows))


def _energy(results: Results) -> Table:
    columns = ("batch", "iteration_j", "token_j")
    rows = tuple(zip(*(results.figure1[name] for name in columns), strict=True))
    return Table("iteration_energy", "Energy of an iteration by batch size", columns, rows)


def grams(results: Results) -> Table:
    """Distances in mgCO2e, by request and by tenant."""
    rows = []
    for method in _methods(results):
        request = _distance(results, method, "per-iteration", "request")
        tenant = _distance(results, method, "per-iteration", "tenant")
        cells = [1000.0 * value for d in (request, tenant) for value in _in_grams(d.distance)]
        rows.append((request.title, *cells))
    columns = (
        "method",
        "mean request, mg",
        "p95 request, mg",
        "worst request, mg",
        "mean tenant, mg",
        "p95 tenant, mg",
        "worst tenant, mg",
    )
    return Table("grams", "Distances in mgCO2e", columns, tuple(rows))


def _in_grams(found: Distance) -> tuple[float, float, float]:
    return found.mean_g, found.p95_g, found.worst_g


def _with_error(found: Exponent | None) -> str | None:
    return None if found is None else f"{found.exponent:.2f} ± {found.standard_error:.2f}"


def exponent_matrix(results: Results) -> Table:
    """One line per method, one column per axis."""
    found = {(e.method, e.axis): e for e in results.exponents}
    rows = tuple(
        (method, *(_with_error(found.get((method, axis))) for axis in AXES)) for method in _methods(results)
    )
    return Table("exponent_matrix", "Fitted exponents", ("method", *AXES), rows)
