"""Coverage of 90 % intervals on simulated fleets whose truth is known: `make bench-uncertainty`.

A fleet is four engines of two classes, each GPU with its own meter error, twelve tenants across all of them. A
model is fitted on five minutes and the next minute booked with it, both by the stream's own functions. Each GPU's
meters are gated by themselves: tenants, fleet totals, and requests where the truth lies in the model's family;
elsewhere requests are reported, for window totals do not identify a request's share. So are estimates (tier 2) of
the same minute.
"""

import argparse
import multiprocessing
import multiprocessing.queues
import os
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from benchmarks.drawn_fleets import (
    SETTINGS,
    Engine,
    Setting,
    bounded,
    descriptor,
    drawn_engine,
    drawn_truth,
)
from benchmarks.fleets import (
    BILLED,
    FITTED,
    TENANTS,
    WINDOW_US,
    Play,
    coefficients,
    owed_features,
    play,
    window_features,
)
from streams.attribution import EnergyModel
from streams.epoch_fit import FitWindows, usable_fit
from streams.metering import measure
from streams.models import model_in_force
from streams.side_inputs import SideInputs
from streams.timeline import SERVING, divide, lay_out
from streams.uncertainty.edges import edge_error
from streams.uncertainty.loadings import COEFFICIENTS, root, share_loadings
from streams.uncertainty.parameters import FEATURE_OF
from streams.uncertainty.sensors import Sensor, sensor
from streams.uncertainty.sums import Z_90, Rows, certainty

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Windows = tuple[list[dict[str, float]], list[dict[str, float]]]
"""Features of a run's fitted windows, and what a late counter owes at their edges."""

GATE: Final = (0.88, 0.93)
PLAYS: Final = 6
"""Runs of each engine type that fleets draw their engines from."""
EPOCH_NS: Final = 600_000_000_000
MEDIAN: Final = 0.6745
"""Median of a normal law's absolute error, in standard deviations."""


@dataclass(frozen=True, slots=True)
class Booked:
    """Rows of a fleet, and their truth beside them."""

    rows: Rows
    request: Ints
    """(N,) a number for each request of the fleet."""
    tenant: Ints
    true_uj: Floats
    """(N,)"""
    gain: Floats
    """(N,) of the row's meter."""


@dataclass(slots=True)
class Counted:
    """What intervals covered, one figure per fleet."""

    requests: list[float] = field(default_factory=list)
    tenants: list[float] = field(default_factory=list)
    fleets: list[float] = field(default_factory=list)
    widths: list[float] = field(default_factory=list)
    """Median half width of a request relative to its energy, the meter taken as true."""
    estimated: list[float] = field(default_factory=list)
    """Of tenants, had no meter covered the minute and the fit's figures stood for it: tier 2."""
    estimated_widths: list[float] = field(default_factory=list)
    """Median half width of a tenant's estimate relative to it."""


def main() -> None:
    """Measure and print; exit status 1 where a gated coverage lies outside the gate."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--fleets", type=int, default=1200, help="how many, over all settings (default 1200)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1, help="default: one per core")
    arguments = parser.parse_args()
    began = time.monotonic()
    names = sorted({name for setting in SETTINGS for name in setting.engines})
    plays = {name: [play(name, 1000 * arguments.seed + i) for i in range(PLAYS)] for name in names}
    features = {
        id(run): (window_features(run, FITTED), owed_features(run, FITTED, 1.0))
        for runs in plays.values()
        for run in runs
    }
    counted = _counted(arguments, plays, features)
    failed = _report(counted, arguments.fleets, time.monotonic() - began)
    raise SystemExit(1 if failed else 0)


def _counted(
    arguments: argparse.Namespace, plays: Mapping[str, Sequence[Play]], features: Mapping[int, Windows]
) -> dict[str, Counted]:
    """By setting; fleets are dealt to processes that share the runs by forking, and each is drawn by its number."""
    fork = multiprocessing.get_context("fork")
    results: multiprocessing.queues.Queue[list[tuple[int, Counted]]] = fork.Queue()

    def work(part: int) -> None:
        found = []
        for number in range(part, arguments.fleets, arguments.processes):
            setting, one = SETTINGS[number % len(SETTINGS)], Counted()
            draw = np.random.default_rng([arguments.seed, number])
            metered, estimated = _fleet(setting, plays, features, draw)
            _count(metered, sensor(setting.gpu), one)
            _count_estimates(estimated, sensor(setting.gpu), one)
            found.append((number, one))
        results.put(found)

    workers = [fork.Process(target=work, args=(part,)) for part in range(arguments.processes)]
    for worker in workers:
        worker.start()
    fleets = sorted((pair for _ in workers for pair in results.get()), key=lambda pair: pair[0])
    for worker in workers:
        worker.join()
    counted = {setting.name: Counted() for setting in SETTINGS}
    for number, one in fleets:
        mine = counted[SETTINGS[number % len(SETTINGS)].name]
        for name in Counted.__slots__:
            getattr(mine, name).extend(getattr(one, name))
    return counted


def _fleet(
    setting: Setting,
    plays: Mapping[str, Sequence[Play]],
    features: Mapping[int, Windows],
    draw: np.random.Generator,
) -> tuple[Booked, Booked]:
    """One fleet: drawn, metered, fitted, booked; and booked again as if no meter covered the billed minute."""
    known = sensor(setting.gpu)
    generation = bounded(draw, known.generation_sd)
    booked, estimated = [], []
    for class_number, name in enumerate(setting.engines):
        truth = drawn_truth(setting, name, draw)
        engines: list[Engine] = []
        for index in draw.choice(PLAYS, 2, replace=False).tolist():
            gain = 1.0 + generation + bounded(draw, known.device_sd)
            numbers = (2 * class_number + len(engines), class_number)
            engines.append(drawn_engine(setting, plays[name][index], truth, numbers, gain, draw))
        model, spread, scatter = _fitted(setting, name, engines, features)
        booked += [_booked(engine, model, spread, known) for engine in engines]
        estimated += [_booked(engine, model, spread, known, scatter) for engine in engines]
    return _joined(booked), _joined(estimated)


def _joined(booked: Sequence[Booked]) -> Booked:
    columns = {name: np.concatenate([getattr(part.rows, name) for part in booked]) for name in Rows.__slots__}
    others = (
        np.concatenate([getattr(part, name) for part in booked])
        for name in ("request", "tenant", "true_uj", "gain")
    )
    return Booked(Rows(**columns), *others)


def _fitted(
    setting: Setting, name: str, engines: Sequence[Engine], features: Mapping[int, Windows]
) -> tuple[EnergyModel, Floats, float]:
    """The model that the stream would book the next minute with, the root of its covariance, and by which single
    windows scatter around it (0 for a prior), as `streams.estimates` takes it.
    """
    edges_ns = np.arange(FITTED + 1) * WINDOW_US * 1000
    found = []
    for engine in engines:
        own, owed = features[id(engine.run)]
        energy_j = np.diff(np.interp(edges_ns, engine.readings.times_ns, engine.readings.values_uj)) / 1e6
        found += list(zip(edges_ns.tolist(), own, owed, energy_j.tolist(), strict=False))
    groups = np.repeat([str(engine.number) for engine in engines], FITTED)
    order = np.argsort([start for start, *_ in found], kind="stable").tolist()
    windows = FitWindows(
        features=[found[i][1] for i in order],
        energy_j=np.asarray([found[i][3] for i in order]),
        start_ns=np.asarray([found[i][0] for i in order], np.int64) + 1,
        group=tuple(groups[order].tolist()),
        owed=tuple(found[i][2] for i in order),
    )
    described = descriptor(setting, name)
    prior = model_in_force(described, SideInputs(), 1)
    ages = (edges_ns[-1] - windows.start_ns) / EPOCH_NS
    fit = usable_fit(described, prior.energy, windows, ages, 2.0)
    if fit is None:
        return prior.energy, prior.spread, 0.0
    names = list(fit.model.coefficients())
    at = [names.index(one) for one in COEFFICIENTS]
    return fit.model, root(np.asarray(fit.covariance)[np.ix_(at, at)]), fit.held_out_error / MEDIAN


def _booked(
    engine: Engine, model: EnergyModel, spread: Floats, known: Sensor, scatter: float | None = None
) -> Booked:
    """One engine's billed windows, split as the stream splits them; with `scatter` estimated as it estimates."""
    run = engine.run
    knee = f"excess_tokens_{model.knee_tokens:g}"
    names = [FEATURE_OF[name] for name in COEFFICIENTS[:-1]] + [knee]
    figures = np.asarray([getattr(model, name) for name in COEFFICIENTS])
    modelled_j = np.stack([run.sums[name] for name in names], axis=1) @ figures
    columns: dict[str, list[Floats]] = defaultdict(list)
    requests, batches = [], []
    for window in range(BILLED):
        start_ns = (FITTED + window) * WINDOW_US * 1000
        end_ns = start_ns + WINDOW_US * 1000
        here = np.flatnonzero((run.end_us * 1000 > start_ns) & (run.start_us * 1000 < end_ns))
        meters = measure([engine.readings], start_ns, end_ns)
        timeline = lay_out(
            start_ns,
            end_ns,
            run.start_us[here] * 1000,
            run.end_us[here] * 1000,
            modelled_j[here],
            np.ones(len(here), np.bool_),
            idle_power_w=max(model.idle_w, 1.0),
            gaps=(),
            loads=(),
        )
        serving_uj = float(divide(timeline, meters)[SERVING])
        shares = np.stack([run.shares[window][name] for name in names], axis=1)
        request_j = shares @ figures
        total_j = float(request_j.sum())
        if total_j <= 0:
            continue
        true_j = np.zeros(len(request_j))
        for name, value in coefficients(engine.truth).items():
            true_j += value * run.shares[window][name]
        if scatter is None:
            columns["energy_uj"].append(serving_uj * request_j / total_j)
            columns["loadings_uj"].append(serving_uj * share_loadings(shares, spread, request_j, total_j))
            columns["edge_error"].append(np.full(len(request_j), edge_error(meters, known)))
        else:
            columns["energy_uj"].append(1e6 * request_j)
            columns["loadings_uj"].append(1e6 * shares @ spread)
            columns["edge_error"].append(np.full(len(request_j), scatter))
        batches.append(np.full(len(request_j), BILLED * engine.number + window))
        columns["true_uj"].append(1e6 * true_j * (1.0 + engine.common[FITTED + window]))
        requests.append(run.request_of[window])
    joined = {name: np.concatenate(parts) for name, parts in columns.items()}
    request, size = np.concatenate(requests), len(joined["energy_uj"])
    rows = Rows(
        energy_uj=joined["energy_uj"],
        loadings_uj=joined["loadings_uj"],
        sampling_uj=np.zeros(size),
        engine_class=np.full(size, engine.class_number),
        group=np.full(size, engine.number),
        gpus=np.ones(size, np.int64),
        edge_error=joined["edge_error"],
        batch=np.concatenate(batches),
    )
    return Booked(
        rows,
        request=request + 100_000 * engine.number,
        tenant=run.tenant_of[request],
        true_uj=joined["true_uj"],
        gain=np.full(size, engine.gain),
    )


def _count(booked: Booked, known: Sensor, counted: Counted) -> None:
    """Hold every interval of a fleet against the truth."""
    rows = booked.rows
    _, request = np.unique(booked.request, return_inverse=True)
    energy = np.bincount(request, rows.energy_uj)
    true = np.bincount(request, booked.true_uj * booked.gain)  # the meter taken as true
    moved = np.stack([np.bincount(request, column) for column in rows.loadings_uj.T], axis=1)
    edges = np.bincount(request, (rows.energy_uj * rows.edge_error) ** 2)
    half = Z_90 * np.sqrt(np.square(moved).sum(axis=1) + edges)
    counted.requests.append(float(np.mean(np.abs(energy - true) <= half)))
    counted.widths.append(float(np.median(half / energy)))
    covered = [
        _covers(_chosen(rows, mine), float(booked.true_uj[mine].sum()), known)
        for mine in (booked.tenant == code for code in range(TENANTS))
        if mine.any()
    ]
    counted.tenants.append(float(np.mean(covered)))
    counted.fleets.append(float(_covers(rows, float(booked.true_uj.sum()), known)))


def _count_estimates(booked: Booked, known: Sensor, counted: Counted) -> None:
    """The same of tenants whose minute was estimated."""
    covered, widths = [], []
    for code in range(TENANTS):
        mine = booked.tenant == code
        if mine.any():
            rows = _chosen(booked.rows, mine)
            sure = certainty(rows, known)
            covered.append(abs(sure.energy_uj - booked.true_uj[mine].sum()) <= sure.half_width_uj)
            widths.append(sure.half_width_uj / sure.energy_uj)
    counted.estimated.append(float(np.mean(covered)))
    counted.estimated_widths.append(float(np.median(widths)))


def _covers(rows: Rows, truth_uj: float, known: Sensor) -> bool:
    sure = certainty(rows, known)
    return abs(sure.energy_uj - truth_uj) <= sure.half_width_uj


def _chosen(rows: Rows, mine: NDArray[np.bool_]) -> Rows:
    return Rows(**{name: getattr(rows, name)[mine] for name in Rows.__slots__})


def _report(counted: Mapping[str, Counted], fleets: int, seconds: float) -> bool:
    """Print the table; whether a gated coverage lies outside the gate."""
    print(f"coverage of 90 % intervals, {fleets} simulated fleets, {seconds:.0f} s\n")
    print(
        f"{'setting':<34} {'fleets':>6} {'requests':>9} {'tenants':>8} {'fleet':>7} {'± request':>10} "
        f"{'estimated tenants':>18} {'±':>7}"
    )
    of: dict[str, list[float]] = defaultdict(list)
    for setting in SETTINGS:
        one = counted[setting.name]
        gpu = "A100" if "A100" in setting.gpu else "H100"
        where = "inside" if setting.inside else "outside"
        of[f"tenants, {gpu} meters"] += one.tenants
        of[f"fleet totals, {gpu} meters"] += one.fleets
        of[f"requests {where} the family, {gpu} meters"] += one.requests
        print(
            f"{setting.name:<34} {len(one.fleets):>6} {np.mean(one.requests):>9.1%} {np.mean(one.tenants):>8.1%} "
            f"{np.mean(one.fleets):>7.1%} {np.median(one.widths):>10.2%} {np.mean(one.estimated):>18.1%} "
            f"{np.median(one.estimated_widths):>7.1%}"
        )
    print()
    failed = False
    for name, values in sorted(of.items()):
        mean, error = float(np.mean(values)), 1.96 * float(np.std(values)) / len(values) ** 0.5
        good = GATE[0] <= mean <= GATE[1]
        gated = "outside" not in name
        failed |= gated and not good
        verdict = f"{'inside' if good else 'OUTSIDE'} {GATE[0]:.0%}-{GATE[1]:.0%}" if gated else "reported"
        print(f"{name:<42} {mean:>7.1%} ± {error:.1%}   {verdict}")
    return failed


if __name__ == "__main__":
    main()
