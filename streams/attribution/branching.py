"""A hinge's coalitions as a tree: players are decided one by one, largest |d| first, until no piece can cross.

A node is a subset U of the m players decided so far. Where the others can never carry the sum across the
threshold (an interval test), the hinge is linear on the node, and the node is a leaf in closed form. Nodes
that still cross are split further, up to a budget; what crosses then is left to the series.

Players arrive at uniform times, so at time t the decided ones are exactly U with probability
t^|U| (1−t)^(m−|U|). With E_t the expected hinge over the undecided ones, U adds to a decided player j
∫ t^(|U|−1) (1−t)^(m−|U|) E_t dt if j is in U and takes ∫ t^|U| (1−t)^(m−1−|U|) E_t dt if it is not.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

__all__ = ["Crossing", "branch", "decided_shares"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_BUDGET: Final = 128
"""Crossing nodes at which splitting stops: each costs the series 64 cosines."""
_SMALL: Final = 4096
"""The same where all players can be decided: twelve players are enumerated rather than approximated."""
_DEPTH: Final = 60
"""Players that one 64-bit mask holds."""


@dataclass(frozen=True, slots=True)
class Crossing:
    """The nodes that still cross when splitting stops, U of them, after `decided` players."""

    decided: int
    sums: Floats
    """(U,) Σ d over the players that are in."""
    sizes: Ints
    """(U,) how many are in."""
    members: Ints
    """(U,) bit j: player j is in."""


def branch(d: Floats, threshold: float) -> tuple[Floats, Crossing | None]:
    """Shapley values of max(0, Σd − threshold) from all closed leaves, and the nodes left crossing, if any.

    `d` (n,) by falling |d|. O(leaves · n); exact if nothing is left.
    """
    n = d.size
    positive = np.append(np.cumsum(np.maximum(d, 0.0)[::-1])[::-1], 0.0)
    negative = np.append(np.cumsum(np.minimum(d, 0.0)[::-1])[::-1], 0.0)
    budget = _SMALL if 2**n <= _SMALL else _BUDGET
    above, sizes, members = np.array([-threshold]), np.zeros(1, np.int64), np.zeros(1, np.int64)
    leaves: list[tuple[Floats, Ints, Ints, int]] = []
    depth = 0
    while True:
        active = above + negative[depth] >= 0.0
        if active.any():
            leaves.append((above[active], sizes[active], members[active], depth))
        crossing = (above + positive[depth] > 0.0) & ~active
        above, sizes, members = above[crossing], sizes[crossing], members[crossing]
        if above.size == 0 or 2 * above.size > budget or depth == _DEPTH:
            break
        above = np.concatenate([above, above + d[depth]])
        sizes = np.concatenate([sizes, sizes + 1])
        members = np.concatenate([members, members | (1 << depth)])
        depth += 1
    shares = _closed_shares(d, leaves, positive + negative)
    if above.size == 0:
        return shares, None
    return shares, Crossing(depth, above + threshold, sizes, members)


def decided_shares(members: Ints, depths: Ints, joined: Floats, missed: Floats, n: int) -> Floats:
    """(n,) what nodes give to decided players: `joined` where the player is in, minus `missed` where it is out."""
    deepest = int(depths.max(initial=0))
    shares = np.zeros(n)
    bits = ((members[:, None] >> np.arange(deepest)) & 1).astype(np.float64)
    decided = np.cumsum(np.bincount(depths, missed, deepest + 1)[::-1])[::-1]
    shares[:deepest] = (joined + missed) @ bits - decided[1:]
    return shares


def _closed_shares(d: Floats, leaves: list[tuple[Floats, Ints, Ints, int]], rest: Floats) -> Floats:
    """Shares from the linear leaves, where E_t = above + t · rest."""
    if not leaves:
        return np.zeros(d.size)
    above = np.concatenate([leaf[0] for leaf in leaves])
    sizes = np.concatenate([leaf[1] for leaf in leaves])
    members = np.concatenate([leaf[2] for leaf in leaves])
    depths = np.repeat(np.array([leaf[3] for leaf in leaves]), [leaf[0].size for leaf in leaves])
    table = _betas()[:, depths, sizes]
    joined = above * table[0] + rest[depths] * table[1]
    missed = above * table[2] + rest[depths] * table[3]
    slope = np.cumsum(np.bincount(depths, table[1], d.size + 1))[: d.size]
    return decided_shares(members, depths, joined, missed, d.size) + d * slope


@lru_cache(maxsize=1)
def _betas() -> Floats:
    """(4, m, u) ∫ t^a (1−t)^b dt with (a, b) = (u−1, m−u), (u, m−u), (u, m−1−u), (u+1, m−1−u).

    0 where an exponent is negative: nobody is in, or nobody is out.
    """
    m, u = np.meshgrid(np.arange(_DEPTH + 1), np.arange(_DEPTH + 1), indexing="ij")
    log_factorial = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, _DEPTH + 3)))])

    def beta(a: Ints, b: Ints) -> Floats:
        logs = log_factorial[np.maximum(a, 0)] + log_factorial[np.maximum(b, 0)] - log_factorial[a + b + 1]
        return np.asarray(np.where((a >= 0) & (b >= 0), np.exp(logs), 0.0))

    return np.stack([beta(u - 1, m - u), beta(u, m - u), beta(u, m - 1 - u), beta(u + 1, m - 1 - u)])
