"""What the energy model's fits reach on the public tables: per model and GPU, and for pairs never seen."""

from benchmarks.attribution_games import table
from benchmarks.attribution_tables import (
    EXPERTS,
    iteration_times,
    measured_pairs,
    splitwise_runs,
    with_context,
)
from streams.attribution import EnergyModel
from streams.attribution.fit import Fit
from streams.attribution.transfer import MeasuredPair, leave_one_pair_out

__all__ = ["fit_tables"]

_HEAD = ("model, GPU, table", "windows", "fixed J", "J per request", "held-out error", "flags")


def fit_tables() -> list[str]:
    """Markdown sections."""
    pairs = measured_pairs()
    fits = {name: _fit(pair) for name, pair in pairs.items()}
    for gpus in (4, 8):
        fits[f"Llama-2-70B {gpus} × A100, Splitwise"] = EnergyModel.fit(*splitwise_runs(gpus))
    knee = EnergyModel.fit(*iteration_times())
    return [
        "#### Fits to public measurements (every second batch size held out)",
        table(_HEAD, [_cells(name, fitted) for name, fitted in fits.items()]),
        f"Vidur's iteration times: the knee is found at {knee.model.knee_tokens:.0f} tokens, "
        f"held-out error {knee.held_out_error:.1%}.",
        "#### Pairs predicted from the other pairs of the same software generation",
        table(("pair left out", "median error", "bias", ""), _unseen(pairs)),
    ]


def _fit(pair: MeasuredPair) -> Fit:
    fraction = EXPERTS.get(pair.name, 0.0)
    return EnergyModel.fit(pair.windows, pair.energy_j, expert_fraction=fraction, shape=pair.shape, folds=2)


def _cells(name: str, fitted: Fit) -> tuple[str, ...]:
    model = fitted.model
    figures = (
        f"{model.fixed_j + model.experts_j:.3g}",
        f"{model.request_j:.3g}",
        f"{fitted.held_out_error:.1%}",
    )
    return (name, str(fitted.windows), *figures, "; ".join(flag.kind for flag in fitted.flags))


def _unseen(pairs: dict[str, MeasuredPair]) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    for generation, software in (("v3", "2025"), ("v2", "2024")):
        chosen = {name: with_context(pair) for name, pair in pairs.items() if name.endswith(generation)}
        rows += [
            (
                f"{name} ({software} software)",
                f"{guess.median_error:.1%}",
                f"{guess.bias:+.1%}",
                "flagged: above 15 %" if guess.flagged else "",
            )
            for name, guess in zip(chosen, leave_one_pair_out(list(chosen.values())), strict=True)
        ]
    return rows
