"""What a batch's energy is divided among, and the lines that it is booked to once it is whole microjoules."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from streams.assembly import EngineWindow
from streams.batch import AccountLine, RequestLines
from streams.models import ModelInForce
from streams.split import WindowSplit
from streams.timeline import IDLE, OVERHEAD, SERVING
from streams.uncertainty.loadings import share_loadings
from streams.uncertainty.sums import Z_90
from streams.windows import ClosedWindow

__all__ = ["EnginePart", "booked_lines", "request_scale", "weights_of"]


@dataclass(frozen=True, slots=True)
class EnginePart:
    """One engine process in the batch, and how its energy is split."""

    window: EngineWindow
    model: ModelInForce
    split: WindowSplit


def weights_of(by_account_uj: NDArray[np.float64], parts: Sequence[EnginePart]) -> NDArray[np.float64]:
    """Microjoules, in float, of idle, gap, each load, each engine's overhead, then every request."""
    overhead_j = np.asarray([part.split.overhead_j for part in parts])
    dropped_j = np.asarray([part.split.dropped_j for part in parts])
    serving = _scale(by_account_uj[SERVING], sum(part.split.serving_j for part in parts))
    return np.concatenate(
        [
            by_account_uj[IDLE:],
            overhead_j * _scale(by_account_uj[OVERHEAD], overhead_j.sum()) + dropped_j * serving,
            *(part.split.request_j * serving for part in parts),
        ]
    )


def _scale(measured_uj: float, modelled_j: float) -> float:
    return measured_uj / modelled_j if modelled_j > 0 else 0.0


def booked_lines(
    closed: ClosedWindow,
    parts: Sequence[EnginePart],
    energy_uj: NDArray[np.int64],
    host_uj: NDArray[np.int64],
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
    accounts = tuple(
        AccountLine(account, engine_id, load_id, int(energy_uj[index]), int(host_uj[index]))
        for index, (account, engine_id, load_id) in enumerate(owners)
    )
    requests, at = [], len(owners)
    serving_j = sum(part.split.serving_j for part in parts)
    for part in parts:
        chosen = slice(at, at + len(part.split.request_j))
        at = chosen.stop
        requests.append(_request_lines(part, energy_uj[chosen], host_uj[chosen], serving_j, edges, estimated))
    return accounts, tuple(requests)


def request_scale(weights: NDArray[np.float64], parts: Sequence[EnginePart]) -> float:
    """Microjoules per modelled joule of requests, before they become integers."""
    requests = sum(len(part.split.request_j) for part in parts)
    modelled_j = sum(float(part.split.request_j.sum()) for part in parts)
    return _scale(float(weights[len(weights) - requests :].sum()), modelled_j)


def _request_lines(
    part: EnginePart,
    energy_uj: NDArray[np.int64],
    host_uj: NDArray[np.int64],
    serving_j: float,
    edges: float,
    estimated: bool,
) -> RequestLines:
    """One engine's requests with what they were booked, and how sure it is.

    A meter fixes the sum, so that what the model's errors give to one request they take from another; an estimate
    has no such anchor, and its errors move all requests alike.
    """
    split = part.split
    scale_uj = _scale(float(energy_uj.sum()), float(split.request_j.sum())) * serving_j
    loadings_uj = scale_uj * share_loadings(split.term_shares, split.spread, split.request_j, serving_j)
    if estimated:
        loadings_uj = 1e6 * split.term_shares @ split.spread
    sampling_uj = split.sampling * energy_uj
    variance = np.square(loadings_uj).sum(axis=1) + sampling_uj**2 + (edges * energy_uj) ** 2
    return RequestLines(
        window=part.window,
        energy_uj=energy_uj,
        host_uj=host_uj,
        half_width_uj=np.ceil(Z_90 * np.sqrt(variance)).astype(np.int64),
        model_loadings_uj=loadings_uj.astype(np.float32),
        sampling_uj=np.ceil(sampling_uj).astype(np.int64),
        term_shares=split.term_shares,
        held_ns=split.held_ns,
    )
