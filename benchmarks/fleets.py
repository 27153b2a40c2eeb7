"""Small simulated fleets whose joules are known exactly: what coverage of intervals is measured on.

Schedules come from the simulator (continuous batching, chunked prefill, real iteration times). Everything here is
linear in a truth's coefficients, so that one schedule serves as many truths as are drawn.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray

from producers.simulation.engine import simulate
from producers.simulation.engine_types import engine_type
from producers.simulation.requests import from_columns
from producers.simulation.schedule import Schedule
from streams.attribution import EnergyModel, Trace
from streams.attribution.closed_form import closed_form
from streams.attribution.features import KNEES
from streams.attribution.trace import iteration_sums
from streams.meter_habits import late_share
from streams.uncertainty.loadings import term_shares

__all__ = [
    "BILLED",
    "FITTED",
    "TENANTS",
    "WINDOW_US",
    "Play",
    "Truth",
    "coefficients",
    "iteration_j",
    "owed_features",
    "play",
    "window_features",
]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

WINDOW_US: Final = 5_000_000
FITTED: Final = 60
"""Windows of each engine that a model is fitted on: half an epoch; two engines make a class."""
BILLED: Final = 12
"""Windows of each engine that are booked with it."""
TENANTS: Final = 12
TRUE_KNEE: Final = 96
"""A knee that no fit offers."""


@dataclass(frozen=True, slots=True)
class Truth:
    """Joules of one iteration: the family's terms, and those it lacks."""

    family: EnergyModel
    concave_j: float = 0.0
    """Per request to the power of 0.7: energy that grows ever slower with the batch."""
    knee_j: float = 0.0
    """Per token above TRUE_KNEE."""


@dataclass(frozen=True, slots=True)
class Play:
    """One engine's run, T iterations, with all that is linear in any truth's coefficients."""

    engine: str
    start_us: Ints
    end_us: Ints
    sums: Mapping[str, Floats]
    """(T,) by feature."""
    request_of: tuple[Ints, ...]
    """By billed window: which requests it has."""
    tenant_of: Ints
    """(R,) of all requests."""
    shares: tuple[Mapping[str, Floats], ...]
    """By billed window: Shapley values of each request at one joule, (R_w,) by feature."""


def play(name: str, seed: int) -> Play:
    """Simulate one engine under a load that changes every twenty seconds; O(iterations)."""
    draw = np.random.default_rng(seed)
    kind = engine_type(name)
    seconds = (FITTED + BILLED + 2) * WINDOW_US / 1e6
    levels = draw.uniform(1.0, 10.0, int(seconds // 20) + 1)
    arrivals = np.concatenate(
        [
            np.sort(draw.uniform(20 * i, 20 * (i + 1), draw.poisson(20 * level)))
            for i, level in enumerate(levels)
        ]
    )
    arrivals = arrivals[arrivals < seconds]
    count = len(arrivals)
    tenant = np.minimum(draw.exponential(2.5, count).astype(np.int32), TENANTS - 1)
    longer = np.where(tenant % 3 == 0, 4.0, 1.0)  # some tenants send long prompts, some want long answers
    requests = from_columns(
        np.rint(arrivals * 1e6).astype(np.int64),
        np.clip(draw.lognormal(5.8, 0.9, count) * longer, 16, 12_000).astype(np.int64),
        np.clip(draw.lognormal(5.0, 0.7, count) / np.sqrt(longer), 4, 900).astype(np.int64),
        tenants=tuple(f"tenant-{i}" for i in range(TENANTS)),
        tenant=tenant,
        source="coverage benchmark",
    )
    schedule = simulate(requests, kind)
    return _play(name, schedule, requests.tenant.astype(np.int64))


def _play(name: str, schedule: Schedule, tenant_of: Ints) -> Play:
    whole = _trace(schedule, len(tenant_of), np.ones(len(schedule.start_us)))
    sums = iteration_sums(whole)
    alive = sums.requests > 0
    fraction = _fraction(name)
    features: dict[str, Floats] = {
        "iterations": alive.astype(np.float64),
        "requests": sums.requests,
        "prefill_tokens": sums.tokens - sums.requests,
        "context_tokens": sums.context,
        "attention_tokens": sums.attention,
        "experts": 1.0 - (1.0 - fraction) ** sums.tokens,
        **{f"excess_tokens_{knee}": np.maximum(0.0, sums.tokens - knee) for knee in (*KNEES, TRUE_KNEE)},
        "concave": sums.requests**0.7,
    }
    request_of, shares = [], []
    for window in range(FITTED, FITTED + BILLED):
        weights = _weights(schedule, window * WINDOW_US)
        part = slice(*np.flatnonzero(weights)[[0, -1]] + [0, 1]) if weights.any() else slice(0, 0)
        trace = _trace(schedule, len(tenant_of), weights, part)
        found = _shares(trace, fraction)
        present = np.flatnonzero(found["requests"] > 0)
        request_of.append(present)
        shares.append({key: values[present] for key, values in found.items()})
    return Play(
        name, schedule.start_us, schedule.end_us, features, tuple(request_of), tenant_of, tuple(shares)
    )


def _fraction(name: str) -> float:
    experts = engine_type(name).experts
    return experts.active / experts.total if experts else 0.0


def _weights(schedule: Schedule, from_us: int) -> Floats:
    """(T,) part of each iteration inside the window."""
    inside = np.minimum(schedule.end_us, from_us + WINDOW_US) - np.maximum(schedule.start_us, from_us)
    return np.asarray(np.maximum(inside, 0) / (schedule.end_us - schedule.start_us))


def _trace(schedule: Schedule, requests: int, weights: Floats, part: slice | None = None) -> Trace:
    """The schedule's pieces inside a stretch of iterations, as runs."""
    first = part.start if part else 0
    end = part.stop if part else len(weights)
    left = np.maximum(schedule.piece_first, first)
    right = np.minimum(schedule.piece_first + schedule.piece_length, end)
    kept = np.flatnonzero(right > left)
    narrow = kept[schedule.piece_new_tokens[kept] == 1]
    wide = kept[schedule.piece_new_tokens[kept] > 1]
    wide = wide[np.argsort(schedule.piece_first[wide], kind="stable")]
    return Trace.from_runs(
        decode_request=schedule.piece_request[narrow].astype(np.int64),
        decode_first=(left - first)[narrow].astype(np.int64),
        decode_length=(right - left)[narrow].astype(np.int64),
        decode_context=(schedule.piece_context + left - schedule.piece_first)[narrow].astype(np.int64),
        wide_request=schedule.piece_request[wide].astype(np.int64),
        wide_iteration=(left - first)[wide].astype(np.int64),
        wide_tokens=schedule.piece_new_tokens[wide].astype(np.int64),
        wide_context=schedule.piece_context[wide].astype(np.int64),
        weights=weights[first:end],
        padded_tokens=np.zeros(end - first, np.int64),
        adapter=np.full(requests, -1, np.int64),
        prefix_group=np.zeros(requests, np.uint64),
    )


def _shares(trace: Trace, fraction: float) -> dict[str, Floats]:
    """(R,) Shapley values at one joule of each feature."""
    sums = iteration_sums(trace)
    nothing = EnergyModel()
    linear = term_shares(trace, sums, nothing, np.zeros(trace.requests))
    names = ("iterations", "requests", "prefill_tokens", "context_tokens", "attention_tokens")
    found = {name: linear[:, column] for column, name in enumerate(names)}
    for knee in (*KNEES, TRUE_KNEE):
        model = EnergyModel(excess_token_j=1.0, knee_tokens=float(knee))
        found[f"excess_tokens_{knee}"] = closed_form(trace, model).request_j
    experts = EnergyModel(experts_j=1.0, expert_fraction=fraction) if fraction else nothing
    found["experts"] = closed_form(trace, experts).request_j
    batch = np.maximum(sums.requests, 1.0)
    concave = trace.reweighted(trace.weights * batch**0.7 / batch)  # a count's value is divided evenly
    found["concave"] = term_shares(concave, sums, nothing, np.zeros(trace.requests))[:, 1]
    return found


def coefficients(truth: Truth) -> dict[str, float]:
    """By feature."""
    family = truth.family
    return {
        "iterations": family.fixed_j,
        "requests": family.request_j,
        "prefill_tokens": family.prefill_token_j,
        "context_tokens": family.context_token_j,
        "attention_tokens": family.attention_j,
        "experts": family.experts_j,
        "concave": truth.concave_j,
        f"excess_tokens_{TRUE_KNEE}": truth.knee_j,
    }


def iteration_j(run: Play, truth: Truth) -> Floats:
    """(T,) joules of every iteration."""
    joules = np.zeros(len(run.start_us))
    for name, value in coefficients(truth).items():
        joules += value * run.sums[name]
    return joules


def owed_features(run: Play, windows: int, average_s: float) -> list[dict[str, float]]:
    """By window: what a counter averaging `average_s` owed at its start minus what it owes at its end."""
    edges_us = np.arange(windows + 1) * WINDOW_US
    owed = []
    for edge_us in edges_us:
        near = np.flatnonzero((run.start_us < edge_us) & (run.end_us > edge_us - 2e6))
        part = late_share(run.start_us[near] * 1000, run.end_us[near] * 1000, int(edge_us) * 1000, average_s)
        found = {name: float(part @ values[near]) for name, values in run.sums.items()}
        busy_s = float(part @ (run.end_us - run.start_us)[near]) / 1e6
        owed.append(found | {"idle_s": max(average_s / 2.0 - busy_s, 0.0)})
    return [{name: before[name] - after[name] for name in before} for before, after in pairwise(owed)]


def window_features(run: Play, windows: int) -> list[dict[str, float]]:
    """What the ledger would hold of the first windows: sums by the part of each iteration inside, and idle time."""
    edges = np.arange(windows + 1) * WINDOW_US
    at = np.concatenate([[0.0], np.stack([run.start_us, run.end_us], axis=1).ravel().astype(np.float64)])

    def within(per_iteration: Floats) -> Floats:
        steps = np.zeros((len(run.start_us), 2))
        steps[:, 1] = per_iteration
        cumulative = np.concatenate([[0.0], np.cumsum(steps.ravel())])
        return np.diff(np.interp(edges, at, cumulative))

    table = {name: within(values) for name, values in run.sums.items() if name != "concave"}
    busy_s = within((run.end_us - run.start_us) / 1e6)
    table["idle_s"] = np.maximum(WINDOW_US / 1e6 - busy_s, 0.0)
    table.pop(f"excess_tokens_{TRUE_KNEE}")
    return [{name: float(values[w]) for name, values in table.items()} for w in range(windows)]
