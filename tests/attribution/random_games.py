"""Random batches and models for the tests: decode, prefill chunks, long contexts, groups, every term."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from streams.attribution import EnergyModel, Hinge, IterationRows
from tests.attribution.enumeration import by_subsets, subset_sums

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

DENSE = EnergyModel(
    fixed_j=3.2,
    request_j=0.03,
    prefill_token_j=0.019,
    context_token_j=2.4e-5,
    attention_j=9e-7,
    excess_token_j=0.03,
    knee_tokens=128.0,
    padding_token_j=0.004,
    adapter_j=0.4,
    prefix_group_j=0.2,
)
"""An 8B on an H100, with groups."""

MIXTURE = replace(DENSE, fixed_j=0.6, experts_j=10.7, expert_fraction=1 / 16)

ROOFLINE = EnergyModel(
    fixed_j=3.4,
    request_j=0.02,
    context_token_j=2.7e-5,
    hinges=(Hinge(7e-4, 4800.0, per_token=16.0, per_context=-0.039, per_attention=5e-4),),
)
"""700 W over the longer of compute and memory time, in microseconds: 8B, H100."""


def batch(rng: np.random.Generator, n: int, wide: float = 0.2) -> IterationRows:
    """A batch of n requests, a part of them prefill chunks of 2 to 4096 tokens, contexts up to 128k."""
    chunk = np.exp(rng.uniform(np.log(2), np.log(4096), n)).astype(np.int64)
    tokens = np.where(rng.random(n) < wide, chunk, 1)
    context = np.exp(rng.uniform(0, np.log(131_072), n)).astype(np.int64)
    return IterationRows(
        tokens,
        context,
        adapter=rng.integers(-1, 3, n),
        prefix_group=rng.integers(0, 4, n).astype(np.uint64),
        padded_tokens=int(tokens.sum() + rng.integers(0, 8)),
    )


def energies(model: EnergyModel, rows: IterationRows) -> Floats:
    """(2^n,) joules of every subset, written out from the model's definition."""
    q = np.asarray(rows.new_tokens, np.float64)
    c = np.asarray(rows.context_tokens, np.float64)
    n = q.size
    groups = [
        (np.asarray(ids) == g).astype(np.float64)
        for ids, none in ((rows.adapter, -1), (rows.prefix_group, 0))
        for g in ((0, 1, 2) if none == -1 else (1, 2, 3))
    ]
    count, tokens, context, attention, *present = subset_sums(
        np.stack([np.ones(n), q, c, q * c, *groups], 1)
    ).T
    padding = max(0.0, rows.padded_tokens - q.sum()) * count / n
    energy = model.fixed_j * (count > 0) + model.request_j * count + model.prefill_token_j * (tokens - count)
    energy = energy + model.context_token_j * context + model.attention_j * attention
    energy = energy + model.experts_j * (1 - (1 - model.expert_fraction) ** tokens)
    energy = energy + model.excess_token_j * np.maximum(0, tokens - model.knee_tokens)
    energy = energy + model.padding_token_j * padding
    energy = energy + model.adapter_j * sum((p > 0).astype(float) for p in present[:3])
    energy = energy + model.prefix_group_j * sum((p > 0).astype(float) for p in present[3:])
    for hinge in model.hinges:
        demand = (
            hinge.per_request * count
            + hinge.per_token * tokens
            + hinge.per_context * context
            + hinge.per_attention * attention
        )
        energy = energy + hinge.weight_j * np.maximum(0, demand - hinge.threshold)
    return np.asarray(energy)


def exact_shares(model: EnergyModel, rows: IterationRows) -> Floats:
    """Shapley values by enumeration of the written-out energies."""
    return by_subsets(energies(model, rows))


def hash_game(salt: int, n: int, bumps: float = 0.3):
    """An opaque game with no structure: a smooth part and a hash of the coalition; counts its calls."""
    weights = np.random.default_rng(salt).random(n)
    calls = {"coalitions": 0}

    def v(coalitions: Bools) -> Floats:
        calls["coalitions"] += coalitions.shape[0]
        code = coalitions @ (2 ** np.arange(n, dtype=np.uint64))
        mixed = (code.astype(np.uint64) ^ np.uint64(salt)) * np.uint64(0x9E3779B97F4A7C15)
        noise = (mixed >> np.uint64(40)).astype(np.float64) / 2**24
        present = coalitions.any(axis=1)
        return np.where(present, 2.0 + coalitions @ weights + bumps * noise, 0.0)

    return v, calls
