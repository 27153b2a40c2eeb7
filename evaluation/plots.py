"""The report's plots as SVG text, in the page's own colours and font."""

from collections.abc import Callable
from typing import Final

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from evaluation.criteria.incentive import EFFORTS, TRUTHS
from evaluation.criteria.scalability import AXES
from evaluation.plot_style import INK, RULE, SERIES, SOFT, STYLE, figure, svg
from evaluation.results import Results

__all__ = ["plots"]


def plots(results: Results) -> dict[str, str]:
    """Every plot by name."""
    drawn = {}
    drawings: dict[str, Callable[[Results], Figure]] = {
        "fairness": _fairness,
        "truths": _truths,
        "bias": _bias,
        "sample_efficiency": _sample_efficiency,
        "scalability": _scalability,
        "incentive": _incentive,
        "figure1": _figure1,
    }
    with mpl.rc_context(STYLE):
        for name, draw in drawings.items():
            drawn[name] = svg(draw(results))
    return drawn


def _titles(results: Results) -> dict[str, str]:
    return {d.method: d.title for d in results.distances}


def _fairness(results: Results) -> Figure:
    """Mean to 95th percentile to worst request, per method, on a logarithmic scale."""
    titles = _titles(results)
    names = list(titles)
    found = {(d.method, d.truth, d.by): d.distance for d in results.distances}
    drawn, axes = figure(9, 0.36 * len(names) + 0.9)
    for row, name in enumerate(names):
        own = found[name, "per-iteration", "request"]
        low, middle, high = (max(v, 1e-2) for v in (own.mean_percent, own.p95_percent, own.worst_percent))
        axes.plot([low, high], [row, row], color=RULE, lw=5, solid_capstyle="round", zorder=1)
        axes.plot(low, row, "o", color=SERIES[0], ms=8, zorder=3)
        axes.plot(middle, row, "|", color=SERIES[0], ms=13, mew=2.4, zorder=3)
        axes.plot(high, row, ">", color=SERIES[1], ms=6, zorder=3)
        other = max(found[name, "counterfactual", "request"].mean_percent, 1e-2)
        axes.plot(other, row, "D", mfc="none", mec=SERIES[2], mew=1.6, ms=6, zorder=4)
    axes.set_yticks(range(len(names)), [titles[name] for name in names])
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.set_xlabel("distance to the Shapley value, per cent of it")
    axes.grid(axis="x")
    axes.tick_params(axis="y", length=0, labelcolor=INK)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g} %")
    marks = [
        mpl.lines.Line2D([], [], ls="", marker="o", color=SERIES[0], ms=8),
        mpl.lines.Line2D([], [], ls="", marker="|", color=SERIES[0], ms=13, mew=2.4),
        mpl.lines.Line2D([], [], ls="", marker=">", color=SERIES[1], ms=6),
        mpl.lines.Line2D([], [], ls="", marker="D", mfc="none", mec=SERIES[2], mew=1.6, ms=6),
    ]
    labels = [
        "mean request",
        "95th percentile",
        "worst request",
        "mean, against the counterfactual truth",
    ]
    axes.legend(
        marks,
        labels,
        loc="lower left",
        bbox_to_anchor=(-0.02, 1.0),
        ncols=4,
        fontsize=9,
        handletextpad=0.2,
    )
    return drawn


def _truths(results: Results) -> Figure:
    """One dot per request of the enumerated groups: counterfactual against per-iteration value."""
    drawn, axes = figure(4.6, 4.2)
    shown = [(results.cases, SERIES[0], "enumerated")]
    if results.sampled_case is not None:
        shown.append(([results.sampled_case], SERIES[1], "sampled, with intervals"))
    low, high = np.inf, 0.0
    for cases, colour, label in shown:
        x = np.concatenate([np.array(case.counterfactual_g) for case in cases]) * 1000
        y = np.concatenate([np.array(case.per_iteration_g) for case in cases]) * 1000
        widths = np.concatenate([np.array(case.half_widths_g) for case in cases]) * 1000
        axes.errorbar(
            x,
            y,
            xerr=widths if widths.any() else None,
            fmt="o",
            ms=4,
            color=colour,
            alpha=0.75,
            lw=1,
            label=label,
        )
        low, high = min(low, x.min(), y.min()), max(high, x.max(), y.max())
    axes.plot([low, high], [low, high], color=SOFT, lw=1, ls=(0, (4, 3)), zorder=0)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("counterfactual Shapley value, mgCO2e")
    axes.set_ylabel("per-iteration Shapley value, mgCO2e")
    axes.grid(which="major")
    axes.legend(loc="upper left", fontsize=9)
    return drawn


def _bias(results: Results) -> Figure:
    """Signed error by class of requests, one panel per class."""
    titles = _titles(results)
    classes = list(dict.fromkeys(b.requests_class for b in results.biases))
    names = [name for name in titles if any(b.method == name for b in results.biases)]
    drawn, grid = figure(10.5, 0.3 * len(names) + 1.0, len(classes), sharey=True, squeeze=False)
    for axes, name in zip(grid[0], classes, strict=True):
        shown = {b.method: b for b in results.biases if b.requests_class == name}
        values = [shown[method].signed_percent for method in names]
        colours = [SERIES[1] if value > 0 else SERIES[0] for value in values]
        axes.barh(range(len(names)), values, color=colours, height=0.62)
        axes.set_xscale("symlog", linthresh=10)
        axes.axvline(0, color=SOFT, lw=1)
        limit = max(20.0, *(abs(value) for value in values)) * 1.6
        axes.set_xlim(-limit, limit)
        axes.set_xticks([t for t in (-1000, -100, -10, 0, 10, 100, 1000) if abs(t) <= limit])
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:+g}" if value else "0")
        axes.tick_params(axis="x", labelsize=8)
        one = next(iter(shown.values()))
        axes.set_title(
            f"{name}\n{one.requests} requests, {one.share_percent:.0f} % of carbon",
            fontsize=9,
            loc="left",
        )
        axes.grid(axis="x")
        axes.tick_params(axis="y", length=0, labelcolor=INK)
    grid[0][0].set_yticks(range(len(names)), [titles[name] for name in names])
    grid[0][0].invert_yaxis()
    drawn.supxlabel("charged too little (–) or too much (+), per cent", fontsize=9.5, color=SOFT)
    return drawn


def _sample_efficiency(results: Results) -> Figure:
    games = list(dict.fromkeys(e.game for e in results.efficiencies))
    drawn, grid = figure(9, 3.3, len(games), squeeze=False)
    for axes, game in zip(grid[0], games, strict=True):
        estimators = list(dict.fromkeys(e.estimator for e in results.efficiencies))
        for colour, estimator in zip((SERIES[1], SERIES[0]), estimators, strict=False):
            mine = [e for e in results.efficiencies if e.game == game and e.estimator == estimator]
            x = [100 * e.epsilon for e in mine]
            axes.plot(
                x,
                [e.worst_player for e in mine],
                "o-",
                color=colour,
                ms=5,
                label=f"{estimator}, worst request",
            )
            axes.plot(
                x,
                [e.median_player for e in mine],
                "o--",
                mfc="none",
                color=colour,
                ms=5,
                label=f"{estimator}, median",
            )
            never = [e for e in mine if not np.isfinite(e.worst_player)]
            axes.plot(
                [100 * e.epsilon for e in never],
                [e.largest_tried for e in never],
                "x",
                color=colour,
                ms=7,
                mew=2,
            )
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_xticks([1, 2, 5, 10, 20], ["1 %", "2 %", "5 %", "10 %", "20 %"])
        axes.minorticks_off()
        axes.set_xlabel("ε, of each request's own value")
        axes.set_title(game, fontsize=9.5, loc="left")
        axes.grid()
    grid[0][0].set_ylabel("evaluations of v needed")
    handles, labels = grid[0][0].get_legend_handles_labels()
    drawn.legend(handles, labels, loc="outside upper left", ncols=2, fontsize=9)
    return drawn


_HIGHLIGHTED: Final = ("shapley", "truncated", "sampled", "leave_one_out")


def _scalability(results: Results) -> Figure:
    titles = _titles(results)
    drawn, grid = figure(10.5, 3.3, len(AXES), sharey=True, squeeze=False)
    for axes, axis in zip(grid[0], AXES, strict=True):
        for name, title in titles.items():
            points = [t for t in results.timings if t.axis == axis and t.method == name]
            kind = name.partition(":")[0]
            known = kind in _HIGHLIGHTED
            colour = SERIES[_HIGHLIGHTED.index(kind)] if known else SOFT
            axes.plot(
                [getattr(t, axis) for t in points],
                [t.seconds for t in points],
                "o-",
                ms=4 if known else 2.5,
                lw=1.8 if known else 0.8,
                alpha=1 if known else 0.55,
                color=colour,
                label=title if known else ("the proportional methods" if name == "request" else None),
            )
        axes.set_xscale("log", base=2)
        axes.set_yscale("log")
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
        axes.tick_params(axis="x", labelsize=8, rotation=30)
        axes.set_xlabel(axis)
        axes.grid()
    grid[0][0].set_ylabel("seconds")
    handles, labels = grid[0][0].get_legend_handles_labels()
    drawn.legend(handles, labels, loc="outside upper left", ncols=3, fontsize=9)
    return drawn


def _incentive(results: Results) -> Figure:
    titles = _titles(results)
    names = list(titles)
    found = {(r.effort, r.method): r for r in results.rewards}
    drawn, grid = figure(10.5, 0.3 * len(names) + 1.1, len(EFFORTS), sharey=True, squeeze=False)
    for axes, effort in zip(grid[0], EFFORTS, strict=True):
        truth = 100 * found[effort, TRUTHS[0]].mean
        other = 100 * found[effort, TRUTHS[1]].mean
        axes.axvline(truth, color=SERIES[2], lw=2, label="true reward, counterfactual")
        axes.axvline(other, color=SERIES[2], lw=1.2, ls=(0, (4, 3)), label="true reward, per iteration")
        axes.axvline(0, color=SOFT, lw=1)
        axes.barh(
            range(len(names)),
            [100 * found[effort, n].mean for n in names],
            color=SERIES[0],
            height=0.6,
            zorder=0,
        )
        axes.set_title(effort, fontsize=9.5, loc="left")
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:g} %")
        axes.grid(axis="x")
        axes.tick_params(axis="y", length=0, labelcolor=INK)
    grid[0][0].set_yticks(range(len(names)), [titles[name] for name in names])
    grid[0][0].invert_yaxis()
    handles, labels = grid[0][0].get_legend_handles_labels()
    drawn.legend(handles, labels, loc="outside upper left", ncols=2, fontsize=9)
    return drawn


def _figure1(results: Results) -> Figure:
    data = results.figure1
    drawn, (left, right) = figure(10, 3.5, 2)
    for colour, (name, values) in zip(SERIES, data["classes_ms"].items(), strict=False):
        left.plot(data["tokens"], values, "o-", ms=3, lw=1.5, color=colour, label=name)
    left.set_xscale("log", base=2)
    left.set_yscale("log")
    left.set_xlabel("tokens in the iteration")
    left.set_ylabel("milliseconds, all layers")
    left.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    left.grid()
    left.legend(fontsize=9)
    right.plot(data["batch"], data["iteration_j"], "o-", ms=4, color=SERIES[0], label="one iteration")
    right.set_xlabel("requests in the batch")
    right.set_ylabel("joules per iteration", color=SERIES[0])
    right.set_ylim(0)
    right.grid()
    per_token = right.twinx()
    per_token.plot(data["batch"], data["token_j"], "o--", ms=4, mfc="none", color=SERIES[1])
    per_token.set_ylabel("joules per token", color=SERIES[1])
    per_token.set_ylim(0)
    per_token.spines["right"].set_visible(True)
    return drawn
