"""Geometry of the page's plots: figures in, coordinates and paths out; the templates draw them.

Plots are drawn in a box of WIDTH × HEIGHT that the browser stretches to the space at hand; labels are text of
the page outside the drawing, so that they stay readable on a phone and to a screen reader.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import numpy as np
from numpy.typing import NDArray

from streams.answers.fleet import Efficiency, PowerOverTime
from streams.answers.periods import Period
from streams.answers.quantities import POWER_UNITS, fitting, plain, power
from streams.batch import ACCOUNTS

__all__ = [
    "Band",
    "Dots",
    "PowerPlot",
    "ScatterPlot",
    "Tick",
    "nice_above",
    "plot_efficiency",
    "plot_power",
    "step_path",
    "time_ticks",
]

WIDTH: Final = 1000
HEIGHT: Final = 100

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Tick:
    """A label at `percent` of an axis, from the left or from the bottom."""

    percent: float
    label: str


@dataclass(frozen=True, slots=True)
class Band:
    """One account's area in a stack."""

    account: str
    path: str


@dataclass(frozen=True, slots=True)
class PowerPlot:
    """A group's power over time, stacked by account."""

    group_id: str
    mean: str
    peak: str
    summary: str
    """What the plot shows, in words."""
    bands: tuple[Band, ...]
    y_ticks: tuple[Tick, ...]
    x_ticks: tuple[Tick, ...]


@dataclass(frozen=True, slots=True)
class Dots:
    """One group's points in a scatter plot, as strokes of no length with round ends."""

    group_id: str
    path: str


@dataclass(frozen=True, slots=True)
class ScatterPlot:
    """Energy per token against batch size, both logarithmic."""

    dots: tuple[Dots, ...]
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]


def plot_power(group: PowerOverTime, period: Period) -> PowerPlot:
    """Lay one group's steps out over `period`; its own power scale, from zero."""
    total_w = group.total_w
    top_w = nice_above(float(total_w.max()))
    unit = fitting([top_w], POWER_UNITS)
    origin_ns, end_ns = (round(instant.timestamp()) * 10**9 for instant in (period.start, period.end))
    left = (group.at_ns - origin_ns) / (end_ns - origin_ns) * WIDTH
    right = (group.at_ns + group.step_s * 1e9 - origin_ns) / (end_ns - origin_ns) * WIDTH
    left, right = np.clip(left, 0, WIDTH), np.clip(right, 0, WIDTH)
    upper = np.cumsum(group.power_w, axis=0)
    lower = np.vstack([np.zeros_like(total_w), upper[:-1]])
    bands = tuple(
        Band(account, step_area(left, right, height_of(lower[i], top_w), height_of(upper[i], top_w)))
        for i, account in enumerate(ACCOUNTS)
        if group.power_w[i].any()
    )
    mean, peak = power(float(total_w.mean())), power(float(total_w.max()))
    parts = ", ".join(
        f"{account.replace('_', ' ')} {power(float(group.power_w[i].mean()))}"
        for i, account in enumerate(ACCOUNTS)
        if group.power_w[i].any()
    )
    return PowerPlot(
        group_id=group.group_id,
        mean=mean,
        peak=peak,
        summary=f"Power of {group.group_id} in steps of {group.step_s:g} s: mean {mean} ({parts}), peak {peak}.",
        bands=bands,
        y_ticks=tuple(
            Tick(100 * share, f"{plain(share * top_w / unit.size)} {unit.symbol}") for share in (0.5, 1.0)
        ),
        x_ticks=time_ticks(period),
    )


def plot_efficiency(groups: Sequence[Efficiency]) -> ScatterPlot | None:
    """Every step of every group as one dot; None where there is nothing to show."""
    if not groups:
        return None
    x_range = log_range(np.concatenate([group.mean_batch for group in groups]))
    y_range = log_range(np.concatenate([group.joules_per_token for group in groups]))
    dots = []
    for group in groups:
        x, y = along(group.mean_batch, x_range), along(group.joules_per_token, y_range)
        path = "".join(
            f"M{x_i * WIDTH:.1f} {(1 - y_i) * HEIGHT:.2f}h0"
            for x_i, y_i in zip(x.tolist(), y.tolist(), strict=True)
        )
        dots.append(Dots(group.group_id, path))
    return ScatterPlot(tuple(dots), log_ticks(x_range), log_ticks(y_range))


def step_path(at_s: Floats, step_s: float, power_w: Floats, top_w: float, period: Period) -> str:
    """Path of one area over `period`: (T,) starts of steps in Unix seconds and their (T,) watts."""
    if not len(at_s):
        return ""
    start_s, length_s = period.start.timestamp(), period.duration.total_seconds()
    left = np.clip((at_s - start_s) / length_s * WIDTH, 0, WIDTH)
    right = np.clip((at_s + step_s - start_s) / length_s * WIDTH, 0, WIDTH)
    return step_area(left, right, height_of(np.zeros_like(power_w), top_w), height_of(power_w, top_w))


def step_area(left: Floats, right: Floats, lower: Floats, upper: Floats) -> str:
    """Path of the area between two step functions; steps that do not touch are apart."""
    breaks = np.flatnonzero(left[1:] > right[:-1] + 1e-6) + 1
    parts = []
    for run in np.split(np.arange(len(left)), breaks):
        there = [f"M{left[run[0]]:.1f} {lower[run[0]]:.2f}"]
        there += [f"V{upper[i]:.2f}H{right[i]:.1f}" for i in run]
        back = [f"V{lower[i]:.2f}H{left[i]:.1f}" for i in run[::-1]]
        parts.append("".join([*there, *back, "Z"]))
    return "".join(parts)


def height_of(value_w: Floats, top_w: float) -> Floats:
    """Vertical coordinate, downwards."""
    return np.asarray(HEIGHT * (1.0 - value_w / top_w))


def nice_above(value: float) -> float:
    """The least of 1, 1.5, 2, 3, 4, 5, 6, 8 × 10^k that is at least `value`."""
    if value <= 0:
        return 1.0
    scale = 10.0 ** math.floor(math.log10(value))
    return next(step * scale for step in (1, 1.5, 2, 3, 4, 5, 6, 8, 10) if step * scale >= value * (1 - 1e-9))


def time_ticks(period: Period) -> tuple[Tick, ...]:
    """Start, quarters and end of a period, as times of day or as dates, in UTC."""
    seconds = period.duration.total_seconds()
    pattern = "%H:%M:%S" if seconds < 1200 else "%H:%M" if seconds <= 86400 * 1.5 else "%d %b"
    at = (period.start.timestamp() + share * seconds for share in (0.0, 0.5, 1.0))
    labels = (datetime.fromtimestamp(instant, UTC).strftime(pattern) for instant in at)
    return tuple(Tick(percent, label) for percent, label in zip((0.0, 50.0, 100.0), labels, strict=True))


def log_range(values: Floats) -> tuple[float, float]:
    """Least and largest logarithm with a margin, at least one decade apart."""
    low, high = float(np.log10(values.min())), float(np.log10(values.max()))
    margin = 0.04 * max(high - low, 1.0)
    middle, half = (low + high) / 2, max((high - low) / 2, 0.5) + margin
    return middle - half, middle + half


def along(values: Floats, span: tuple[float, float]) -> Floats:
    """Where `values` lie on a logarithmic axis, 0 to 1."""
    return np.asarray((np.log10(values) - span[0]) / (span[1] - span[0]))


def log_ticks(span: tuple[float, float]) -> tuple[Tick, ...]:
    """1, 2 and 5 of every decade in the range; only 1 where that would be many."""
    leads = (1, 2, 5) if span[1] - span[0] < 2.5 else (1,)
    values = [
        lead * 10.0**decade for decade in range(math.floor(span[0]), math.ceil(span[1]) + 1) for lead in leads
    ]
    return tuple(
        Tick(100 * position, plain(value))
        for value in values
        if 0 <= (position := (math.log10(value) - span[0]) / (span[1] - span[0])) <= 1
    )
