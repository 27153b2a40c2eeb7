"""An iteration's inputs on the device: tokens, positions, where keys go, and which experts each token takes.

Rows are ordered decode first, then wider ones, and attended to in two calls, as engines do: a decode row beside a
chunk would otherwise lose the kernel that splits long contexts. Each set of rows has its own stretch of the cache,
packed from the front; the cache's contents are random, so any sub-batch can be laid out without copying.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from benchmarks.gpu.cells import Row
from benchmarks.gpu.shapes import ModelShape
from benchmarks.gpu.torch_attention import Packing, pack

__all__ = ["Inputs", "Routes", "Stretch", "lay_out"]


@dataclass(frozen=True, slots=True)
class Routes:
    """One layer's tokens sorted by expert; drawn at random, so that sub-batches touch what traffic would touch."""

    order: Any
    """(tokens · k,) which token."""
    ends: Any
    """(experts,) int32, cumulative tokens of each expert."""
    host_ends: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Stretch:
    """Rows that are attended to in one call."""

    tokens: slice
    keys: slice
    packing: Packing


@dataclass(frozen=True, slots=True)
class Inputs:
    """What one iteration computes on."""

    tokens: Any
    """(T,) ids."""
    positions: Any
    """(T,)"""
    slots: Any
    """(T,) rows of the cache that the tokens' keys and values are written to."""
    last: Any
    """(n,) each row's last token: the one that a next token is drawn from."""
    stretches: tuple[Stretch, ...]
    routes: tuple[Routes, ...]
    """One per layer of a mixture; empty for a dense model."""


def lay_out(
    rows: tuple[Row, ...], requests: tuple[int, ...], shape: ModelShape, device: Any, seed: int
) -> Inputs:
    """Inputs for an iteration with these rows; a request draws the same tokens and experts in any company."""
    ordered = sorted(zip(rows, requests, strict=True), key=lambda item: item[0][0] > 1)
    stretches, positions, slots, ids, chosen = [], [], [], [], []
    token, key = 0, 0
    for wide in (False, True):
        part = [(row, request) for row, request in ordered if (row[0] > 1) == wide]
        if not part:
            continue
        packing = pack(tuple(row[0] for row, _ in part), tuple(row[1] for row, _ in part), device)
        for ((new, context), request), end in zip(part, packing.key_ends[1:], strict=True):
            positions.append(np.arange(context, context + new))
            slots.append(key + np.arange(end - new, end))
            rng = np.random.default_rng((seed, request))
            ids.append(rng.integers(0, shape.vocab, new))
            if shape.experts:
                draws = rng.random((shape.layers, new, shape.experts))
                chosen.append(np.argsort(draws, axis=2)[..., : shape.experts_active])
        ends = (token + packing.query_ends[-1], key + packing.key_ends[-1])
        stretches.append(Stretch(slice(token, ends[0]), slice(key, ends[1]), packing))
        token, key = ends
    last = np.cumsum([row[0] for row, _ in ordered]) - 1
    routes = (
        tuple(_routes(layer, shape, device) for layer in np.concatenate(chosen, axis=1)) if chosen else ()
    )

    def put(values: Any) -> Any:
        return torch.as_tensor(np.asarray(values, np.int64), device=device)

    return Inputs(
        put(np.concatenate(ids)),
        put(np.concatenate(positions)),
        put(np.concatenate(slots)),
        put(last),
        tuple(stretches),
        routes,
    )


def _routes(chosen: Any, shape: ModelShape, device: Any) -> Routes:
    """`chosen` (tokens, experts_active) different experts per token, drawn uniformly."""
    flat = chosen.ravel()
    order = np.argsort(flat, kind="stable") // shape.experts_active
    ends = np.cumsum(np.bincount(flat, minlength=shape.experts))
    return Routes(
        torch.as_tensor(order.astype(np.int64), device=device),
        torch.as_tensor(ends.astype(np.int32), device=device),
        tuple(int(end) for end in ends),
    )
