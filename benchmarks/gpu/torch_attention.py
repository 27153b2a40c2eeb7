"""Attention over a packed cache of unequal lengths: one flash kernel on GPUs, request by request elsewhere.

Packed means that request i's queries are rows cu_q[i]..cu_q[i+1] and its keys rows cu_k[i]..cu_k[i+1]; its last
query sits on its last key, so a chunk sees all of its context and the part of itself before it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention

__all__ = ["Attend", "Packing", "choose_attention", "flash_varlen", "per_request"]


@dataclass(frozen=True, slots=True)
class Packing:
    """Where each request's queries and keys lie, on the host and on the device."""

    query_ends: tuple[int, ...]
    """(n + 1,) cumulative, from 0."""
    key_ends: tuple[int, ...]
    """(n + 1,) cumulative, from 0."""
    cu_q: Any
    """(n + 1,) int32 on the device."""
    cu_k: Any
    max_q: int
    max_k: int


Attend = Callable[[Any, Any, Any, Packing], Any]
"""(queries (T, heads, d), keys (K, kv heads, d), values, packing) → (T, heads, d)."""


def flash_varlen(q: Any, k: Any, v: Any, packing: Packing) -> Any:
    """PyTorch's own flash attention for packed sequences; CUDA, half precision.

    The operator takes fewer key heads than query heads, and splits long contexts over the multiprocessors where
    every request has one query.
    """
    causal = packing.max_q > 1
    found = torch.ops.aten._flash_attention_forward(  # noqa: SLF001 - the public wrapper's keywords vary by release
        q, k, v, packing.cu_q, packing.cu_k, packing.max_q, packing.max_k, 0.0, causal, False
    )
    return found[0]


def per_request(q: Any, k: Any, v: Any, packing: Packing) -> Any:
    """One attention per request by `scaled_dot_product_attention`: any device, any precision."""
    groups = q.shape[1] // k.shape[1]
    out = torch.empty_like(q)
    ends = zip(pairwise(packing.query_ends), pairwise(packing.key_ends), strict=True)
    for (first_q, end_q), (first_k, end_k) in ends:
        queries, keys = end_q - first_q, end_k - first_k
        mask = None
        if queries > 1:
            mask = torch.ones(queries, keys, dtype=torch.bool, device=q.device).tril(keys - queries)
        own = [t.transpose(0, 1)[None] for t in (q[first_q:end_q], k[first_k:end_k], v[first_k:end_k])]
        own[1:] = [t.repeat_interleave(groups, dim=1) for t in own[1:]]
        found = scaled_dot_product_attention(*own, attn_mask=mask)
        out[first_q:end_q] = found[0].transpose(0, 1)
    return out


def choose_attention(device: Any, dtype: Any, heads: int, kv_heads: int, head_dim: int) -> tuple[str, Attend]:
    """Flash where it runs and agrees with the plain one on random requests, else the plain one; and its name."""
    if device.type != "cuda":
        return "per_request", per_request
    generator = torch.Generator(device=device).manual_seed(1)

    def draw(rows: int, count: int) -> Any:
        return torch.randn(rows, count, head_dim, generator=generator, device=device, dtype=dtype)

    for queries in ((1, 1, 1), (3, 64, 17)):
        packing = pack(queries, (40, 700, 0), device)
        q = draw(sum(queries), heads)
        k, v = (draw(packing.key_ends[-1], kv_heads) for _ in range(2))
        plain = per_request(q.float(), k.float(), v.float(), packing)
        try:
            found = flash_varlen(q, k, v, packing).float()
        except (RuntimeError, TypeError) as error:
            return f"per_request (flash refused: {str(error).splitlines()[0][:80]})", per_request
        off = float((found - plain).norm() / plain.norm())
        if not off < 0.02:
            return f"per_request (flash was off by {off:.1%})", per_request
    return "flash_varlen", flash_varlen


def pack(new_tokens: tuple[int, ...], context_tokens: tuple[int, ...], device: Any) -> Packing:
    """Requests side by side in the order given."""
    query_ends, key_ends = [0], [0]
    for new, context in zip(new_tokens, context_tokens, strict=True):
        query_ends.append(query_ends[-1] + new)
        key_ends.append(key_ends[-1] + new + context)
    return Packing(
        tuple(query_ends),
        tuple(key_ends),
        torch.tensor(query_ends, dtype=torch.int32, device=device),
        torch.tensor(key_ends, dtype=torch.int32, device=device),
        max(new_tokens),
        max(b - a for a, b in pairwise(key_ends)),
    )
