"""Accuracy and speed of the split: every figure of docs/attribution.md, measured in one run.

    make bench-attribution

Prints the tables and writes them into docs/attribution.md between its markers. A different seed:
`python -m benchmarks.attribution 7`. Times are medians with the range over repetitions, one thread.
"""

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from benchmarks.attribution_accuracy import accuracy
from benchmarks.attribution_fits import fit_tables
from benchmarks.attribution_games import (
    DENSE,
    MIXTURE,
    ROOFLINE,
    chunk_game,
    decode_game,
    sum_game,
    table,
    traffic,
)
from benchmarks.attribution_rivals import RIVALS
from streams.attribution import EnergyModel, Trace, attribute_trace, shapley
from streams.attribution.closed_form import closed_form
from streams.attribution.series import hinge_series

Floats = NDArray[np.float64]

_DOCS: Final = Path(__file__).parents[1] / "docs" / "attribution.md"
_START: Final = "<!-- bench-attribution -->"
_END: Final = "<!-- /bench-attribution -->"
_PLAYERS: Final = 32
_PERMUTATIONS: Final = 200


def main() -> None:
    """Measure, print, and write into the docs."""
    seed = int(sys.argv[1]) if len(sys.argv) > 1 else 20_251_121
    rng = np.random.default_rng(seed)
    sections = [
        f"Seed {seed}; NumPy {np.__version__}, Python {sys.version.split()[0]}, one thread. Errors are of a "
        "request's share against exact values; times are medians with their range.",
        "#### Black boxes: the same 6,400 evaluations for everybody, n = 32",
        compared(rng),
        "#### The published method, K = 200, n = 32, plain decode",
        published(rng),
        "#### What we hold ourselves to: accuracy",
        accuracy(rng),
        "#### What we hold ourselves to: speed",
        speed(rng),
        *fit_tables(),
    ]
    text = "\n\n".join(sections)
    print(text)
    docs = _DOCS.read_text()
    before, _, rest = docs.partition(_START)
    _, _, after = rest.partition(_END)
    _DOCS.write_text(f"{before}{_START}\n{text}\n{_END}{after}")


def timed(call: Callable[[], object], repeat: int) -> Floats:
    """Seconds of each repetition, after one that is not counted."""
    call()
    seconds = np.empty(repeat)
    for i in range(repeat):
        start = time.perf_counter()
        call()
        seconds[i] = time.perf_counter() - start
    return seconds


def spread(values: Floats, unit: float) -> str:
    """Median and range."""
    scaled = values * unit
    return f"{np.median(scaled):.3g} ({scaled.min():.3g}–{scaled.max():.3g})"


def compared(rng: np.random.Generator) -> str:
    """Every estimator on the same decode games and the same mixed games."""
    decode = [decode_game(rng, _PLAYERS) for _ in range(9)]
    mixed = [sum_game(rng, _PLAYERS) for _ in range(9)]
    rows = []
    for name, estimate in RIVALS.items():
        cells = []
        seconds = []
        estimate(decode[0][0], _PLAYERS, 4, 0)
        for games in (decode, mixed):
            worst = []
            for i, (game, exact) in enumerate(games):
                start = time.perf_counter()
                values = estimate(game, _PLAYERS, _PERMUTATIONS, i)
                seconds.append(time.perf_counter() - start)
                worst.append(np.abs(values / exact - 1).max())
            cells.append(f"{np.median(worst):.2g} ({min(worst):.2g}–{max(worst):.2g})")
        rows.append((name, *cells, spread(np.array(seconds) / _PLAYERS, 1e6)))
    head = ("estimator", "worst request, decode", "worst request, mixed batches", "µs per request")
    return table(head, rows)


def published(rng: np.random.Generator) -> str:
    """Its error per request, where 2 % is claimed, and what a cut-off does."""
    errors, whole, lost, bias = [], [], [], []
    for seed in range(60):
        game, exact = decode_game(rng, _PLAYERS)
        found = shapley.truncated(game, _PLAYERS, seed=seed).values
        errors.append(np.abs(found / exact - 1))
        whole.append(np.abs(found - exact) / exact.sum())
        mixed, exact = chunk_game(rng, _PLAYERS)
        cut = shapley.truncated(mixed, _PLAYERS, permutations=2000, tolerance=0.01, seed=seed).values
        lost.append(1 - cut.sum() / exact.sum())
        small = np.argsort(exact)[:8]
        bias.append((cut[small] / exact[small] - 1).mean())
    rows = [
        ("mean error of a request", f"{np.mean(errors):.1%}"),
        ("worst request of a batch, mean over batches", f"{np.max(errors, axis=1).mean():.1%}"),
        ("worst request as a share of the batch's energy", f"{np.max(whole, axis=1).mean():.2%}"),
        ("cut off at 1 %, one chunk among decodes: energy left with nobody", f"{np.mean(lost):.2%}"),
        (
            "cut off at 1 %, one chunk among decodes: bias of the eight smallest requests",
            f"{np.mean(bias):+.1%}",
        ),
    ]
    return table(("figure", "measured"), rows)


def speed(rng: np.random.Generator) -> str:
    """Nanoseconds per request-iteration of whole windows, microseconds per request of the estimators."""
    plain = EnergyModel(fixed_j=3.0, request_j=0.03, context_token_j=2.4e-5)
    stay = _per_row(_decode_window(rng, 5000, 64), plain, 20)
    churn = _per_row(traffic(rng, 2000, 32), plain, 20)
    rows: list[tuple[str, ...]] = [
        ("totals by prefix sums: 64 requests decoding for 5,000 iterations", stay, "2 ns"),
        ("fixed and linear terms, ordinary traffic, mean batch 32", churn, "20 ns"),
    ]
    for batch, target in ((20, "80 ns"), (64, "80 ns"), (250, "4 µs")):
        trace = traffic(rng, 2000 if batch < 250 else 600, batch)
        for name, model in (("dense with knee", DENSE), ("mixture with knee", MIXTURE)):
            label = f"{name}, ordinary traffic, mean batch {trace.rows / trace.iterations:.0f}"
            rows.append((label, _per_row(trace, model, 5), target))
        label = f"roofline in context ({_crossing(trace):.1%} of iterations by series), the same traffic"
        rows.append((label, _per_row(trace, ROOFLINE, 3), "–"))
    for n in (32, 128, 512):
        d = 16.0 * np.where(rng.random(n) < 0.1, rng.integers(2, 600, n), 1) - 0.039 * rng.lognormal(
            7, 1.2, n
        )
        seconds = timed(lambda d=d: hinge_series(d, 0.4 * np.maximum(d, 0).sum()), 15)  # type: ignore[misc]
        rows.append((f"series (tier 2), n = {n}", spread(seconds / n, 1e6) + " µs per request", "25 µs"))
    small = traffic(rng, 60, 32)
    seconds = timed(lambda: attribute_trace(small, DENSE, method="truncated", permutations=200, seed=1), 3)
    rows.append(
        (
            "the published method over a window, K = 200",
            spread(seconds / small.rows, 1e6) + " µs per request-iteration",
            "–",
        )
    )
    return table(("what", "time", "target"), rows)


def _crossing(trace: Trace) -> float:
    """Part of the iterations whose roofline needs the series."""
    return closed_form(trace, ROOFLINE).series / trace.iterations


def _per_row(trace: Trace, model: EnergyModel, repeat: int) -> str:
    seconds = timed(lambda: attribute_trace(trace, model, seed=0), repeat)
    return spread(seconds / trace.rows, 1e9) + " ns"


def _decode_window(rng: np.random.Generator, iterations: int, batch: int) -> Trace:
    context = rng.integers(10, 4000, batch)
    at = np.tile(np.arange(iterations), batch)
    who = np.repeat(np.arange(batch), iterations)
    return Trace.from_rows(
        at, who, np.ones(at.size, int), context[who] + at, iterations=iterations, requests=batch
    )


if __name__ == "__main__":
    main()
