"""Plots of the evaluation on measured sub-batches, as SVG in the report's own colours."""

from typing import Final

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from evaluation.measured_results import Measured
from evaluation.plot_style import INK, RULE, SERIES, SOFT, STYLE, figure, svg

__all__ = ["measured_plots"]

_LEAST_PERCENT: Final = 1e-2
"""Below, a logarithmic axis says no more than that a distance is nothing."""


def measured_plots(found: Measured) -> dict[str, str]:
    """Every plot by name."""
    with mpl.rc_context(STYLE):
        return {"methods": svg(_methods(found)), "requests": svg(_requests(found))}


def _methods(found: Measured) -> Figure:
    """Mean distance with its interval, the worst request, and each batch, per method."""
    overall = [r for r in found.methods if r.batch == "all"]
    drawn, axes = figure(9, 0.36 * len(overall) + 0.9)
    for row, result in enumerate(overall):
        own = [r.mean_percent for r in found.methods if r.method == result.method and r.batch != "all"]
        low, mean, high, worst = (
            max(v, _LEAST_PERCENT)
            for v in (result.low_percent, result.mean_percent, result.high_percent, result.worst_percent)
        )
        axes.plot([low, worst], [row, row], color=RULE, lw=5, solid_capstyle="round", zorder=1)
        axes.plot(np.maximum(own, _LEAST_PERCENT), [row] * len(own), "|", color=SERIES[2], ms=9, zorder=2)
        axes.plot([low, high], [row, row], color=SERIES[0], lw=2, zorder=3)
        axes.plot(mean, row, "o", color=SERIES[0], ms=8, zorder=4)
        axes.plot(worst, row, ">", color=SERIES[1], ms=6, zorder=3)
    axes.set_yticks(range(len(overall)), [r.title for r in overall])
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.set_xlabel("distance to the measured Shapley value, per cent of it")
    axes.grid(axis="x")
    axes.tick_params(axis="y", length=0, labelcolor=INK)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g} %")
    marks = [
        mpl.lines.Line2D([], [], ls="-", marker="o", color=SERIES[0], ms=8),
        mpl.lines.Line2D([], [], ls="", marker="|", color=SERIES[2], ms=9),
        mpl.lines.Line2D([], [], ls="", marker=">", color=SERIES[1], ms=6),
    ]
    labels = ["mean request, with 90 % interval", "each batch", "worst request"]
    axes.legend(marks, labels, loc="lower left", bbox_to_anchor=(-0.02, 1.0), ncols=3, fontsize=9)
    return drawn


def _requests(found: Measured) -> Figure:
    """One dot per request: our share against the measured Shapley value, both with their intervals."""
    drawn, axes = figure(5.6, 4.6)
    ends = []
    for number, batch in enumerate(found.batches):
        x, y = np.array(batch.shapley_j), np.array(batch.ours_j)
        axes.errorbar(
            x, y, xerr=batch.half_widths_j, yerr=batch.ours_half_widths_j, fmt="o" if number < len(SERIES) else "D",
            ms=4, lw=1, color=SERIES[number % len(SERIES)], label=batch.batch,
        )  # fmt: skip
        ends += [x.min(), y.min(), x.max(), y.max()]
    axes.plot([min(ends), max(ends)], [min(ends), max(ends)], color=SOFT, lw=1, ls=(0, (4, 3)), zorder=0)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("measured Shapley value, J")
    axes.set_ylabel("our share, J")
    axes.grid(which="major")
    axes.legend(loc="upper left", fontsize=9)
    return drawn
