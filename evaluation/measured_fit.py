"""The energy model on measured iterations: fitted to the grid, judged on what it did not see."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from evaluation.measured_data import Cell, MeasuredBatch, MeasuredModel
from schemas.errors import AttributionError, DataError
from streams.attribution import EnergyModel, Trace, gpu_sheet, iteration_energy, window_features
from streams.attribution.fit import fit_energy_model
from streams.attribution.fit_checks import Shape
from streams.uncertainty.held_out import held_out_errors
from streams.uncertainty.parameters import calibrate

__all__ = ["GridFit", "fit_grid", "modelled_j", "sub_batches"]

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class GridFit:
    """One model fitted to its grid cells."""

    model: MeasuredModel
    energy: EnergyModel
    covariance: Floats
    """(8, 8) in the order of `streams.uncertainty.parameters.CALIBRATED`."""
    terms: tuple[str, ...]
    fit_errors: Floats
    """(cells,) |modelled / measured − 1| on the cells that it was fitted to."""
    held_out_errors: Floats
    """(cells,) the same on each cell, by a fit without it."""
    prior_errors: Floats
    """(cells,) of the model from data sheets; empty where the GPU is not known."""
    flags: tuple[str, ...]


def fit_grid(model: MeasuredModel, cells: Sequence[Cell], gpu_model: str) -> GridFit:
    """Fit a model to the grid, one iteration per cell.

    DataError where the grid has too few unlike cells for it.
    """
    windows = [
        window_features(
            _trace([cell.new_tokens], [cell.context_tokens]), expert_fraction=model.expert_fraction
        )
        for cell in cells
    ]
    measured_j = np.array([cell.energy_j for cell in cells])
    prior, shape = _prior(model, gpu_model)
    try:
        fit = fit_energy_model(windows, measured_j, expert_fraction=model.expert_fraction, shape=shape)
    except AttributionError as error:
        raise DataError(
            f"grid.csv: {len(cells)} cells of {model.name} do not determine an energy model ({error}); measure "
            "another slice"
        ) from error
    ones = np.ones(len(cells))
    errors = held_out_errors(windows, measured_j, fit.terms, 0.0 * ones, ones)
    calibration = calibrate(
        windows, measured_j, errors, fit.model, prior=prior or fit.model, fitted=fit.terms, weights=ones
    )
    return GridFit(
        model=model,
        energy=fit.model,
        covariance=calibration.covariance,
        terms=tuple(fit.terms),
        fit_errors=_errors(modelled_j(fit.model, cells), measured_j),
        held_out_errors=np.abs(1.0 / (1.0 + errors) - 1.0),
        prior_errors=np.zeros(0) if prior is None else _errors(modelled_j(prior, cells), measured_j),
        flags=tuple(f"{flag.kind}: {flag.message}" for flag in fit.flags),
    )


def modelled_j(model: EnergyModel, cells: Sequence[Cell | MeasuredBatch]) -> Floats:
    """(cells,) joules that a model expects of whole iterations."""
    trace = _trace([cell.new_tokens for cell in cells], [cell.context_tokens for cell in cells])
    return iteration_energy(model, trace)


def sub_batches(model: EnergyModel, batch: MeasuredBatch) -> Floats:
    """(2^n,) joules that a model expects of every sub-batch, by mask; 0 for the empty one."""
    n = len(batch.new_tokens)
    inside = (np.arange(2**n)[:, None] >> np.arange(n) & 1).astype(bool)
    trace = _trace(
        [batch.new_tokens[members] for members in inside],
        [batch.context_tokens[members] for members in inside],
    )
    return iteration_energy(model, trace)


def _trace(new_tokens: Sequence[NDArray[np.int64]], context: Sequence[NDArray[np.int64]]) -> Trace:
    """One iteration per entry, every row a request of its own."""
    sizes = [rows.size for rows in new_tokens]
    return Trace.from_rows(
        np.repeat(np.arange(len(sizes)), sizes), np.arange(sum(sizes)), np.concatenate(new_tokens),
        np.concatenate(context), iterations=len(sizes), requests=sum(sizes),
    )  # fmt: skip


def _errors(modelled: Floats, measured_j: Floats) -> Floats:
    return np.asarray(np.abs(modelled / measured_j - 1.0))


def _prior(model: MeasuredModel, gpu_model: str) -> tuple[EnergyModel | None, Shape | None]:
    try:
        sheet = gpu_sheet(gpu_model)
    except AttributionError:
        return None, None
    experts = round(1.0 / model.expert_fraction) if model.expert_fraction else 0
    prior = EnergyModel.prior(
        weight_bytes=model.weight_bytes,
        kv_bytes_per_token=model.kv_bytes_per_token,
        gpu=sheet,
        expert_weight_bytes=model.expert_weight_bytes,
        experts_active=1 if experts else 0,
        experts_total=experts,
    )
    shape = Shape(model.weight_bytes, model.kv_bytes_per_token, sheet, model.expert_weight_bytes)
    return prior, shape
