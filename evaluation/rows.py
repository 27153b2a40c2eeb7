"""Turns a simulated schedule into the columns that the attribution library takes."""

import numpy as np
from numpy.typing import NDArray

from producers.simulation.requests import Requests
from producers.simulation.schedule import Schedule
from streams.attribution import Trace

__all__ = ["trace_of"]

Int64s = NDArray[np.int64]


def trace_of(schedule: Schedule, requests: Requests) -> Trace:
    """The rows of a schedule as a window with weight 1 for every iteration; O(pieces + iterations + requests).

    A prefill chunk of one token looks like a decode row there: both compute one token over their context.
    Requests whose prompts begin with the same block share a prefix group.
    """
    wide = np.flatnonzero(schedule.piece_new_tokens > 1)
    wide = wide[np.argsort(schedule.piece_first[wide], kind="stable")]
    runs = np.flatnonzero(schedule.piece_new_tokens == 1)
    return Trace(
        weights=np.ones(len(schedule.start_us)),
        padded_tokens=np.zeros(len(schedule.start_us), np.int64),
        adapter=np.full(len(requests), -1, np.int64),
        prefix_group=_prefix_groups(requests),
        decode_request=schedule.piece_request[runs].astype(np.int64),
        decode_first=schedule.piece_first[runs],
        decode_length=schedule.piece_length[runs],
        decode_context=schedule.piece_context[runs],
        wide_request=schedule.piece_request[wide].astype(np.int64),
        wide_iteration=schedule.piece_first[wide],
        wide_tokens=schedule.piece_new_tokens[wide],
        wide_context=schedule.piece_context[wide],
    )


def _prefix_groups(requests: Requests) -> Int64s:
    """(R,) groups counted from 0 by first block, -1 for none."""
    if not requests.block_tokens:
        return np.full(len(requests), -1, np.int64)
    first = np.array([blocks[0] if blocks else -1 for blocks in requests.blocks], np.int64)
    groups = np.unique(first[first >= 0])
    return np.where(first >= 0, np.searchsorted(groups, first), -1).astype(np.int64)
