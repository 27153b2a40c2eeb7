"""The report: one HTML file that needs nothing else, with every plot, table and the way to the same figures."""

from importlib.resources import files
from typing import Any

from jinja2 import BaseLoader, Environment, StrictUndefined

from evaluation.criteria.axioms import AXIOMS
from evaluation.criteria.incentive import EFFORTS, TRUTHS
from evaluation.plots import plots
from evaluation.results import Results
from evaluation.tables import Table, exponent_matrix, grams, number, summary

__all__ = ["render"]


def render(results: Results) -> str:
    """The page; it shows the results and computes nothing."""
    templates = files(__package__) / "templates"
    environment = Environment(
        loader=BaseLoader(), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["number"] = number
    template = environment.from_string((templates / "report.html.j2").read_text(encoding="utf-8"))
    return template.render(
        results=results,
        style=(templates / "report.css").read_text(encoding="utf-8"),
        plots=plots(results),
        summary=summary(results),
        exponents=exponent_matrix(results),
        grams=grams(results),
        titles={d.method: d.title for d in results.distances},
        axioms=AXIOMS,
        verdicts=_verdicts(results),
        rewards=_rewards(results),
        worst=_worst(results),
    )


def _verdicts(results: Results) -> dict[str, dict[str, Any]]:
    """Method → axiom → verdict."""
    found: dict[str, dict[str, Any]] = {}
    for verdict in results.verdicts:
        found.setdefault(verdict.method, {})[verdict.axiom] = verdict
    return found


def _rewards(results: Results) -> Table:
    """One line per method: the mean reward and the distance to the true one, by effort."""
    found = {(r.effort, r.method): r for r in results.rewards}
    methods = [*TRUTHS, *dict.fromkeys(d.method for d in results.distances)]
    rows = []
    for method in methods:
        cells: list[Any] = [method]
        for effort in EFFORTS:
            reward = found[effort, method]
            cells += [100 * reward.mean, 100 * reward.off_truth]
        rows.append(tuple(cells))
    columns = ["method"]
    for effort in EFFORTS:
        columns += [f"{effort} %", "off by"]
    return Table("rewards", "Mean reward", tuple(columns), tuple(rows))


def _worst(results: Results) -> list[dict[str, Any]]:
    """For each method, its worst request on the whole trace."""
    truth = results.charges_g["per-iteration Shapley"]
    found = []
    for item in results.distances:
        if item.truth == "per-iteration" and item.by == "request":
            who = item.distance.worst_player
            found.append(
                {
                    "title": item.title,
                    "request": who,
                    "truth_g": truth[who],
                    "charged_g": results.charges_g[item.method][who],
                    "signed_percent": item.distance.worst_signed_percent,
                }
            )
    return found
