"""One engine's part of a batch, split among its requests by the energy model and the chosen method."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from schemas.errors import ConfigurationError
from streams.assembly import EngineWindow
from streams.attribution import (
    EnergyModel,
    Trace,
    attribute_trace,
    held_time,
    iteration_energy,
)
from streams.attribution.features import iteration_features, weighted_sums
from streams.attribution.trace import IterationSums, iteration_sums
from streams.meter_habits import OWED, OWED_BUSY
from streams.models import ModelInForce
from streams.runs import Runs
from streams.uncertainty.loadings import term_shares

__all__ = ["SplitRules", "WindowSplit", "split_window"]

METHODS: Final = ("auto", "truncated", "sampled")
Z_95: Final = 1.96
"""Half width of the estimators' own intervals, in standard errors."""


@dataclass(frozen=True, slots=True)
class SplitRules:
    """How a batch is split; a setting of the worker, recorded on every row."""

    method: str = "auto"
    """`auto`: closed form, exact or series. `truncated`: the published permutation sampling. `sampled`: ours."""
    permutations: int | None = None
    """K; None adapts it to the variance of the marginals."""
    tolerance: float = 0.0
    """`truncated` cuts a permutation short once the remainder is below this part of v(N)."""

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise ConfigurationError(f"method {self.method!r} is unknown: use one of {', '.join(METHODS)}")
        if self.permutations is not None and self.permutations < 1:
            raise ConfigurationError(
                f"permutations {self.permutations} must be at least 1, or unset to adapt"
            )


@dataclass(frozen=True, slots=True)
class WindowSplit:
    """Modelled joules of one engine's part, before they are scaled to the meter."""

    iteration_j: NDArray[np.float64]
    """(I,) v(N) of each iteration as a whole, also beyond the batch's edges."""
    iteration_serves: NDArray[np.bool_]
    """(I,) whether the iteration served a request; one that did not is overhead."""
    request_j: NDArray[np.float64]
    """(R,) inside the batch."""
    overhead_j: float
    """Inside the batch, of iterations that served no request."""
    dropped_j: float
    """Inside the batch, of decode rows whose token nobody received: an engine that schedules ahead runs a
    request once more after it stopped or was aborted. Shares of iterations that served, booked to overhead."""
    term_shares: NDArray[np.float64]
    """(R, 7) Shapley values in the game of each coefficient alone, as `loadings.term_shares`."""
    spread: NDArray[np.float64]
    """(7, 7) of the energy model's coefficients, as `loadings.root`."""
    sampling: NDArray[np.float64]
    """(R,) standard error of `request_j` by sampling, relative to it; 0 where the split is exact."""
    held_ns: NDArray[np.int64]
    """(R,) iteration time, split by the time game."""
    features: dict[str, float]
    method: str
    permutations: int
    evaluations: int
    error_estimate: float
    converged: bool

    @property
    def modelled_j(self) -> float:
        """All of the engine's iterations inside the batch."""
        return self.serving_j + self.overhead_j

    @property
    def serving_j(self) -> float:
        """Its iterations that served requests."""
        return float(self.request_j.sum()) + self.dropped_j


def split_window(
    window: EngineWindow,
    model: ModelInForce,
    rules: SplitRules,
    seed: int,
    *,
    owed: NDArray[np.float64] | None = None,
) -> WindowSplit:
    """Split `window` under `model`; the same seed gives the same joules.

    owed: (I,) part of each iteration's energy that the meter has not counted when the window ends, if it is late
        (`meter_habits.late_share`); its features are kept beside the window's own, under `owed.` names.
    """
    trace = _trace(window)
    energy = model.energy
    sums = iteration_sums(trace)
    split = attribute_trace(
        trace,
        energy,
        method=rules.method,
        permutations=rules.permutations,
        tolerance=rules.tolerance,
        seed=seed,
        sums=sums,
    )
    served = sums.requests > 0
    iteration_j = iteration_energy(energy, trace, sums)
    if not served.all():
        iteration_j = np.where(served, iteration_j, _overhead_j(energy, trace))
    terms = iteration_features(trace, sums, expert_fraction=energy.expert_fraction)
    # Behind the requests stand the rows whose output was dropped, each as a player of its own.
    real = len(window.requests.ordinal)
    request_j = split.request_j[:real]
    half_widths_j = split.half_widths_j[:real]
    estimator = np.divide(half_widths_j, request_j, out=np.zeros_like(request_j), where=request_j > 0)
    duration_ns = (window.iteration_end_ns - window.iteration_start_ns).astype(np.float64)
    return WindowSplit(
        iteration_j=iteration_j,
        iteration_serves=served,
        request_j=request_j,
        overhead_j=float((iteration_j * window.iteration_share)[~served].sum()),
        dropped_j=float(split.request_j[real:].sum()),
        term_shares=term_shares(trace, sums, energy, split.request_j)[:real],
        spread=model.spread,
        sampling=estimator / Z_95,
        held_ns=np.rint(held_time(trace, duration_ns, sums=sums)[:real]).astype(np.int64),
        features=weighted_sums(terms, trace.weights)
        | {"idle_s": 0.0, "overhead_iterations": float(window.iteration_share[~served].sum())}
        | _owed_features(terms, owed, duration_ns),
        method=split.method if served.any() else "",
        permutations=split.permutations,
        evaluations=split.evaluations,
        error_estimate=split.error_estimate,
        converged=split.converged,
    )


def _owed_features(
    terms: Mapping[str, NDArray[np.float64]],
    owed: NDArray[np.float64] | None,
    duration_ns: NDArray[np.float64],
) -> dict[str, float]:
    """Features of what a late meter owes, and the seconds of iterations among it."""
    if owed is None:
        return {}
    late = weighted_sums(terms, owed)
    return {f"{OWED}{name}": value for name, value in late.items() if value} | {
        OWED_BUSY: float(owed @ duration_ns) / 1e9
    }


def _trace(window: EngineWindow) -> Trace:
    runs, owners = _set_dropped_apart(window)
    single = runs.other_new_tokens == 1
    wide = np.flatnonzero(runs.other_new_tokens > 1)
    wide = wide[np.argsort(runs.other_iteration[wide], kind="stable")]
    adapters = window.requests.adapter.tolist()
    names = {name: index for index, name in enumerate(sorted(set(adapters) - {""}))}
    return Trace.from_runs(
        decode_request=np.concatenate((runs.request, runs.other_request[single])),
        decode_first=np.concatenate((runs.first, runs.other_iteration[single])),
        decode_length=np.concatenate((runs.length, runs.other_new_tokens[single])),
        decode_context=np.concatenate((runs.context, runs.other_context[single])),
        wide_request=runs.other_request[wide],
        wide_iteration=runs.other_iteration[wide],
        wide_tokens=runs.other_new_tokens[wide],
        wide_context=runs.other_context[wide],
        weights=window.iteration_share,
        padded_tokens=window.iteration_padded_tokens.astype(np.int64),
        adapter=np.asarray([names.get(name, -1) for name in adapters], np.int64)[owners],
        prefix_group=window.requests.prefix_group[owners],
    )


def _set_dropped_apart(window: EngineWindow) -> tuple[Runs, NDArray[np.int64]]:
    """The rows with those whose output was dropped renumbered behind the R requests, and whose each number is."""
    runs, count = window.runs, len(window.requests.ordinal)
    decoding = runs.other_context >= window.requests.prompt_tokens[runs.other_request]
    dropped = np.flatnonzero((runs.other_emitted == 0) & (runs.other_new_tokens == 1) & decoding)
    numbers = runs.other_request.copy()
    numbers[dropped] = count + np.arange(len(dropped))
    owners = np.concatenate((np.arange(count), runs.other_request[dropped]))
    return replace(runs, other_request=numbers), owners


def _overhead_j(model: EnergyModel, trace: Trace) -> NDArray[np.float64]:
    """(I,) what each iteration would cost as a dummy batch of its padded size: one token each, no context."""
    tokens = np.maximum(trace.padded_tokens, 1).astype(np.float64)
    nothing = np.zeros(trace.iterations)
    sums = IterationSums(
        decode=tokens, requests=tokens, tokens=tokens, context=nothing, attention=nothing, padding=nothing
    )
    empty = Trace.from_rows([], [], [], [], iterations=trace.iterations, requests=0)
    return iteration_energy(model, empty, sums)
