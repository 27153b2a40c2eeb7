"""What the evaluation on measured sub-batches found, as plain records: the source of table, plots and JSON."""

from dataclasses import dataclass

__all__ = ["BatchResult", "Coverage", "Measured", "MethodResult", "ModelResult", "Target"]


@dataclass(frozen=True, slots=True)
class MethodResult:
    """One method against the measured Shapley values; `batch` is `all` for the mean over all requests."""

    method: str
    title: str
    batch: str
    mean_percent: float
    """Relative distance of the mean request."""
    low_percent: float
    """With `high_percent` a 90 % interval, from what the measurement's errors might have been."""
    high_percent: float
    worst_percent: float
    misplaced_percent: float
    """Part of the energy that is booked to the wrong request."""
    unassigned_percent: float
    model_percent: float | None
    """The mean distance that comes from the model; None for methods without one."""
    estimator_percent: float | None
    model_share: float | None
    """Of the error's two parts, the model's."""


@dataclass(frozen=True, slots=True)
class BatchResult:
    """One measured game."""

    batch: str
    about: str
    model: str
    requests: int
    energy_j: float
    floor_percent: float
    """Distance that the measurement's errors alone give a perfect method, on average."""
    model_median_percent: float
    """Energy model against measurement over all sub-batches."""
    model_worst_percent: float
    shapley_j: list[float]
    half_widths_j: list[float]
    ours_j: list[float]
    ours_half_widths_j: list[float]


@dataclass(frozen=True, slots=True)
class ModelResult:
    """One model's fit to its grid; per cent of an iteration's energy."""

    model: str
    cells: int
    terms: str
    fit_median_percent: float
    fit_worst_percent: float
    held_out_median_percent: float
    held_out_p95_percent: float
    sub_batches_median_percent: float | None
    """On the sub-batches, none of which it was fitted to; None where no batch ran this model."""
    prior_median_percent: float | None
    """By data sheets alone."""
    flags: list[str]


@dataclass(frozen=True, slots=True)
class Coverage:
    """Whether 90 % intervals of our shares hold the measured Shapley value."""

    requests: int
    covered: float
    """By the share's own interval."""
    covered_both: float
    """By the share's and the measurement's together."""
    mean_width_percent: float
    """Half width relative to the share."""


@dataclass(frozen=True, slots=True)
class Target:
    """What was promised and what was found."""

    name: str
    target: str
    found: float
    met: bool


@dataclass(frozen=True, slots=True)
class Measured:
    """Everything found."""

    gpu_model: str
    cells: int
    sub_batches: int
    drift_percent: float | None
    """Standard deviation of the reference cell over the run; None with fewer than two looks."""
    methods: list[MethodResult]
    batches: list[BatchResult]
    models: list[ModelResult]
    coverage: Coverage
    targets: list[Target]
