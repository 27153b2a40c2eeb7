"""Everything an evaluation found, as plain records: the source of every table, plot and file."""

from dataclasses import asdict, dataclass
from math import isfinite
from typing import Any

from evaluation.criteria.axioms import Verdict
from evaluation.criteria.fairness import Distance
from evaluation.criteria.incentive import Reward
from evaluation.criteria.sample_efficiency import Efficiency
from evaluation.criteria.scalability import Exponent, Timing
from evaluation.paper_cases import LeaveOneOutCase, TokenCase

__all__ = ["About", "Bias", "Case", "Contrast", "MethodDistance", "Results", "RunFacts", "TruthGap", "plain"]


@dataclass(frozen=True, slots=True)
class About:
    """How the figures came to be."""

    command: str
    versions: dict[str, str]
    seed: int
    plan: dict[str, Any]
    requests_digest: str


@dataclass(frozen=True, slots=True)
class RunFacts:
    """The evaluated run."""

    source: str
    engine: str
    gpu_model: str
    gpus: int
    mode: str
    account: str
    requests: int
    tenants: int
    iterations: int
    request_iterations: int
    mean_batch: float
    duration_s: float
    preemptions: int
    cached_tokens: int
    prompt_tokens: int
    output_tokens: int
    energy_j: float
    shared_g: float
    """C(N) − C(∅)."""
    idle_g: float
    """C(∅)."""
    operational_g: float
    embodied_g: float
    """What of the shared carbon is charged by time."""
    model_source: str
    """Where the provider's energy model is from: fit or prior."""
    fit_error_percent: float
    """Its median error per window; held out, where fitted."""
    best_token_weight: float
    """w2 at w1 = 1."""


@dataclass(frozen=True, slots=True)
class MethodDistance:
    """One method's fairness against one truth."""

    method: str
    title: str
    truth: str
    """per-iteration, counterfactual or sampled counterfactual."""
    by: str
    """request or tenant."""
    distance: Distance
    seconds: float | None
    """Time of the method on the whole trace."""


@dataclass(frozen=True, slots=True)
class Bias:
    """Who pays too much: the signed error of a class of requests."""

    method: str
    requests_class: str
    requests: int
    share_percent: float
    """The class's part of the carbon, by the truth."""
    signed_percent: float
    """(Σφ̂ − Σφ) / Σφ over the class."""


@dataclass(frozen=True, slots=True)
class Case:
    """One small group whose counterfactual game was solved."""

    first_request: int
    requests: int
    mean_batch: float
    shared_g: float
    simulations: int
    converged: bool
    counterfactual_g: list[float]
    half_widths_g: list[float]
    per_iteration_g: list[float]
    charges_g: dict[str, list[float]]


@dataclass(frozen=True, slots=True)
class TruthGap:
    """How far the two ground truths are apart, |per-iteration − counterfactual| / counterfactual."""

    games: str
    requests: int
    mean_percent: float
    median_percent: float
    p95_percent: float
    worst_percent: float
    misplaced_percent: float
    half_width_percent: float
    """Mean relative half-width of the counterfactual values; 0 where enumerated."""


@dataclass(frozen=True, slots=True)
class Contrast:
    """The same requests under another batching."""

    mode: str
    mean_batch: float
    duration_s: float
    shared_g: float
    grams_per_1000_output_tokens: float
    mean_percent: dict[str, float]
    """Mean distance to the per-iteration truth of the methods that need no simulation."""


@dataclass(frozen=True, slots=True)
class Results:
    """The whole evaluation."""

    about: About
    run: RunFacts
    charges_g: dict[str, list[float]]
    """(R,) per method, with the truth under `per-iteration Shapley`."""
    distances: list[MethodDistance]
    biases: list[Bias]
    cases: list[Case]
    sampled_case: Case | None
    truth_gaps: list[TruthGap]
    contrasts: list[Contrast]
    timings: list[Timing]
    exponents: list[Exponent]
    efficiencies: list[Efficiency]
    rewards: list[Reward]
    verdicts: list[Verdict]
    leave_one_out_case: LeaveOneOutCase
    token_case: TokenCase
    figure1: dict[str, Any]


def plain(value: Any) -> Any:
    """Records as plain data for JSON, in which numbers that are not finite are null."""
    if hasattr(value, "__dataclass_fields__"):
        return plain(asdict(value))
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, float) and not isfinite(value):
        return None
    return value
