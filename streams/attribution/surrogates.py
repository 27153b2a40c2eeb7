"""Games with a known Shapley value that lie close to a black box: sampling then has only the difference to find.

A surrogate singles out p players and treats the other m as exchangeable and affine in their features:
with U the singled-out players that are in, s of the others, and y their centred features,
    v̂ = F_U(s) + G_U(s) · Σ y.
It is exact for decode and mixed batches of any size-dependent, context-affine v; for anything else it is only
a guess, and the estimator that uses it stays unbiased.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from streams.attribution.certificates import subsets
from streams.attribution.counted import log_factorials
from streams.attribution.games import CountedGame

__all__ = ["Borders", "Surrogate", "collapsed", "counted_borders", "nothing"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_MOST_APART: Final = 4
"""Sixteen tables of n + 1 sizes each: half of the evaluations of 200 permutations at n = 32."""
_OUTLIER: Final = 8.0
"""Sum of squared standard scores at which a player is set apart; a chunk among 31 decodes scores 60."""


@dataclass(frozen=True, slots=True)
class Borders:
    """The exact outer layers of a game of n ≥ 2 players."""

    alone: Floats
    """(n,) v of each player alone."""
    without: Floats
    """(n,) v of everybody but one."""


@dataclass(frozen=True, slots=True)
class Surrogate:
    """v̂ of a game of n players, p of them singled out, m = n − p others."""

    apart: Ints
    """(p,) the players singled out."""
    level: Floats
    """(2^p, m + 1) F."""
    slope: Floats
    """(2^p, m + 1, r) G."""
    features: Floats
    """(n, r) y: sums to 0 over the others, 0 for those singled out."""

    def values(self) -> Floats:
        """Shapley values (n,), exact, O(2^p m r)."""
        n, p = self.features.shape[0], self.apart.size
        m = n - p
        _, sizes = subsets(p)
        s = np.arange(m)
        others = np.ones(n, np.bool_)
        others[self.apart] = False
        values = np.empty(n)
        if m:
            chance = _chances(sizes, s, m - 1, n)
            step = float(np.sum(chance * np.diff(self.level, axis=1)))
            # A player's own y, and what the others' y must then sum to on average: −y s/(m−1).
            pull = s / max(m - 1, 1)
            lean = self.slope[:, 1:] * (1.0 - pull)[:, None] + self.slope[:, :-1] * pull[:, None]
            values[others] = step + self.features[others] @ np.einsum("us,usr->r", chance, lean)
        members, _ = subsets(p)
        for j, player in enumerate(self.apart):
            out = np.flatnonzero(members[:, j] == 0.0)
            chance = _chances(sizes[out], np.arange(m + 1), m, n)
            values[player] = float(np.sum(chance * (self.level[out + 2**j] - self.level[out])))
        return values

    def of_prefixes(self, orders: Ints) -> Floats:
        """(k, n) v̂ of every non-empty prefix of permutations."""
        n = self.features.shape[0]
        code, singled = np.zeros(n, np.int64), np.zeros(n, np.int64)
        code[self.apart] = 2 ** np.arange(self.apart.size)
        singled[self.apart] = 1
        u = np.cumsum(code[orders], axis=1)
        s = np.arange(1, n + 1) - np.cumsum(singled[orders], axis=1)
        sums = np.cumsum(self.features[orders], axis=1)
        return np.asarray(self.level[u, s] + np.einsum("knr,knr->kn", self.slope[u, s], sums))


def nothing(n: int) -> Surrogate:
    """The surrogate 0: best where antithetic pairs alone are exact, as for games of pairwise interactions."""
    return Surrogate(np.zeros(0, np.int64), np.zeros((1, n + 1)), np.zeros((1, n + 1, 0)), np.zeros((n, 0)))


def collapsed(game: CountedGame) -> Surrogate:
    """A surrogate of a sum game, from v at sums that no coalition need have; 2^p (m+1) (1 + 2r) evaluations.

    Singled out are the players whose features stand out, at most four. F and G are the value and
    the slope of v over the spread that Σ y has at each size (three-point Gauss-Hermite).
    """
    assert game.features is not None
    apart = _outliers(game.features)
    others = np.ones(game.n, np.bool_)
    others[apart] = False
    m = int(np.count_nonzero(others))
    centre = game.features[others].mean(axis=0)
    centred = game.features[others] - centre
    coordinates, axes = _directions(centred)
    y = centred @ coordinates.T
    s = np.arange(m + 1)
    spread = np.sqrt(np.outer(s * (m - s) / max(m - 1, 1), (y * y).mean(axis=0)))
    members, _ = subsets(apart.size)
    sums = (members @ game.features[apart])[:, None, :] + np.outer(s, centre)
    level = np.zeros(sums.shape[:2])
    level.reshape(-1)[1:] = game.of_sums(sums.reshape(-1, sums.shape[2])[1:])
    slope = np.zeros((*sums.shape[:2], axes.shape[0]))
    bend = np.zeros(level.shape)
    for r, axis in enumerate(axes):
        inner = np.flatnonzero(spread[:, r] > 0)
        reach = np.sqrt(3.0) * spread[inner, r]
        step = reach[:, None] * axis
        up, down = game.of_sums(sums[:, inner] + step), game.of_sums(sums[:, inner] - step)
        slope[:, inner, r] = (up - down) / (2.0 * reach)
        bend[:, inner] += (up + down - 2.0 * level[:, inner]) / 6.0
    features = np.zeros((game.n, axes.shape[0]))
    features[others] = y
    return Surrogate(apart, level + bend, slope, features)


def counted_borders(game: CountedGame, borders: Borders, middle: Floats) -> Surrogate:
    """A surrogate of any game: the mean energy of each size, and each player's excess at the borders between.

    `middle` (n − 1,): mean v of the coalitions of size 1..n−1 in a pilot sample.
    """
    n = game.n
    level = np.concatenate([[0.0], middle, [game.whole]])
    level[1], level[n - 1] = borders.alone.mean(), borders.without.mean()
    excess = np.stack([borders.alone - level[1], level[n - 1] - borders.without], axis=1)
    share = np.arange(n + 1) / n
    return Surrogate(np.zeros(0, np.int64), level[None], np.stack([1.0 - share, share], axis=1)[None], excess)


def _outliers(features: Floats) -> Ints:
    """Players whose features lie far from the others', at most four: prefill chunks, the longest contexts.

    One at a time, since a chunk of 2048 tokens would hide one of 64 in the spread that it makes.
    """
    left = np.arange(features.shape[0])
    while features.shape[0] - left.size < _MOST_APART and left.size > 2:
        rest = features[left]
        spread = rest.std(axis=0)
        varying = spread > 1e-12 * np.abs(rest).max(axis=0)
        score = (((rest - rest.mean(axis=0))[:, varying] / spread[varying]) ** 2).sum(axis=1)
        furthest = int(np.argmax(score))
        if score[furthest] <= _OUTLIER:
            break
        left = np.delete(left, furthest)
    return np.setdiff1d(np.arange(features.shape[0]), left)


def _directions(centred: Floats) -> tuple[Floats, Floats]:
    """Principal directions in which the players differ, r of them: maps to coordinates (r, d), steps (r, d)."""
    d = centred.shape[1]
    scale = centred.std(axis=0)
    varying = np.flatnonzero(scale > 1e-12 * np.abs(centred).max(axis=0, initial=0.0))
    coordinates, steps = np.zeros((0, d)), np.zeros((0, d))
    if varying.size:
        _, size, axes = np.linalg.svd(centred[:, varying] / scale[varying], full_matrices=False)
        kept = axes[size > 1e-9 * size[0]]
        coordinates, steps = np.zeros((kept.shape[0], d)), np.zeros((kept.shape[0], d))
        coordinates[:, varying] = kept / scale[varying]
        steps[:, varying] = kept * scale[varying]
    return coordinates, steps


def _chances(sizes: Ints, k: Ints, m: int, n: int) -> Floats:
    """(U, k) chance that a player of n comes after exactly these U and k of m exchangeable others."""
    lf = log_factorials(n)
    s = sizes[:, None] + k
    return np.asarray(np.exp(lf[s] + lf[n - 1 - s] - lf[n] + lf[m] - lf[k] - lf[m - k]))
