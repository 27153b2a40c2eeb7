"""A batch's energy model is decided by its own event time, from windows a full epoch older."""

import numpy as np
import pytest

from schemas.side_input_codec import decode_model, encode_model
from schemas.side_inputs import ModelVersion
from streams.attribution import EnergyModel
from streams.model_epochs import EpochRules, FitWindows, decide, undecided
from streams.models import model_in_force
from streams.side_inputs import SideInputs
from tests.builders import descriptor

RULES = EpochRules()
EPOCH = 2_900_000
SLOT = EPOCH * RULES.epoch_ns // RULES.slot_ns
"""The slot that begins the epoch."""


def windows(
    count: int, truth: EnergyModel, *, batch: tuple[int, int] = (2, 60), noise: float = 0.0
) -> FitWindows:
    """Windows of 100 iterations at random batch sizes, with the energy that `truth` gives them."""
    draw = np.random.default_rng(7)
    features, energy = [], []
    for _ in range(count):
        iterations, size = 100.0, float(draw.integers(*batch))
        context = iterations * size * float(draw.integers(100, 4000))
        prefill = float(draw.integers(0, 5000))
        idle_s = float(draw.uniform(0.0, 2.0))
        features.append(
            {"iterations": iterations, "requests": iterations * size, "context_tokens": context,
             "prefill_tokens": prefill, "idle_s": idle_s}
        )  # fmt: skip
        joules = (
            truth.fixed_j * iterations + truth.request_j * iterations * size
            + truth.context_token_j * context + truth.prefill_token_j * prefill + truth.idle_w * idle_s
        )  # fmt: skip
        energy.append(joules * (1 + noise * draw.standard_normal()))
    return FitWindows(features, np.asarray(energy), np.arange(count, dtype=np.int64))


TRUTH = EnergyModel(fixed_j=4.0, request_j=0.08, context_token_j=4e-5, prefill_token_j=0.03, idle_w=130.0)


def known(**changes: object) -> SideInputs:
    side = SideInputs()
    side.add_engine(descriptor(**changes))
    return side


def test_a_fit_reads_only_windows_that_ended_a_full_epoch_before_it_takes_effect():
    asked: list[tuple[str, int, int]] = []

    def read(engine_class: str, from_ns: int, to_ns: int) -> FitWindows:
        asked.append((engine_class, from_ns, to_ns))
        return windows(60, TRUTH)

    version = decide(descriptor(), SLOT, known(), read, RULES).version
    (engine_class, from_ns, to_ns) = asked[0]
    assert engine_class == descriptor().engine_class
    assert version.effective_from_ns == EPOCH * RULES.epoch_ns
    assert to_ns == version.effective_from_ns - RULES.epoch_ns
    assert from_ns == to_ns - RULES.memory_epochs * RULES.epoch_ns


def test_a_fit_recovers_the_coefficients_that_made_the_windows():
    version = decide(descriptor(), SLOT, known(), lambda *_: windows(60, TRUTH, noise=0.01), RULES).version
    assert version.origin == "fit"
    assert version.fit_error is not None
    assert version.fit_error < 0.02
    assert decode_model(encode_model(version)) == version
    variances = dict(zip(version.coefficients, np.diag(version.covariance), strict=True))
    assert variances["fixed_j"] > 0
    for name in ("fixed_j", "request_j", "context_token_j", "idle_w"):
        assert version.coefficients[name] == pytest.approx(getattr(TRUTH, name), rel=0.1), name


def test_terms_that_the_windows_cannot_tell_apart_keep_the_figure_in_force():
    side = known()
    prior = model_in_force(descriptor(), side, 1).energy
    constant = windows(60, TRUTH, batch=(16, 17))
    version = decide(descriptor(), SLOT, side, lambda *_: constant, RULES).version
    assert version.origin == "fit"
    assert version.coefficients["request_j"] == pytest.approx(prior.request_j)
    assert version.coefficients["fixed_j"] == pytest.approx(
        TRUTH.fixed_j + 16 * (TRUTH.request_j - prior.request_j), rel=0.05
    )


@pytest.mark.parametrize("count", [0, 5])
def test_too_few_windows_leave_the_model_in_force_and_say_so(count):
    version = decide(descriptor(), SLOT, known(), lambda *_: windows(count, TRUTH), RULES).version
    assert version.origin == "prior"
    assert version.version.startswith("prior-")


def test_windows_that_no_model_describes_are_not_used():
    version = decide(descriptor(), SLOT, known(), lambda *_: windows(60, TRUTH, noise=0.8), RULES).version
    assert version.origin == "prior"


def test_one_decision_per_class_and_slot_and_the_first_published_counts():
    side = known()
    other = descriptor("lab/node-2/engine", node_id="lab/node-2")
    side.add_engine(other)
    start_ns = EPOCH * RULES.epoch_ns
    asked = {(descriptor(), start_ns + 5), (other, start_ns + 10), (other, start_ns + RULES.epoch_ns)}
    next_slot = SLOT + RULES.epoch_ns // RULES.slot_ns
    assert [slot for _, slot in undecided(asked, side, RULES)] == [SLOT, next_slot]
    first = ModelVersion(other.engine_class, "one", start_ns, "fit", TRUTH.coefficients(), 0.01)
    side.add_model(first)
    side.add_model(ModelVersion(other.engine_class, "two", start_ns, "fit", TRUTH.coefficients(), 0.01))
    assert [slot for _, slot in undecided(asked, side, RULES)] == [next_slot]
    assert side.model(other.engine_class, start_ns + 5) is first
