"""An engine's rows without writing them out: stretches of plain decode, and the rows that are anything else.

A plain decode row says nothing that its neighbour did not, so a stay of a request in the batch is one run,
and what follows costs O(spans + exceptions) instead of O(rows).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Runs"]

Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Runs:
    """D runs of plain decode rows (one new token, delivered) and W other rows."""

    request: Ints
    """(D,)"""
    first: Ints
    """(D,) iteration of the run's first row."""
    length: Ints
    """(D,) consecutive iterations, ≥ 1."""
    context: Ints
    """(D,) tokens in the KV cache before the first row; one more before each following row."""
    other_request: Ints
    """(W,)"""
    other_iteration: Ints
    """(W,)"""
    other_new_tokens: Ints
    """(W,) a prefill chunk, 1 + drafts, or 1 whose output was not delivered."""
    other_context: Ints
    """(W,)"""
    other_drafts: Ints
    """(W,)"""
    other_emitted: Ints
    """(W,)"""

    @property
    def rows(self) -> int:
        """Request-iterations."""
        return int(self.length.sum()) + len(self.other_request)
