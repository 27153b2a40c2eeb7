"""What each attribution method charges the requests of one measured batch, all scaled to the energy as measured."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from evaluation.measured_data import MeasuredBatch
from evaluation.measured_fit import GridFit
from evaluation.measured_games import Z_90
from streams.attribution import IterationRows, attribute_trace, baselines
from streams.attribution.trace import iteration_sums
from streams.uncertainty.loadings import COEFFICIENTS, root, share_loadings, term_shares

__all__ = ["METHODS", "MeasuredMethod", "our_half_widths"]

Floats = NDArray[np.float64]

PERMUTATIONS: Final = 200
"""As published."""


@dataclass(frozen=True, slots=True)
class MeasuredMethod:
    """One method on one batch."""

    name: str
    title: str
    shares: Callable[[MeasuredBatch, GridFit, int], Floats]
    """(batch, fitted model, seed) → (n,) parts of the energy; they sum to 1 unless the method leaves some."""
    modelled: bool = False
    """Whether it estimates the Shapley values of the fitted model's game."""
    drawn: bool = False
    """Whether it depends on the seed."""


def _ours(batch: MeasuredBatch, fit: GridFit, seed: int) -> Floats:
    return _split(batch, fit, "auto", seed)


def _sampled(batch: MeasuredBatch, fit: GridFit, seed: int) -> Floats:
    """Enumerates batches as small as those that can be measured whole: the seed does not matter."""
    return _split(batch, fit, "sampled", seed)


def _truncated(batch: MeasuredBatch, fit: GridFit, seed: int) -> Floats:
    return _split(batch, fit, "truncated", seed)


def _split(batch: MeasuredBatch, fit: GridFit, method: str, seed: int) -> Floats:
    split = attribute_trace(
        _rows(batch).trace(), fit.energy, method=method,
        permutations=PERMUTATIONS if method == "truncated" else None, seed=seed,
    )  # fmt: skip
    return np.asarray(split.request_j / float(split.iteration_j[0]))


def _rows(batch: MeasuredBatch) -> IterationRows:
    return IterationRows(batch.new_tokens, batch.context_tokens)


def _token(batch: MeasuredBatch) -> Floats:
    return baselines.per_token(1.0, np.zeros(len(batch.new_tokens)), batch.new_tokens)


def _token_held(batch: MeasuredBatch) -> Floats:
    return baselines.provisioned(1.0, batch.new_tokens + batch.context_tokens)


def _request(batch: MeasuredBatch) -> Floats:
    return baselines.per_request(1.0, len(batch.new_tokens))


def _time(batch: MeasuredBatch) -> Floats:
    """All rows of one iteration are in it for the same time."""
    return baselines.time_share(1.0, np.ones(len(batch.new_tokens)))


def _leave_one_out(batch: MeasuredBatch) -> Floats:
    """Of the energies as measured: the best that this method can ever know."""
    whole = (1 << len(batch.new_tokens)) - 1
    without = np.array([whole ^ 1 << i for i in range(len(batch.new_tokens))])
    return np.asarray(1.0 - batch.energy_j[without] / batch.energy_j[whole])


def _plain(shares: Callable[[MeasuredBatch], Floats]) -> Callable[[MeasuredBatch, GridFit, int], Floats]:
    """A method that needs neither model nor chance."""
    return lambda batch, fit, seed: shares(batch)  # noqa: ARG005


METHODS: Final = (
    MeasuredMethod("shapley", "Shapley, closed form (ours)", _ours, modelled=True),
    MeasuredMethod("sampled", "Shapley, sampled to 0.5 % (ours)", _sampled, modelled=True),
    MeasuredMethod(
        "truncated",
        f"truncated Shapley, K = {PERMUTATIONS} (published)",
        _truncated,
        modelled=True,
        drawn=True,
    ),
    MeasuredMethod("token", "per token computed", _plain(_token)),
    MeasuredMethod("provisioned", "per token held in the cache", _plain(_token_held)),
    MeasuredMethod("request", "per request", _plain(_request)),
    MeasuredMethod("time", "per second in the engine", _plain(_time)),
    MeasuredMethod("leave_one_out", "leave-one-out, as measured", _plain(_leave_one_out)),
)


def our_half_widths(batch: MeasuredBatch, fit: GridFit) -> Floats:
    """(n,) 90 % half widths of our shares, as parts of the batch's energy: the fitted coefficients' errors.

    The meter's own error is common to shares and truth and is left out.
    """
    trace = _rows(batch).trace()
    split = attribute_trace(trace, fit.energy, seed=0)
    k = len(COEFFICIENTS)
    loadings = share_loadings(
        term_shares(trace, iteration_sums(trace), fit.energy, split.request_j), root(fit.covariance[:k, :k]),
        split.request_j, float(split.request_j.sum()),
    )  # fmt: skip
    sampling = split.half_widths_j / float(split.request_j.sum())
    return np.asarray(np.hypot(Z_90 * np.sqrt(np.square(loadings).sum(axis=1)), sampling))
