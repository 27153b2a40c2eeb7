"""What a simulated fleet really did: joules by group, account and window, to hold a ledger against."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from producers.simulation.fleet import Fleet
from producers.simulation.timeline import ACCOUNTS

__all__ = ["GroupTruth", "group_truth", "truth_document"]


@dataclass(frozen=True, slots=True, eq=False)
class GroupTruth:
    """One group over W windows of the Unix epoch's grid, the first and last cut by the scenario."""

    group_id: str
    window_ns: NDArray[np.int64]
    """(W + 1,) window edges, the scenario's start and end among them."""
    accounts_j: NDArray[np.float64]
    """(4, W) joules in the order of `timeline.ACCOUNTS`."""


def group_truth(fleet: Fleet, group_id: str, origin_ns: int) -> GroupTruth:
    """The true accounts of one group of a fleet placed at `origin_ns`."""
    timeline = fleet.timeline(group_id)
    window_ns = fleet.scenario.window_us * 1000
    end_ns = origin_ns + timeline.end_us * 1000
    inner = np.arange((origin_ns // window_ns + 1) * window_ns, end_ns, window_ns, dtype=np.int64)
    edges_ns = np.concatenate([[origin_ns], inner, [end_ns]]).astype(np.int64)
    accounts_j = np.diff(timeline.accounts_j((edges_ns - origin_ns) // 1000), axis=1)
    return GroupTruth(group_id=group_id, window_ns=edges_ns, accounts_j=accounts_j)


def truth_document(fleet: Fleet, origin_ns: int) -> dict[str, Any]:
    """The truth of every group as plain data for a JSON file."""
    engines = {run.log.group_id: run for run in fleet.engines}
    groups = []
    for group in fleet.groups:
        truth = group_truth(fleet, group.group_id, origin_ns)
        run = engines.get(group.group_id)
        groups.append(
            {
                "group_id": group.group_id,
                "engines": [] if run is None else [run.log.engine_id],
                "accounts_j": dict(zip(ACCOUNTS, truth.accounts_j.sum(axis=1).tolist(), strict=True)),
                "requests": 0 if run is None else len(run.log.requests),
                "iterations": 0 if run is None else len(run.log.start_us),
                "request_iterations": 0 if run is None else run.log.schedule.request_iterations,
                "window_ns": truth.window_ns.tolist(),
                "window_accounts_j": dict(zip(ACCOUNTS, truth.accounts_j.tolist(), strict=True)),
            }
        )
    return {"origin_ns": origin_ns, "end_ns": origin_ns + fleet.end_us * 1000, "groups": groups}
