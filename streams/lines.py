"""What a batch's energy is divided among, and the lines that it is booked to once it is whole microjoules."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from schemas.compiled import compiled
from streams.assembly import EngineWindow
from streams.batch import AccountLine, RequestLines
from streams.models import ModelInForce
from streams.split import WindowSplit
from streams.timeline import IDLE, OVERHEAD, SERVING
from streams.uncertainty.sums import Z_90
from streams.windows import ClosedWindow

__all__ = ["EnginePart", "booked_lines", "request_scale", "weights_of"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class EnginePart:
    """One engine process in the batch, and how its energy is split."""

    window: EngineWindow
    model: ModelInForce
    split: WindowSplit


def weights_of(by_account_uj: Floats, parts: Sequence[EnginePart]) -> Floats:
    """Microjoules, in float, of idle, gap, each load, each engine's overhead, then every request."""
    overhead_j = [part.split.overhead_j for part in parts]
    overhead = _scale(by_account_uj[OVERHEAD], float(np.sum(overhead_j))) if any(overhead_j) else 0.0
    serving = _scale(by_account_uj[SERVING], sum(part.split.serving_j for part in parts))
    return np.concatenate(
        [
            by_account_uj[IDLE:],
            [part.split.overhead_j * overhead + part.split.dropped_j * serving for part in parts],
            *(part.split.request_j * serving for part in parts),
        ]
    )


def _scale(measured_uj: float, modelled_j: float) -> float:
    return measured_uj / modelled_j if modelled_j > 0 else 0.0


def booked_lines(
    closed: ClosedWindow,
    parts: Sequence[EnginePart],
    energy_uj: Ints,
    host_uj: Ints,
    edges: float,
    estimated: bool,
) -> tuple[tuple[AccountLine, ...], tuple[RequestLines, ...]]:
    """Name what `weights_of` laid out in order."""
    owners = [
        ("idle", "", ""),
        ("unobserved", "", ""),
        *(("cold_start", engine_id, load_id) for load_id, engine_id, _, _ in closed.loads),
        *(("overhead", part.window.engine_id, "") for part in parts),
    ]
    booked = zip(owners, energy_uj[: len(owners)].tolist(), host_uj[: len(owners)].tolist(), strict=True)
    accounts = tuple(AccountLine(*owner, energy, host) for owner, energy, host in booked)
    requests, at = [], len(owners)
    serving_j = sum(part.split.serving_j for part in parts)
    for part in parts:
        chosen = slice(at, at + len(part.split.request_j))
        at = chosen.stop
        requests.append(_request_lines(part, energy_uj[chosen], host_uj[chosen], serving_j, edges, estimated))
    return accounts, tuple(requests)


def request_scale(weights: Floats, parts: Sequence[EnginePart]) -> float:
    """Microjoules per modelled joule of requests, before they become integers."""
    requests = sum(len(part.split.request_j) for part in parts)
    modelled_j = sum(part.split.requested_j for part in parts)
    return _scale(float(weights[len(weights) - requests :].sum()), modelled_j)


def _request_lines(
    part: EnginePart,
    energy_uj: Ints,
    host_uj: Ints,
    serving_j: float,
    edges: float,
    estimated: bool,
) -> RequestLines:
    """One engine's requests with what they were booked, and how sure it is.

    A meter fixes the sum, so that what the model's errors give to one request they take from another; an estimate
    has no such anchor, and its errors move all requests alike.
    """
    split = part.split
    if estimated:
        loadings_uj = 1e6 * split.term_shares @ split.spread
    else:
        scale_uj = _scale(float(energy_uj.sum()), split.requested_j) * serving_j
        moved = split.term_shares @ split.spread
        loadings_uj = _anchored(moved, split.request_j, serving_j, scale_uj)
    half_width_uj, narrow_uj, sampling_uj = _certainties(loadings_uj, split.sampling, energy_uj, edges)
    return RequestLines(
        window=part.window,
        energy_uj=energy_uj,
        host_uj=host_uj,
        half_width_uj=half_width_uj,
        model_loadings_uj=narrow_uj,
        sampling_uj=sampling_uj,
        term_shares=split.term_shares,
        held_ns=split.held_ns,
    )


@compiled
def _anchored(moved: Floats, request_j: Floats, total_j: float, scale_uj: float) -> Floats:
    """(R, 7) `scale_uj` times `loadings.share_loadings` of shares @ spread, which is `moved`."""
    loadings = np.zeros(moved.shape)
    if total_j <= 0:
        return loadings
    whole = np.zeros(moved.shape[1])
    for r in range(moved.shape[0]):
        for error in range(whole.size):
            whole[error] += moved[r, error]
    for r in range(moved.shape[0]):
        part = request_j[r] / total_j
        for error in range(whole.size):
            loadings[r, error] = scale_uj * ((moved[r, error] - part * whole[error]) / total_j)
    return loadings


@compiled
def _certainties(
    loadings_uj: Floats, sampling: Floats, energy_uj: Ints, edges: float
) -> tuple[Ints, NDArray[np.float32], Ints]:
    """Half widths (R,), loadings (R, 7) as they are kept and standard errors by sampling (R,), microjoules."""
    requests, errors = loadings_uj.shape
    narrow_uj = np.empty((requests, errors), np.float32)
    half_width_uj, sampling_uj = np.empty(requests, np.int64), np.empty(requests, np.int64)
    for r in range(requests):
        variance = 0.0
        for error in range(errors):
            narrow_uj[r, error] = loadings_uj[r, error]
            variance += loadings_uj[r, error] * loadings_uj[r, error]
        drawn_uj, shown_uj = sampling[r] * energy_uj[r], edges * energy_uj[r]
        variance = variance + drawn_uj * drawn_uj + shown_uj * shown_uj
        half_width_uj[r] = np.int64(np.ceil(Z_90 * np.sqrt(variance)))
        sampling_uj[r] = np.int64(np.ceil(drawn_uj))
    return half_width_uj, narrow_uj, sampling_uj
