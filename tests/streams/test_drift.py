"""An engine that changes gets a model of its own within five minutes, and nothing less than a change does that."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.side_inputs import ModelVersion
from streams.attribution import EnergyModel
from streams.drift import find_change
from streams.epoch_fit import FitWindows
from streams.model_epochs import Decision, EpochRules, decide
from streams.side_inputs import SideInputs
from tests.builders import descriptor

RULES = EpochRules()
TRUTH = EnergyModel(fixed_j=4.0, request_j=0.08, context_token_j=4e-5, prefill_token_j=0.03, idle_w=130.0)
WINDOW_NS = 5_000_000_000
ORIGIN_NS = 1_700_000_400_000_000_000
"""A whole epoch."""


def engine(
    seconds: float, *, changes_at_s: float, factor: float, noise: float = 0.02, seed: int = 1
) -> FitWindows:
    """Windows of one engine whose energy is `factor` times what it was from `changes_at_s` on."""
    draw = np.random.default_rng(seed)
    features, energy, starts = [], [], []
    for number in range(int(seconds / 5)):
        iterations, size = 100.0, float(draw.integers(2, 60))
        window = {
            "iterations": iterations,
            "requests": iterations * size,
            "context_tokens": iterations * size * float(draw.integers(100, 4000)),
            "prefill_tokens": float(draw.integers(0, 5000)),
            "idle_s": float(draw.uniform(0.0, 2.0)),
        }
        joules = (
            TRUTH.fixed_j * window["iterations"] + TRUTH.request_j * window["requests"]
            + TRUTH.context_token_j * window["context_tokens"] + TRUTH.prefill_token_j * window["prefill_tokens"]
            + TRUTH.idle_w * window["idle_s"]
        )  # fmt: skip
        changed = factor if number * 5 >= changes_at_s else 1.0
        features.append(window)
        energy.append(joules * changed * (1 + noise * draw.standard_normal()))
        starts.append(ORIGIN_NS + number * WINDOW_NS)
    return FitWindows(features, np.asarray(energy), np.asarray(starts, np.int64))


def between(windows: FitWindows, from_ns: int, to_ns: int) -> FitWindows:
    kept = np.flatnonzero((windows.start_ns >= from_ns) & (windows.start_ns + WINDOW_NS <= to_ns))
    return FitWindows([windows.features[i] for i in kept], windows.energy_j[kept], windows.start_ns[kept])


def fitted() -> SideInputs:
    side = SideInputs()
    side.add_engine(descriptor())
    side.add_model(
        ModelVersion(descriptor().engine_class, "fit-0", ORIGIN_NS, "fit", TRUTH.coefficients(), 0.02)
    )
    return side


def decisions(windows: FitWindows, side: SideInputs, minutes: int) -> list[Decision]:
    """Slot by slot, each decision known to the next, as the worker does it."""
    made = []
    for minute in range(1, minutes + 1):
        slot = RULES.slot(ORIGIN_NS) + minute
        decision = decide(descriptor(), slot, side, lambda _, a, b: between(windows, a, b), RULES)
        side.add_model(decision.version)
        made.append(decision)
    return made


@pytest.mark.parametrize("factor", [0.8, 0.9, 1.15, 1.6])
def test_a_change_is_followed_within_five_minutes_of_engine_time(factor):
    changes_at_s = 200.0
    windows = engine(600, changes_at_s=changes_at_s, factor=factor)
    made = decisions(windows, fitted(), minutes=9)
    first = next(decision for decision in made if decision.change)
    assert first.version.effective_from_ns <= ORIGIN_NS + (changes_at_s + 300) * 1e9
    assert first.version.version.startswith("drift-")
    assert abs(first.change.since_ns - ORIGIN_NS - changes_at_s * 1e9) <= 10e9
    assert first.version.windows_from_ns == first.change.since_ns
    assert first.version.coefficients["fixed_j"] == pytest.approx(TRUTH.fixed_j * factor, rel=0.1)
    assert [decision.change for decision in made[made.index(first) + 1 :]] == [None] * (
        9 - made.index(first) - 1
    )


@given(seed=st.integers(0, 10**6), noise=st.floats(0.0, 0.1))
def test_scatter_alone_is_no_change(seed, noise):
    windows = engine(300, changes_at_s=1e9, factor=1.0, noise=noise, seed=seed)
    assert find_change(TRUTH, windows) is None


def test_one_wild_window_is_no_change():
    windows = engine(300, changes_at_s=1e9, factor=1.0)
    windows.energy_j[-1] *= 5
    windows.energy_j[20] *= 3
    assert find_change(TRUTH, windows) is None


def test_what_was_before_the_change_is_never_fitted_again():
    side = fitted()
    since_ns = ORIGIN_NS + 200_000_000_000
    side.add_model(
        replace(side.model(descriptor().engine_class, ORIGIN_NS), version="drift-1",
                effective_from_ns=ORIGIN_NS + 400_000_000_000, windows_from_ns=since_ns)
    )  # fmt: skip
    asked: list[int] = []

    def read(_: str, from_ns: int, to_ns: int) -> FitWindows:
        asked.append(from_ns)
        return between(engine(1200, changes_at_s=200, factor=0.8), from_ns, to_ns)

    slot = RULES.slot(ORIGIN_NS + 2 * RULES.epoch_ns)
    version = decide(descriptor(), slot, side, read, RULES).version
    assert asked == [since_ns]
    assert version.windows_from_ns == since_ns
    assert version.version.startswith("fit-")


def test_an_engine_without_a_fit_is_not_watched():
    side = SideInputs()
    side.add_engine(descriptor())

    def read(*_: object) -> FitWindows:
        raise AssertionError("nothing to compare with")

    decision = decide(descriptor(), RULES.slot(ORIGIN_NS) + 3, side, read, RULES)
    assert decision.version.origin == "prior"
