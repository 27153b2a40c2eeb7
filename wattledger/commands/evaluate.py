"""`wattledger evaluate`: judge attribution methods on a trace, before choosing one."""

import json
import shlex
import sys
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import click

from evaluation.coalitions import workers
from evaluation.files import write_results
from evaluation.methods import ALL
from evaluation.plan import FULL, QUICK, CarbonOptions, Plan, RuntimeOptions
from evaluation.results import plain
from evaluation.run import evaluate, prepare
from evaluation.tables import summary
from evaluation.workload import Workload
from producers.simulation.engine_types import engine_types
from producers.simulation.presets import TRACE_FORMATS
from schemas.errors import ConfigurationError
from wattledger.evaluate_output import progress_on, text_table

__all__ = ["command"]

_QUICK_REQUESTS = 160


@click.command("evaluate")
@click.option(
    "--trace",
    default="sample:azure",
    show_default=True,
    help="A trace's file or directory; sample:azure, sample:mooncake, sample:servegen; or synthetic.",
)
@click.option(
    "--format", "trace_format", type=click.Choice(TRACE_FORMATS), help="Told from the file if left out."
)
@click.option("--requests", type=click.IntRange(2), help="Only the first so many.")
@click.option(
    "--pace", type=click.FloatRange(0, min_open=True), default=1.0, show_default=True,
    help="Play arrivals so much faster than recorded.",
)  # fmt: skip
@click.option(
    "--rate", type=click.FloatRange(0, min_open=True), default=4.0, show_default=True,
    help="Requests per second of a drawn trace (ServeGen, synthetic).",
)  # fmt: skip
@click.option(
    "--max-output", type=click.IntRange(1), help="As if every client had asked for at most so many tokens."
)
@click.option(
    "--engine",
    default="llama-3.1-70b-4xh100",
    show_default=True,
    help=f"Engine type: {', '.join(engine_types())}, or one in --engine-file.",
)
@click.option("--engine-file", type=click.Path(path_type=Path), help="YAML with engine types of your own.")
@click.option(
    "--batching", type=click.Choice(["continuous", "static"]), default="continuous", show_default=True
)
@click.option("--prefix-cache/--no-prefix-cache", default=True, show_default=True)
@click.option("--max-batch", type=click.IntRange(1), help="Instead of the engine type's.")
@click.option("--token-budget", type=click.IntRange(1), help="Instead of the engine type's.")
@click.option(
    "--kv-capacity", type=click.IntRange(1), help="KV cache in tokens, instead of the engine type's."
)
@click.option(
    "--intensity", type=click.FloatRange(0), default=400.0, show_default=True, help="gCO2e per kWh."
)
@click.option(
    "--intensity-file",
    type=click.Path(path_type=Path),
    help="CSV: time_s, intensity_g_per_kwh; each value holds until the next.",
)
@click.option(
    "--embodied", type=click.FloatRange(0), help="gCO2e per second; left out: 876 kg per GPU over 3 years."
)
@click.option("--embodied-file", type=click.Path(path_type=Path), help="CSV: time_s, embodied_g_per_s.")
@click.option(
    "--account",
    type=click.Choice(["serving", "always_on"]),
    default="serving",
    show_default=True,
    help="serving: carbon while iterations run. always_on: the engine's whole life; requests share C(N) - C(idle).",
)
@click.option(
    "--methods", default="all", show_default=True,
    help="Names with commas; arguments after a colon, joined by a slash: shapley,truncated:200,token:1/4.",
)  # fmt: skip
@click.option("--seed", type=click.IntRange(0), default=1, show_default=True)
@click.option(
    "--processes",
    type=click.IntRange(1),
    default=2,
    show_default=True,
    help="For counterfactual simulations.",
)
@click.option(
    "--measured", type=click.Path(path_type=Path, file_okay=False), metavar="DIR",
    help="Judge against sub-batches measured on a GPU, not a simulation; only --seed, --out, --json apply.",
)  # fmt: skip
@click.option("--quick", is_flag=True, help="Smaller samples everywhere: within a minute on two cores.")
@click.option(
    "--out", type=click.Path(path_type=Path, file_okay=False), default=Path("evaluation-report"), show_default=True,
    help="Where report.html, results.json and the CSV files go.",
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print the table as JSON.")
def command(**options: Any) -> None:
    """Measure how far attribution methods are from the Shapley value, on a trace and an engine.

    After Li et al. (SIGMETRICS PER, August 2025): requests, a simulated runtime and a carbon model in; fairness,
    scalability, sample efficiency and incentive out, with the axioms that each method breaks. Prints one table and
    writes a self-contained report with plots, JSON and CSV of every figure. Ctrl-C loses nothing: the same command
    goes on where it stopped.

    \b
    Examples:
      wattledger evaluate --quick
      wattledger evaluate --trace AzureLLMInferenceTrace_code.csv --pace 4 --requests 1000 --out azure
      wattledger evaluate --trace own.csv --engine qwen3-30b-a3b-2xh100 --methods shapley,leave_one_out,token:1/4
      wattledger evaluate --measured benchmarks/gpu/data

    A method of your own is a function (run, seed) -> gCO2e per request, published as an entry point of the group
    wattledger.methods and named in --methods.
    """
    if find_spec("matplotlib") is None or find_spec("jinja2") is None:
        raise ConfigurationError("the report needs matplotlib and jinja2: pip install 'wattledger[reports]'")
    out: Path = options["out"]
    if options["measured"] is not None:
        _judge_measured(options["measured"], out, options["seed"], options["as_json"])
        return
    from evaluation.report import render

    plan = _plan(options)
    prepared = prepare(plan)
    line = shlex.join(["wattledger", *sys.argv[1:]])
    try:
        with workers(options["processes"]) as pool:
            results = evaluate(prepared, out, command=line, pool=pool, progress=progress_on(sys.stderr))
    except KeyboardInterrupt:
        click.echo(f"\nstopped; what is done is kept in {out}, the same command goes on from there", err=True)
        sys.exit(130)
    paths = write_results(results, out, render(results))
    table = summary(results)
    if options["as_json"]:
        rows = [dict(zip(table.columns, row, strict=True)) for row in table.rows]
        click.echo(json.dumps({"summary": plain(rows), "files": [str(path) for path in paths]}, indent=2))
    else:
        click.echo(text_table(table))
        click.echo(f"\n{out / 'report.html'}")


def _judge_measured(directory: Path, out: Path, seed: int, as_json: bool) -> None:
    """Methods and energy model against measured sub-batches: tables, or everything as JSON; a page either way."""
    from evaluation.measured import evaluate_measured
    from evaluation.measured_data import read_measured
    from evaluation.measured_report import write_measured
    from evaluation.measured_tables import measured_tables

    found = evaluate_measured(read_measured(directory), seed=seed)
    paths = write_measured(found, out)
    if as_json:
        click.echo(json.dumps({"measured": plain(found), "files": [str(path) for path in paths]}, indent=2))
        return
    for table in measured_tables(found)[:5]:
        click.echo(f"{table.title}\n{text_table(table)}\n")
    for model in found.models:
        for flag in model.flags:
            click.echo(f"{model.model}: {flag}")
    click.echo(out / "measured.html")


def _plan(options: dict[str, Any]) -> Plan:
    workload = Workload(
        trace=options["trace"],
        trace_format=options["trace_format"],
        requests=options["requests"],
        pace=options["pace"],
        requests_per_s=options["rate"],
        max_output_tokens=options["max_output"],
    )
    if options["quick"] and workload.requests is None:
        workload = replace(workload, requests=_QUICK_REQUESTS)
    names = options["methods"]
    methods = ALL if names == "all" else tuple(name.strip().replace("/", ",") for name in names.split(","))
    return Plan(
        workload=workload,
        runtime=RuntimeOptions(
            engine=options["engine"],
            engine_file=options["engine_file"],
            mode=options["batching"],
            prefix_cache=options["prefix_cache"],
            max_batch=options["max_batch"],
            token_budget=options["token_budget"],
            kv_capacity_tokens=options["kv_capacity"],
        ),
        carbon=CarbonOptions(
            intensity_g_per_kwh=options["intensity"],
            intensity_file=options["intensity_file"],
            embodied_g_per_s=options["embodied"],
            embodied_file=options["embodied_file"],
            account=options["account"],
        ),
        methods=methods,
        sizes=QUICK if options["quick"] else FULL,
        seed=options["seed"],
    )
