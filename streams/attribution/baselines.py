"""The methods in use elsewhere, for comparison: each in a line or two, with the axioms that it breaks.

Axioms (Shapley 1953): *efficiency*, the shares sum to the energy; *symmetry*, players that cost the same in
every coalition pay the same; *null player*, one that adds nothing to any coalition pays nothing; *additivity*,
the shares of v + w are those of v plus those of w. Only the Shapley value keeps all four.
"""

from collections.abc import Mapping
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from schemas.errors import AttributionError
from streams.attribution.games import CountedGame, Game

__all__ = ["BREAKS", "leave_one_out", "per_request", "per_token", "provisioned", "time_share"]

Floats = NDArray[np.float64]

BREAKS: Final[Mapping[str, tuple[str, ...]]] = {
    "per_token": ("symmetry", "null player"),
    "per_request": ("null player",),
    "provisioned": ("symmetry", "null player"),
    "time_share": ("symmetry", "null player"),
    "leave_one_out": ("efficiency",),
    "leave_one_out_scaled": ("additivity",),
}
"""Method → axioms that some batch shows it to break; the tests hold such a batch for each."""


def per_token(
    energy_j: float, prompt_tokens: ArrayLike, output_tokens: ArrayLike, *, w1: float = 1.0, w2: float = 1.0
) -> Floats:
    """In proportion to w1 · prompt + w2 · output tokens (n,), as most price lists do.

    Breaks symmetry and the null player: a prompt found in the prefix cache costs next to nothing and is
    charged in full, and a long context is charged once although every later token reads it.
    """
    tokens = w1 * np.asarray(prompt_tokens, np.float64) + w2 * np.asarray(output_tokens, np.float64)
    return _proportional(energy_j, tokens, "tokens")


def per_request(energy_j: float, n: int) -> Floats:
    """The same for everybody. Breaks the null player: whoever adds nothing pays as much as a long prefill."""
    return _proportional(energy_j, np.ones(n), "requests")


def provisioned(energy_j: float, reserved: ArrayLike) -> Floats:
    """In proportion to what was reserved (n,): cache blocks, slots, GPU share.

    Breaks symmetry and the null player: who reserves much and computes little pays for others' work.
    """
    return _proportional(energy_j, np.asarray(reserved, np.float64), "reserved")


def time_share(energy_j: float, seconds: ArrayLike) -> Floats:
    """In proportion to the time each was in the batch (n,).

    Breaks symmetry and the null player: a request that waits while others are prefilled pays for waiting.
    """
    return _proportional(energy_j, np.asarray(seconds, np.float64), "seconds")


def leave_one_out(v: Game, n: int, *, scaled: bool = False) -> Floats:
    """What the batch saves without each player, v(N) − v(N without i); n + 2 evaluations.

    Breaks efficiency: the fixed energy is nobody's as soon as two are in, so most of a small batch has no
    owner. `scaled` to v(N) it breaks additivity instead, and players whose sharing saves much pay little.
    """
    game = CountedGame(v, n)
    saved = game.whole - game.of_coalitions(~np.eye(n, dtype=np.bool_))
    return _proportional(game.whole, saved, "savings") if scaled else saved


def _proportional(energy_j: float, weights: Floats, name: str) -> Floats:
    whole = float(weights.sum())
    if weights.size == 0 or not np.isfinite(weights).all() or not whole > 0:
        raise AttributionError(f"{name} sum to {whole!r} over {weights.size} requests: nothing to split by")
    return np.asarray(energy_j * weights / whole)
