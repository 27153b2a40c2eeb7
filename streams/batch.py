"""What a booked batch is: the meter side, the accounts, and one line per request, as the ledger stores them."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from streams.assembly import EngineWindow
from streams.metering import MeterInterval

__all__ = ["ACCOUNTS", "AccountLine", "Batch", "RequestLines"]

ACCOUNTS = ("request", "idle", "cold_start", "overhead", "unobserved")
"""Where energy is booked; they sum to the meter."""


@dataclass(frozen=True, slots=True)
class RequestLines:
    """R requests of one engine process and what they were booked."""

    window: EngineWindow
    energy_uj: NDArray[np.int64]
    host_uj: NDArray[np.int64]
    half_width_uj: NDArray[np.int64]
    """(R,) of the 90 % interval, the meter taken as true."""
    model_loadings_uj: NDArray[np.float32]
    """(R, 7) by which each error of the energy model moves `energy_uj`, signed."""
    sampling_uj: NDArray[np.int64]
    """(R,) standard error by sampling."""
    term_shares: NDArray[np.float64]
    """(R, 7) Shapley values in the game of each coefficient alone, at 1 joule."""
    held_ns: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class AccountLine:
    """Energy without a request."""

    account: str
    engine_id: str
    load_id: str
    energy_uj: int
    host_uj: int


@dataclass(frozen=True, slots=True)
class Batch:
    """One group's batch, booked: request + idle + cold_start + overhead + unobserved = metered_uj."""

    batch_id: str
    inputs: str
    """Digest of the frames, gaps, loads and models that the rows are made of."""
    revision: int
    reason: str
    group_id: str
    partition: int
    start_ns: int
    end_ns: int
    engine_ids: tuple[str, ...]
    incarnations: tuple[str, ...]
    engine_class: str
    model: str
    gpu_model: str
    zone: str
    site: str
    meters: tuple[MeterInterval, ...]
    metered_uj: int
    host_uj: int
    accounts: tuple[AccountLine, ...]
    requests: tuple[RequestLines, ...]
    modelled_uj: int
    request_scale: float
    """Microjoules booked to requests per joule that the energy model expected of them."""
    gap_ns: int
    gap_causes: tuple[str, ...]
    busy_ns: int
    unmetered_ns: int
    features: dict[str, float]
    method: str
    permutations: int
    evaluations: int
    seed: int
    error_estimate: float
    converged: bool
    model_version: str
    model_origin: str
    tier: int
    closed_by: str
    iteration_offsets: tuple[int, int]
    energy_offsets: tuple[int, int]
    iteration_frames: int
    energy_frames: int
    ingested_ns: int
    gpus: int = 0
    """Accelerators of the group."""
    edge_error: float = 0.0
    """Standard error of `metered_uj` by the counter's habits at the window's edges, relative."""

    def account_uj(self, account: str) -> int:
        """Microjoules booked to one of ACCOUNTS."""
        if account == "request":
            return int(sum(int(lines.energy_uj.sum()) for lines in self.requests))
        return sum(line.energy_uj for line in self.accounts if line.account == account)
