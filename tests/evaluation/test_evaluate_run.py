"""A whole evaluation: resumable, deterministic, and nothing is written until everything is known to be good."""

import json
import re
from html.parser import HTMLParser
from math import isfinite

import pytest
from click.testing import CliRunner

from evaluation.files import write_results
from evaluation.methods import ALL
from evaluation.plan import CarbonOptions, Plan, RuntimeOptions, Sizes
from evaluation.report import render
from evaluation.results import plain
from evaluation.run import evaluate, prepare
from evaluation.store import Store, write_atomically
from evaluation.workload import Workload
from wattledger.commands.evaluate import command

TINY = Sizes(
    cases=2,
    case_requests=4,
    sampled_requests=13,
    sampled_permutations=8,
    repeats=3,
    ladder=2,
    scale_sizes=3,
    scale_limit_s=9.0,
    scale_repeats=1,
    incentive_groups=1,
    incentive_requests=2,
)
METHODS = tuple(name for name in ALL if name != "sampled")
MEASURED = ("seconds", "seconds_min", "seconds_max", "exponent", "standard_error")


def plan(trace: str = "sample:azure", methods=METHODS, **runtime) -> Plan:
    return Plan(
        workload=Workload(trace, requests=24, pace=8.0, max_output_tokens=20),
        runtime=RuntimeOptions("llama-3.1-70b-4xh100", **runtime),
        carbon=CarbonOptions(),
        methods=methods,
        sizes=TINY,
        seed=1,
    )


class Stopped(Exception):  # noqa: N818
    """Stands for Ctrl-C."""


def quiet(stage):
    return lambda done, total: None


def stopping_at(name):
    def progress(stage):
        def tell(done, total):
            if stage == name:
                raise Stopped

        return tell

    return progress


def run(directory, progress=quiet, the_plan=None):
    return evaluate(
        prepare(the_plan or plan()), directory, command="wattledger evaluate", pool=None, progress=progress
    )


def figures(value):
    """Everything but measured times."""
    if isinstance(value, dict):
        return {k: figures(v) for k, v in value.items() if k not in MEASURED}
    return [figures(item) for item in value] if isinstance(value, list) else value


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    return run(tmp_path_factory.mktemp("evaluation"))


@pytest.fixture(scope="module")
def html(results):
    return render(results)


def test_an_interrupted_run_goes_on_where_it_stopped_and_finds_the_same_figures(
    tmp_path, results, monkeypatch
):
    with pytest.raises(Stopped):
        run(tmp_path, stopping_at("batching contrast"))
    done = {path.name for path in (tmp_path / ".pieces").iterdir()}
    assert done
    computed = []
    piece = Store.piece

    def counted(self, name, inputs, compute):
        return piece(self, name, inputs, lambda: (computed.append(name), compute())[1])

    monkeypatch.setattr(Store, "piece", counted)
    again = run(tmp_path)
    assert "case" not in computed
    assert "charges" not in computed
    assert figures(plain(again)) == figures(plain(results))


def test_both_truths_are_reported_against_each_other(results):
    enumerated, sampled = results.truth_gaps
    assert enumerated.requests == 8
    assert enumerated.half_width_percent == 0.0
    assert sampled.requests == 13
    assert sampled.half_width_percent > 0.0
    assert 0.0 < enumerated.mean_percent <= enumerated.worst_percent


def test_every_method_is_measured_by_every_criterion(results):
    for method in METHODS:
        assert {(d.truth, d.by) for d in results.distances if d.method == method} == {
            ("per-iteration", "request"),
            ("per-iteration", "tenant"),
            ("counterfactual", "request"),
            ("sampled counterfactual", "request"),
        }
        assert len([t for t in results.timings if t.method == method]) == 4 * TINY.scale_sizes
        assert len([r for r in results.rewards if r.method == method]) == 3
        assert len([v for v in results.verdicts if v.method == method]) == 4


def test_static_batching_emits_more_for_the_same_requests(results):
    continuous, static = results.contrasts
    assert static.mean_batch < continuous.mean_batch
    assert static.shared_g > continuous.shared_g


class References(HTMLParser):
    """Collects what a page would fetch, and its text."""

    def __init__(self):
        super().__init__()
        self.fetched, self.text = [], []

    def handle_starttag(self, tag, attrs):
        self.fetched += [
            value
            for name, value in attrs
            if name in ("src", "href", "xlink:href", "data") and value and not value.startswith("#")
        ]

    def handle_data(self, data):
        self.text.append(data)


def test_the_report_is_one_file_that_needs_nothing_else(results, html):
    page = References()
    page.feed(html)
    assert page.fetched == []
    assert "@import" not in html
    assert html.count("<svg") == 7
    text = " ".join(page.text)
    for title in {d.title for d in results.distances}:
        assert title in text
    for words in (
        "Two ground truths",
        "7·T",
        "8.5·T",
        "38 stay with the provider",
        "No public table of energy per operator",
    ):
        assert words in text
    assert results.about.command in text


def test_every_figure_is_in_json_and_csv(tmp_path, results, html):
    names = {path.name for path in write_results(results, tmp_path, html)}
    assert {
        "report.html",
        "results.json",
        "summary.csv",
        "fairness.csv",
        "requests.csv",
        "axioms.csv",
    } <= names
    document = json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))
    assert document["token_case"] == {"by_linearity": 7.0, "by_proportionality": 8.5}
    assert document["about"]["seed"] == 1
    assert {"python", "numpy", "wattledger"} <= set(document["about"]["versions"])
    rows = (tmp_path / "requests.csv").read_text(encoding="utf-8").splitlines()
    assert len(rows) == 1 + 24
    assert len(rows[0].split(",")) > len(METHODS)
    assert all(isfinite(float(cell)) for cell in rows[1].split(","))
    assert not [path for path in tmp_path.iterdir() if path.suffix == ".tmp"]


def test_a_file_appears_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "results.json"
    write_atomically(path, "first")

    def failing(self, target):
        raise KeyboardInterrupt

    monkeypatch.setattr("pathlib.Path.replace", failing)
    with pytest.raises(KeyboardInterrupt):
        write_atomically(path, "second")
    assert path.read_text(encoding="utf-8") == "first"


HEAD = "arrival_s,prompt_tokens,output_tokens,tenant\n0,5,3,a\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("arrival_s,prompt_tokens,tenant\n0,5,a\n", r":1: column output_tokens is missing"),
        (HEAD + "1,-5,3,a\n", r":3: column prompt_tokens is -5"),
        (HEAD + "1,5,300000000,a\n", r":3: column output_tokens is 300000000"),
        (HEAD + "9,5,3,a\n1,5,3,a\n", r":4: column arrival_s is 8 s earlier .* sort the file"),
        (
            HEAD + "1,500000,9,a\n",
            r":3: prompt_tokens 500000 \+ output_tokens 9 exceed the 459000 KV tokens .* remove",
        ),
    ],
)
def test_a_bad_trace_is_named_by_line_and_column_and_nothing_is_written(tmp_path, text, message):
    trace, out = tmp_path / "own.csv", tmp_path / "out"
    trace.write_text(text, encoding="utf-8")
    result = CliRunner().invoke(command, ["--trace", str(trace), "--out", str(out), "--quick"])
    assert result.exit_code != 0
    assert re.search(str(trace) + message, str(result.exception))
    assert not out.exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ["--methods", "nonsense"],
        ["--engine", "none"],
        ["--token-budget", "3"],
        ["--max-batch", "100000"],
        ["--intensity-file", "nowhere.csv"],
        ["--intensity", "0", "--embodied", "0"],
        ["--intensity", "0", "--account", "always_on"],
        ["--engine-file", "nowhere.yaml"],
    ],
)
def test_a_wrong_option_is_found_before_anything_is_written(tmp_path, arguments):
    out = tmp_path / "out"
    result = CliRunner().invoke(command, [*arguments, "--requests", "5", "--out", str(out)])
    assert result.exit_code != 0
    assert not out.exists()


def test_the_command_prints_one_table_and_says_where_the_report_is(tmp_path):
    out = tmp_path / "out"
    arguments = ["--quick", "--requests", "20", "--pace", "8", "--max-output", "12", "--processes", "1"]
    chosen = ["--methods", "shapley,token:1/4", "--out", str(out)]
    result = CliRunner().invoke(command, [*arguments, *chosen], catch_exceptions=False)
    assert result.exit_code == 0
    assert "Shapley, closed form (ours)" in result.output
    assert "per token, weights 1:4" in result.output
    assert str(out / "report.html") in result.output
    assert (out / "report.html").exists()
    again = CliRunner().invoke(command, [*arguments, *chosen, "--json"], catch_exceptions=False)
    document = json.loads(again.stdout)
    assert [row["method"] for row in document["summary"]] == [
        "Shapley, closed form (ours)",
        "per token, weights 1:4",
    ]
