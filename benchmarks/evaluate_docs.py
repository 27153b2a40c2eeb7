"""Writes the tables of docs/evaluation.md from evaluations that it runs: the text around them is by hand.

    uv run python -m benchmarks.evaluate_docs [--directory build/evaluation]      (or: make evaluate-docs)

Everything between `<!-- table: NAME -->` and `<!-- end -->` is replaced. A run that was interrupted goes on.
"""

import argparse
import json
import re
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from evaluation.tables import number

DOCUMENT: Final = Path(__file__).resolve().parents[1] / "docs" / "evaluation.md"
RUNS: Final = {
    "azure": ("--trace", "sample:azure", "--pace", "4", "--requests", "1000"),
    "servegen": ("--trace", "sample:servegen", "--rate", "20", "--requests", "600", "--max-output", "1024"),
}
Record = Mapping[str, Any]
Rows = Sequence[Sequence[Any]]


def main() -> None:
    """Run both evaluations, then replace the tables."""
    parser = argparse.ArgumentParser(description="Write the tables of docs/evaluation.md.")
    parser.add_argument("--directory", type=Path, default=Path("build/evaluation"))
    directory = parser.parse_args().directory
    found = {}
    for name, arguments in RUNS.items():
        command = ["wattledger", "evaluate", *arguments, "--out", str(directory / name)]
        subprocess.run([sys.executable, "-m", *command], check=True, stdout=subprocess.DEVNULL)
        found[name] = json.loads((directory / name / "results.json").read_text(encoding="utf-8"))
    text = DOCUMENT.read_text(encoding="utf-8")
    for run, results in found.items():
        for table, draw in TABLES.items():
            text = replaced(text, f"{run} {table}", draw(results))
    DOCUMENT.write_text(text, encoding="utf-8")


def replaced(text: str, name: str, body: str) -> str:
    """`text` with a new body for the table `name`; unchanged where the document does not show it."""
    pattern = rf"(<!-- table: {re.escape(name)} -->\n).*?(<!-- end -->)"
    return re.sub(pattern, lambda found: f"{found[1]}{body}\n{found[2]}", text, flags=re.DOTALL)


def markdown(columns: Sequence[str], rows: Rows) -> str:
    """A Markdown table: first column to the left, the others to the right."""
    lines = [f"| {' | '.join(columns)} |", "|---|" + "---:|" * (len(columns) - 1)]
    lines += [
        f"| {' | '.join(cell if isinstance(cell, str) else number(cell) for cell in row)} |" for row in rows
    ]
    return "\n".join(lines)


def titles(results: Record) -> dict[str, str]:
    """Method → title, in the order of the results."""
    return {d["method"]: d["title"] for d in results["distances"]}


def facts(results: Record) -> str:
    """The run in one row."""
    run = results["run"]
    columns = (
        "requests", "tenants", "iterations", "mean batch", "prompt tokens", "output tokens",
        "kJ", "gCO2e", "model error %",
    )  # fmt: skip
    row = (
        run["requests"], run["tenants"], run["iterations"], run["mean_batch"], run["prompt_tokens"],
        run["output_tokens"], run["energy_j"] / 1000, run["shared_g"], run["fit_error_percent"],
    )  # fmt: skip
    return markdown(columns, [row])


def fairness(results: Record) -> str:
    """Distances by request and tenant, in per cent and grams."""
    found = {(d["method"], d["truth"], d["by"]): d["distance"] for d in results["distances"]}
    rows = []
    for method, title in titles(results).items():
        own, tenant = found[method, "per-iteration", "request"], found[method, "per-iteration", "tenant"]
        other = found[method, "counterfactual", "request"]
        cells = [own[name] for name in ("mean_percent", "p95_percent", "worst_percent", "misplaced_percent")]
        cells += [
            1000 * own["mean_g"],
            1000 * own["worst_g"],
            tenant["mean_percent"],
            tenant["worst_percent"],
        ]
        rows.append((title, *cells, other["mean_percent"], own["unassigned_percent"]))
    columns = (
        "method", "mean %", "p95 %", "worst %", "misplaced %", "mean mg", "worst mg", "mean tenant %",
        "worst tenant %", "counterfactual mean %", "unassigned %",
    )  # fmt: skip
    return markdown(columns, rows)


def bias(results: Record) -> str:
    """Signed error by class."""
    classes = list(dict.fromkeys(b["requests_class"] for b in results["biases"]))
    found = {(b["method"], b["requests_class"]): b["signed_percent"] for b in results["biases"]}
    share = {b["requests_class"]: b["share_percent"] for b in results["biases"]}
    rows: list[Sequence[Any]] = [("*part of the carbon*", *(f"*{share[c]:.0f} %*" for c in classes))]
    rows += [
        (title, *(f"{found[method, c]:+.1f}" for c in classes)) for method, title in titles(results).items()
    ]
    return markdown(("method", *classes), rows)


def truths(results: Record) -> str:
    """The two truths against each other."""
    columns = ("games", "requests", "mean %", "median %", "p95 %", "worst %", "moved %", "mean half-width %")
    names = (
        "games", "requests", "mean_percent", "median_percent", "p95_percent", "worst_percent",
        "misplaced_percent", "half_width_percent",
    )  # fmt: skip
    return markdown(columns, [tuple(gap[name] for name in names) for gap in results["truth_gaps"]])


def sample_efficiency(results: Record) -> str:
    """Evaluations of v by ε."""
    found = results["efficiencies"]
    levels = sorted({e["epsilon"] for e in found})
    rows = []
    for game in dict.fromkeys(e["game"] for e in found):
        for estimator in dict.fromkeys(e["estimator"] for e in found):
            mine = {e["epsilon"]: e for e in found if e["game"] == game and e["estimator"] == estimator}
            cells = [
                f"> {mine[level]['largest_tried']:,.0f}"
                if mine[level]["worst_player"] is None
                else f"{mine[level]['worst_player']:,.0f}"
                for level in levels
            ]
            rows.append((game, estimator, *cells))
    return markdown(("game", "estimator", *(f"ε = {100 * level:g} %" for level in levels)), rows)


def exponents(results: Record) -> str:
    """Fitted exponents with their standard errors."""
    axes = list(dict.fromkeys(e["axis"] for e in results["exponents"]))
    found = {(e["method"], e["axis"]): e for e in results["exponents"]}
    rows = [
        (
            title,
            *(power(found.get((m, a))) for a in axes),
            *largest(results, m),
        )
        for m, title in titles(results).items()
    ]
    return markdown(("method", *axes, "largest R", "seconds there"), rows)


def power(found: Record | None) -> str:
    """An exponent with its standard error."""
    return "–" if found is None else f"{found['exponent']:.2f} ± {found['standard_error']:.2f}"


def largest(results: Record, method: str) -> tuple[int, float]:
    """The largest number of requests that the method was timed on, and its seconds there."""
    points = [t for t in results["timings"] if t["method"] == method and t["axis"] == "requests"]
    last = max(points, key=lambda t: int(t["requests"]))
    return int(last["requests"]), float(last["seconds"])


def incentive(results: Record) -> str:
    """Mean rewards, and how far from the true ones."""
    efforts = list(dict.fromkeys(r["effort"] for r in results["rewards"]))
    found = {(r["method"], r["effort"]): r for r in results["rewards"]}
    names = {
        m: titles(results).get(m, f"*{m}*") for m in dict.fromkeys(r["method"] for r in results["rewards"])
    }
    rows = []
    for method, title in names.items():
        cells: list[Any] = []
        for effort in efforts:
            reward = found[method, effort]
            cells += [100 * reward["mean"], 100 * reward["off_truth"]]
        rows.append((title, *cells))
    columns = ["method"]
    for effort in efforts:
        columns += [f"{effort} %", "off by"]
    return markdown(columns, rows)


def axioms(results: Record) -> str:
    """Kept, or broken with the gap."""
    verdicts = results["verdicts"]
    names = list(dict.fromkeys(v["axiom"] for v in verdicts))
    found = {(v["method"], v["axiom"]): v for v in verdicts}
    rows = []
    for method in dict.fromkeys(v["method"] for v in verdicts):
        cells = [
            "kept"
            if found[method, axiom]["kept"]
            else f"**broken** {found[method, axiom]['gap_percent']:+.2g} %"
            for axiom in names
        ]
        rows.append((titles(results).get(method, f"*{method}*"), *cells))
    return markdown(("method", *names), rows)


def batching(results: Record) -> str:
    """Continuous against static."""
    rows = [
        (c["mode"], c["mean_batch"], c["duration_s"], c["shared_g"], c["grams_per_1000_output_tokens"])
        for c in results["contrasts"]
    ]
    return markdown(("batching", "mean batch", "seconds", "gCO2e", "g per 1,000 output tokens"), rows)


TABLES: Final[dict[str, Callable[[Record], str]]] = {
    "facts": facts,
    "fairness": fairness,
    "bias": bias,
    "truths": truths,
    "sample efficiency": sample_efficiency,
    "exponents": exponents,
    "incentive": incentive,
    "axioms": axioms,
    "batching": batching,
}

if __name__ == "__main__":
    main()
