"""Shapley values by their definition, in plain Python and NumPy: shares no code with the package it judges."""

import itertools
import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def by_permutations(v: Callable[[frozenset[int]], float], n: int) -> Floats:
    """Mean marginal contribution over all n! orders; the definition as it stands, for n ≤ 7."""
    values = np.zeros(n)
    for order in itertools.permutations(range(n)):
        present: frozenset[int] = frozenset()
        for player in order:
            joined = present | {player}
            values[player] += v(joined) - v(present)
            present = joined
    return values / math.factorial(n)


def by_subsets(energies: Floats) -> Floats:
    """All 2^n subsets: `energies[b]` is v of the players whose bits are set in b; to n = 18 or so."""
    n = energies.size.bit_length() - 1
    sizes = np.array([b.bit_count() for b in range(energies.size)])
    # v(S) counts |S|-1 of the others before a member, and |S| before an outsider.
    joined = np.array([0.0] + [1.0 / (n * math.comb(n - 1, s - 1)) for s in range(1, n + 1)])
    missed = np.array([1.0 / (n * math.comb(n - 1, s)) for s in range(n)] + [0.0])
    values = np.empty(n)
    for i in range(n):
        inside = (np.arange(energies.size) >> i) & 1 == 1
        values[i] = math.fsum(energies[inside] * joined[sizes[inside]]) - math.fsum(
            energies[~inside] * missed[sizes[~inside]]
        )
    return values


def subset_sums(features: Floats) -> Floats:
    """(2^n, d) feature sums of every subset."""
    sums = np.zeros((1, features.shape[1]))
    for row in features:
        sums = np.concatenate([sums, sums + row])
    return sums


def by_kinds(features: Floats, value: Callable[[Floats], Floats]) -> Floats:
    """Exact values of a sum game whose players are of few kinds, for any n: counts of each kind are enumerated."""
    kinds, index, count = np.unique(features, axis=0, return_inverse=True, return_counts=True)
    index, n = index.reshape(-1), features.shape[0]
    shape = [c + 1 for c in count]
    grid = np.stack(np.meshgrid(*[np.arange(c) for c in shape], indexing="ij"), -1)
    energy = value(grid.reshape(-1, count.size) @ kinds).reshape(shape)
    values = np.empty(n)
    for kind in range(count.size):
        gain = np.diff(energy, axis=kind)
        others = [c - 1 if j == kind else c for j, c in enumerate(count.tolist())]
        # Chance of these predecessors: ways to pick them, over n · C(n-1, their number).
        weight = np.array([1.0 / (n * math.comb(n - 1, s)) for s in range(n)])
        size = np.zeros([1] * count.size, np.int64)
        ways = np.ones([1] * count.size)
        for axis, c in enumerate(others):
            along = [-1 if j == axis else 1 for j in range(count.size)]
            size = size + np.arange(c + 1).reshape(along)
            ways = ways * np.array([float(math.comb(c, a)) for a in range(c + 1)]).reshape(along)
        total = float(np.sum(ways * weight[size] * gain))
        values[index == kind] = total
    return values
