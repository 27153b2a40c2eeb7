"""What a simulated engine did, as columns: iterations with their features, and the rows in span form."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from producers.simulation.engine_types import EngineType
from producers.simulation.physics import energy_j

__all__ = ["Schedule", "iteration_energy_j"]

Int32s = NDArray[np.int32]
Int64s = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Schedule:
    """I iterations, P pieces, R requests; times in whole microseconds from the trace's start.

    A piece is a run of consecutive iterations of one request: either one prefill chunk (length 1) or a
    stretch of decode rows, each of which computes one token, emits one and deepens the context by one.
    """

    start_us: Int64s
    """(I,) ascending."""
    end_us: Int64s
    """(I,) > start; the next iteration starts no earlier."""
    decode_rows: Int64s
    """(I,)"""
    prefill_rows: Int64s
    """(I,)"""
    context_tokens: Int64s
    """(I,) Σ over decode rows of the tokens in the KV cache before the row."""
    prefill_tokens: Int64s
    """(I,)"""
    prefill_pairs: Int64s
    """(I,) Σ over chunks of tokens × context before + tokens × (tokens + 1) / 2."""
    kv_tokens: Int64s
    """(I,) tokens of running requests in the KV cache when the iteration ends, shared ones once."""

    piece_request: Int32s
    """(P,) index of the request in the trace."""
    piece_first: Int64s
    """(P,) index of the piece's first iteration."""
    piece_length: Int64s
    """(P,) iterations."""
    piece_context: Int64s
    """(P,) tokens in the KV cache before the first row."""
    piece_new_tokens: Int64s
    """(P,) tokens per row: a chunk, or 1."""
    piece_emitted: Int32s
    """(P,) tokens delivered per row: 1 but for a chunk that is not the last."""
    piece_prefill: NDArray[np.bool_]
    """(P,) whether the piece is a chunk."""

    admitted_us: Int64s
    """(R,) start of the first iteration with the request."""
    finished_us: Int64s
    """(R,)"""
    admission: Int64s
    """(R,) rank by admission, from 0."""
    cached_tokens: Int32s
    """(R,) prompt tokens found in the prefix cache at first admission."""
    reused_tokens: Int64s
    """(R,) tokens found in the prefix cache, first admission and resumptions together."""
    lost_tokens: Int64s
    """(R,) KV tokens given up by preemptions, to be computed again or found in the prefix cache."""
    preemptions: Int32s
    """(R,)"""

    @property
    def request_iterations(self) -> int:
        """Rows: requests in iterations."""
        return int(self.piece_length.sum())


def iteration_energy_j(schedule: Schedule, engine: EngineType) -> NDArray[np.float64]:
    """(I,) joules of each iteration by the measured tables."""
    return energy_j(
        engine,
        schedule.decode_rows,
        schedule.context_tokens,
        schedule.prefill_tokens,
        schedule.prefill_pairs,
    )
