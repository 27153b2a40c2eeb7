"""Games and traffic for the attribution benchmark, with exact values that share no code with the package."""

import math
from collections.abc import Callable, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from streams.attribution import EnergyModel, Hinge, SumGame, Trace

__all__ = [
    "DENSE",
    "MIXTURE",
    "ROOFLINE",
    "by_kinds",
    "by_subsets",
    "decode_game",
    "subset_sums",
    "sum_game",
    "table",
    "traffic",
]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

DENSE: Final = EnergyModel(
    fixed_j=3.0,
    request_j=0.03,
    prefill_token_j=0.019,
    context_token_j=2.4e-5,
    attention_j=9e-7,
    excess_token_j=0.03,
    knee_tokens=128.0,
)
"""Llama-3.1-8B on one H100."""
MIXTURE: Final = EnergyModel(
    fixed_j=0.6,
    request_j=0.03,
    prefill_token_j=0.01,
    context_token_j=1.8e-5,
    experts_j=10.7,
    expert_fraction=1 / 16,
    excess_token_j=0.01,
    knee_tokens=256.0,
)
"""Qwen3-30B-A3B on two H100."""
ROOFLINE: Final = EnergyModel(
    fixed_j=3.4,
    request_j=0.02,
    context_token_j=2.7e-5,
    hinges=(Hinge(7e-4, 4800.0, per_token=16.0, per_context=-0.039, per_attention=5e-4),),
)
"""700 W over the longer of compute and memory time in microseconds, for the same 8B: crosses at 300 tokens."""


def decode_game(rng: np.random.Generator, n: int) -> tuple[SumGame, Floats]:
    """Plain decode: a fixed part, a part per request, a part per context token; its exact shares in closed form."""
    context = rng.lognormal(6.5, 0.8, n)
    fixed, each, byte = 3.2, 0.05, 2.4e-5

    def value(sums: Floats) -> Floats:
        return np.asarray(
            np.where(sums[..., 0] > 0.5, fixed + each * sums[..., 0] + byte * sums[..., 1], 0.0)
        )

    return SumGame(np.stack([np.ones(n), context], axis=1), value), fixed / n + each + byte * context


def chunk_game(rng: np.random.Generator, n: int) -> tuple[SumGame, Floats]:
    """The same with one prefill chunk of 2,048 tokens, at 0.019 J a token, among the decodes."""
    context = rng.lognormal(6.5, 0.8, n)
    own = 0.05 + 2.4e-5 * context
    own[0] += 0.019 * 2048

    def value(sums: Floats) -> Floats:
        return np.asarray(np.where(sums[..., 0] > 0.5, 3.2 + sums[..., 1], 0.0))

    return SumGame(np.stack([np.ones(n), own], axis=1), value), 3.2 / n + own


def sum_game(rng: np.random.Generator, n: int) -> tuple[SumGame, Floats]:
    """A batch of few kinds under one of five energy functions: linear, roofline, tiles, power cap, experts."""
    contexts = rng.lognormal(7, 1, int(rng.integers(1, 4))).astype(int)
    tokens, context = np.ones(n), rng.choice(contexts, n).astype(np.float64)
    chunks = int(rng.integers(0, 3))
    tokens[:chunks] = rng.choice([64, 200, 512, 1000, 2048], chunks)
    context[:chunks] = rng.choice([0, 512, 2048], chunks)
    kind = rng.choice(["linear", "roofline", "tiles", "power_cap", "experts"])

    def value(sums: Floats) -> Floats:
        count, q, c, a = np.moveaxis(sums, -1, 0)
        effective = np.ceil(q / 64 - 1e-9) * 64 if kind == "tiles" else q
        compute, memory = 16 * effective + 5e-4 * a, 4800 + 0.039 * c
        energy = 7e-4 * (memory + compute if kind == "linear" else np.maximum(compute, memory))
        if kind == "experts":
            energy = energy + 10 * (1 - (15 / 16) ** q)
        if kind == "power_cap":
            energy = np.minimum(energy, 3 + 0.6 * (energy - 3))
        return np.asarray(np.where(count > 0.5, energy + 0.02 * count, 0.0))

    features = np.stack([np.ones(n), tokens, context, tokens * context], axis=1)
    return SumGame(features, value), by_kinds(features, value)


def by_kinds(features: Floats, value: Callable[[Floats], Floats]) -> Floats:
    """Exact values of a sum game of few kinds of player: counts of each kind are enumerated."""
    kinds, index, count = np.unique(features, axis=0, return_inverse=True, return_counts=True)
    index, n = index.reshape(-1), features.shape[0]
    grid = np.stack(np.meshgrid(*[np.arange(c + 1) for c in count], indexing="ij"), -1)
    energy = value(grid.reshape(-1, count.size) @ kinds).reshape([c + 1 for c in count])
    weight = np.array([1.0 / (n * math.comb(n - 1, s)) for s in range(n)])
    values = np.empty(n)
    for kind in range(count.size):
        gain = np.diff(energy, axis=kind)
        size, ways = np.zeros([1] * count.size, np.int64), np.ones([1] * count.size)
        for axis, c in enumerate(count.tolist()):
            others = c - 1 if axis == kind else c
            along = [-1 if j == axis else 1 for j in range(count.size)]
            size = size + np.arange(others + 1).reshape(along)
            ways = ways * np.array([float(math.comb(others, a)) for a in range(others + 1)]).reshape(along)
        values[index == kind] = float(np.sum(ways * weight[size] * gain))
    return values


def subset_sums(features: Floats) -> Floats:
    """(2^n, d) feature sums of every subset."""
    sums = np.zeros((1, features.shape[1]))
    for row in features:
        sums = np.concatenate([sums, sums + row])
    return sums


def by_subsets(energies: Floats) -> Floats:
    """Exact values from v of all 2^n subsets, bit i of the index saying that player i is in."""
    n = energies.size.bit_length() - 1
    index = np.arange(energies.size)
    sizes = np.zeros(energies.size, np.int64)
    for i in range(n):
        sizes += (index >> i) & 1
    joined = np.array([0.0] + [1.0 / (n * math.comb(n - 1, s - 1)) for s in range(1, n + 1)])
    missed = np.array([1.0 / (n * math.comb(n - 1, s)) for s in range(n)] + [0.0])
    values = np.empty(n)
    for i in range(n):
        inside = (index >> i) & 1 == 1
        values[i] = (energies[inside] * joined[sizes[inside]]).sum() - (
            energies[~inside] * missed[sizes[~inside]]
        ).sum()
    return values


def traffic(rng: np.random.Generator, iterations: int, batch: int, budget: int = 2048) -> Trace:
    """Ordinary serving: Poisson arrivals, prompts around 500 tokens (lognormal), outputs around 250 (geometric).

    Prefill is chunked to `budget` tokens an iteration; the engine starts in its steady state.
    """
    output = 250.0
    rows: list[tuple[int, int, int, int]] = []
    live: list[list[int]] = []
    requests = 0
    for t in range(iterations):
        arrivals = batch if t == 0 else int(rng.poisson(batch / output))
        for _ in range(arrivals):
            prompt = int(min(rng.lognormal(6.2, 1.0), 100_000)) + 1
            done = t == 0
            live.append(
                [requests, 0 if done else prompt, prompt if done else 0, int(rng.geometric(1 / output))]
            )
            requests += 1
        left = budget
        for request in live:
            who, prompt, context, _ = request
            q = 1 if prompt == 0 else min(prompt, left)
            if q:
                rows.append((t, who, q, context))
                request[2] += q
            if prompt:
                request[1] -= q
                left -= q
            else:
                request[3] -= 1
        live = [request for request in live if request[3] > 0]
    columns = np.array(sorted(rows, key=lambda row: (row[1], row[0]))).T
    return Trace.from_rows(*columns, iterations=iterations, requests=requests)


def table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    """A Markdown table."""
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
