"""The evaluation on measured sub-batches as tables: the same rows for terminal, CSV and report."""

from evaluation.measured_results import Measured
from evaluation.tables import Table, records

__all__ = ["measured_tables"]


def measured_tables(found: Measured) -> list[Table]:
    """Methods over all requests first, then what it rests on."""
    return [
        _methods(found),
        _targets(found),
        _models(found),
        _batches(found),
        _coverage(found),
        _by_batch(found),
        _requests(found),
    ]


def _methods(found: Measured) -> Table:
    columns = (
        "method", "mean %", "90 % from", "to", "worst %", "misplaced %", "unassigned %", "model's part %",
        "estimator's part %", "share of the model",
    )  # fmt: skip
    rows = tuple(
        (
            r.title, r.mean_percent, r.low_percent, r.high_percent, r.worst_percent, r.misplaced_percent,
            r.unassigned_percent, r.model_percent, r.estimator_percent, r.model_share,
        )
        for r in found.methods
        if r.batch == "all"
    )  # fmt: skip
    return Table("measured_methods", "Distance to the measured Shapley value", columns, rows)


def _targets(found: Measured) -> Table:
    rows = tuple((t.name, t.target, t.found, "yes" if t.met else "no") for t in found.targets)
    return Table("measured_targets", "Targets", ("target", "wanted", "found", "met"), rows)


def _models(found: Measured) -> Table:
    columns = (
        "model", "cells", "fitted median %", "fitted worst %", "held out median %", "held out p95 %",
        "new sub-batches median %", "data sheet median %", "flags",
    )  # fmt: skip
    rows = tuple(
        (
            m.model, m.cells, m.fit_median_percent, m.fit_worst_percent, m.held_out_median_percent,
            m.held_out_p95_percent, m.sub_batches_median_percent, m.prior_median_percent, len(m.flags),
        )
        for m in found.models
    )  # fmt: skip
    return Table("measured_models", "The energy model's error per iteration", columns, rows)


def _batches(found: Measured) -> Table:
    columns = ("batch", "requests", "energy J", "model median %", "model worst %", "noise floor %")
    rows = tuple(
        (b.batch, b.requests, b.energy_j, b.model_median_percent, b.model_worst_percent, b.floor_percent)
        for b in found.batches
    )
    return Table("measured_batches", "The measured games", columns, rows)


def _coverage(found: Measured) -> Table:
    columns = ("intervals", "requests", "covered %", "with the measurement's %", "half width %")
    c = found.coverage
    row = ("90 %, ours", c.requests, 100.0 * c.covered, 100.0 * c.covered_both, c.mean_width_percent)
    return Table("measured_coverage", "Whether the intervals hold the measured value", columns, (row,))


def _by_batch(found: Measured) -> Table:
    return records(
        "measured_by_batch", "Every method on every batch", [r for r in found.methods if r.batch != "all"]
    )


def _requests(found: Measured) -> Table:
    columns = ("batch", "request", "shapley_j", "half_width_j", "ours_j", "ours_half_width_j")
    rows = tuple(
        (b.batch, i, *values)
        for b in found.batches
        for i, values in enumerate(
            zip(b.shapley_j, b.half_widths_j, b.ours_j, b.ours_half_widths_j, strict=True)
        )
    )
    return Table("measured_requests", "Every request: measured and ours", columns, rows)
