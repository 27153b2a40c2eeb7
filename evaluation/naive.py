"""The methods in use today, on a run: its carbon in proportion to something that is easy to count.

All charge the whole of the run's shared carbon (they are efficient); they differ in whom. The formulas are the
attribution library's baselines; this says what they are given.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from evaluation.runs import Run
from streams.attribution import baselines

__all__ = [
    "Prices",
    "best_token_weights",
    "per_price",
    "per_provision",
    "per_request",
    "per_time",
    "per_token",
    "per_utilisation",
]

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Prices:
    """A price list in dollars per million tokens; only the ratios matter. GPT-4o's by default, as of 2025."""

    input_per_million: float = 2.5
    cached_per_million: float = 1.25
    output_per_million: float = 10.0


def per_token(run: Run, w1: float, w2: float) -> Floats:
    """Token-based: in proportion to w1·prompt + w2·output tokens over the whole run (Li et al.)."""
    requests = run.requests
    return baselines.per_token(run.total_g, requests.prompt_tokens, requests.output_tokens, w1=w1, w2=w2)


def per_price(run: Run, prices: Prices) -> Floats:
    """In proportion to the bill: prompt tokens found in the prefix cache are cheaper."""
    cached = run.cached_tokens.astype(np.float64)
    fresh = run.requests.prompt_tokens - cached
    bill = prices.input_per_million * fresh + prices.cached_per_million * cached
    bill = bill + prices.output_per_million * run.requests.output_tokens
    return run.total_g * bill / float(bill.sum())


def per_request(run: Run) -> Floats:
    """The same for everybody."""
    return baselines.per_request(run.total_g, len(run.requests))


def per_time(run: Run) -> Floats:
    """In proportion to the time from a request's first iteration to its last."""
    return baselines.time_share(run.total_g, _seconds(run))


def per_provision(run: Run) -> Floats:
    """In proportion to what is set aside: KV memory for prompt and output, times the time in the engine."""
    tokens = run.requests.prompt_tokens.astype(np.float64) + run.requests.output_tokens
    return baselines.provisioned(run.total_g, tokens * _seconds(run))


def per_utilisation(run: Run) -> Floats:
    """Each iteration's carbon in proportion to the tokens that a request computes in it."""
    shares = np.zeros(len(run.requests))
    for segment in run.segments():
        schedule = segment.schedule
        tokens = schedule.decode_rows + schedule.prefill_tokens
        per_token_g = np.concatenate([[0.0], np.cumsum(segment.carbon_g / np.maximum(tokens, 1))])
        first, last = schedule.piece_first, schedule.piece_first + schedule.piece_length
        grams = (per_token_g[last] - per_token_g[first]) * schedule.piece_new_tokens
        shares += np.bincount(schedule.piece_request, grams, len(shares))
    return shares


def best_token_weights(run: Run, truth_g: Floats) -> tuple[float, float]:
    """(1, w2) with the smallest mean relative distance to the truth, by a grid over w2 refined twice.

    The best that the token-based method can do on this trace with hindsight; no provider knows it beforehand.
    """
    low, high = -10.0, 14.0
    for _ in range(3):
        grid = np.linspace(low, high, 97)
        distances = [
            float(np.mean(np.abs(per_token(run, 1.0, 2.0**power) - truth_g) / truth_g)) for power in grid
        ]
        best = int(np.argmin(distances))
        step = grid[1] - grid[0]
        low, high = float(grid[best] - 2 * step), float(grid[best] + 2 * step)
    return 1.0, float(2.0 ** grid[best])


def _seconds(run: Run) -> Floats:
    return (run.finished_us - run.admitted_us) / 1e6
