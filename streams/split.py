"""One engine's part of a batch, split among its requests by the energy model and the chosen method."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from schemas.errors import ConfigurationError
from streams.assembly import EngineWindow
from streams.attribution import (
    EnergyModel,
    Trace,
    TraceAttribution,
    attribute_trace,
    iteration_energy,
)
from streams.attribution.attribute import declared_attribution
from streams.attribution.trace import IterationSums
from streams.meter_habits import OWED, OWED_BUSY
from streams.models import ModelInForce
from streams.split_rows import rows_and_sums
from streams.split_shares import Shares, declared_shares
from streams.uncertainty.loadings import add_the_rest

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
    requested_j: float
    """Their sum."""
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
        return self.requested_j + self.dropped_j


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
    trace, sums = rows_and_sums(window)
    energy = model.energy
    duration_ns = (window.iteration_end_ns - window.iteration_start_ns).astype(np.float64)
    weights = np.zeros((2, trace.iterations))
    weights[0] = trace.weights
    if owed is not None:
        weights[1] = owed
    shares = declared_shares(trace, sums, energy, duration_ns, weights)
    split = _attributed(trace, sums, shares, energy, rules, seed)
    terms = shares.linear_terms
    add_the_rest(terms, energy, split.request_j)
    served = sums.requests > 0
    iteration_j, overhead_j, overhead = shares.iteration_j, 0.0, 0.0
    if not served.all():
        iteration_j = np.where(served, iteration_j, _overhead_j(energy, trace))
        overhead_j = float((iteration_j * window.iteration_share)[~served].sum())
        overhead = float(window.iteration_share[~served].sum())
    # Behind the requests stand the rows whose output was dropped, each as a player of its own.
    real = len(window.requests.ordinal)
    own, late = shares.features
    own |= {"idle_s": 0.0, "overhead_iterations": overhead}
    request_j = split.request_j[:real]
    return WindowSplit(
        iteration_j=iteration_j,
        iteration_serves=served,
        request_j=request_j,
        requested_j=float(request_j.sum()),
        overhead_j=overhead_j,
        dropped_j=float(split.request_j[real:].sum()) if trace.requests > real else 0.0,
        term_shares=terms[:real],
        spread=model.spread,
        sampling=_sampling(split, real),
        held_ns=np.rint(shares.held[:real]).astype(np.int64),
        features=own if owed is None else own | _owed_features(late, owed, duration_ns),
        method=split.method if served.any() else "",
        permutations=split.permutations,
        evaluations=split.evaluations,
        error_estimate=split.error_estimate,
        converged=split.converged,
    )


def _sampling(split: TraceAttribution, real: int) -> NDArray[np.float64]:
    """(R,) standard error of each request's joules by sampling, relative to them."""
    if split.error_estimate == 0.0:
        return np.zeros(real)
    half_widths_j, request_j = split.half_widths_j[:real], split.request_j[:real]
    estimator = np.divide(half_widths_j, request_j, out=np.zeros_like(request_j), where=request_j > 0)
    return estimator / Z_95


def _attributed(
    trace: Trace, sums: IterationSums, shares: Shares, model: EnergyModel, rules: SplitRules, seed: int
) -> TraceAttribution:
    """The declared shares, or where the rules ask for it those of permutations."""
    if rules.method == "auto":
        return declared_attribution(
            shares.request_j, shares.half_widths_j, shares.iteration_j * trace.weights, shares.series, seed
        )
    return attribute_trace(
        trace,
        model,
        method=rules.method,
        permutations=rules.permutations,
        tolerance=rules.tolerance,
        seed=seed,
        sums=sums,
    )


def _owed_features(
    late: Mapping[str, float], owed: NDArray[np.float64], duration_ns: NDArray[np.float64]
) -> dict[str, float]:
    """Features of what a late meter owes, and the seconds of iterations among it."""
    features = {f"{OWED}{name}": value for name, value in late.items() if value}
    features[OWED_BUSY] = float(owed @ duration_ns) / 1e9
    return features


def _overhead_j(model: EnergyModel, trace: Trace) -> NDArray[np.float64]:
    """(I,) what each iteration would cost as a dummy batch of its padded size: one token each, no context."""
    tokens = np.maximum(trace.padded_tokens, 1).astype(np.float64)
    nothing = np.zeros(trace.iterations)
    sums = IterationSums(
        decode=tokens, requests=tokens, tokens=tokens, context=nothing, attention=nothing, padding=nothing
    )
    empty = Trace.from_rows([], [], [], [], iterations=trace.iterations, requests=0)
    return iteration_energy(model, empty, sums)
