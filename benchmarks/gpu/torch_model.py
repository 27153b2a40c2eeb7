"""A transformer's forward pass in plain PyTorch, over a cache that outlives it; weights are drawn, not loaded.

Root-mean-square norms, rotary positions, grouped-query attention, gated feed-forward parts: the Llama family's
arithmetic, with every matrix in one piece as engines fuse them. Nothing in it waits for the host, so that it can be
recorded as a CUDA graph.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

import torch
from torch.nn.functional import rms_norm, silu

from benchmarks.gpu.shapes import ModelShape
from benchmarks.gpu.torch_attention import Attend
from benchmarks.gpu.torch_batch import Inputs, Routes

__all__ = ["Layer", "Mix", "Weights", "choose_mix", "draw_weights", "forward", "mix_by_expert", "mix_grouped"]

_ROTARY_BASE: Final = 500_000.0
_SCALE: Final = 0.02
"""Standard deviation of the weights; outputs stay finite in bf16 over 32 layers."""


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer's matrices, inputs last: y = x @ w."""

    attention_norm: Any
    qkv: Any
    out: Any
    ffn_norm: Any
    gate_up: Any
    """(hidden, 2·ffn), or (experts, hidden, 2·ffn)."""
    down: Any
    """(ffn, hidden), or (experts, ffn, hidden)."""


@dataclass(frozen=True, slots=True)
class Weights:
    """A whole model."""

    shape: ModelShape
    embedding: Any
    layers: tuple[Layer, ...]
    norm: Any
    head: Any
    frequencies: Any
    """(head_dim / 2,) of the rotary positions."""


Mix = Callable[[Any, Layer, Routes], Any]
"""(tokens (T, hidden), layer, routes) → (T, hidden): the experts' answers, averaged."""


def draw_weights(shape: ModelShape, device: Any, dtype: Any, seed: int) -> Weights:
    """Random weights; the same seed gives the same ones on the same kind of device."""
    generator = torch.Generator(device=device).manual_seed(seed)

    def draw(*size: int) -> Any:
        return torch.empty(*size, device=device, dtype=dtype).normal_(0.0, _SCALE, generator=generator)

    def ones() -> Any:
        return torch.ones(shape.hidden, device=device, dtype=dtype)

    lead = (shape.experts,) if shape.experts else ()
    heads = (shape.heads + 2 * shape.kv_heads) * shape.head_dim
    layers = tuple(
        Layer(
            ones(), draw(shape.hidden, heads), draw(shape.heads * shape.head_dim, shape.hidden),
            ones(), draw(*lead, shape.hidden, 2 * shape.ffn), draw(*lead, shape.ffn, shape.hidden),
        )
        for _ in range(shape.layers)
    )  # fmt: skip
    exponents = torch.arange(0, shape.head_dim, 2, device=device, dtype=torch.float32) / shape.head_dim
    return Weights(
        shape,
        draw(shape.vocab, shape.hidden),
        layers,
        ones(),
        draw(shape.hidden, shape.vocab),
        _ROTARY_BASE**-exponents,
    )


def forward(weights: Weights, inputs: Inputs, cache: Any, attend: Attend, mix: Mix) -> Any:
    """Logits (n, vocab) of each row's last token; writes the new tokens' keys and values into `cache`.

    `cache` is (layers, 2, slots, kv heads, head_dim).
    """
    shape = weights.shape
    angles = inputs.positions[:, None].float() * weights.frequencies
    turn = (angles.cos()[:, None].to(cache.dtype), angles.sin()[:, None].to(cache.dtype))
    x = weights.embedding[inputs.tokens]
    split = (shape.heads, shape.kv_heads, shape.kv_heads)
    for number, layer in enumerate(weights.layers):
        keys, values = cache[number, 0], cache[number, 1]
        fused = rms_norm(x, (shape.hidden,), layer.attention_norm) @ layer.qkv
        q, k, v = fused.view(-1, sum(split), shape.head_dim).split(split, dim=1)
        q, k = _rotated(q, turn), _rotated(k, turn)
        keys.index_copy_(0, inputs.slots, k)
        values.index_copy_(0, inputs.slots, v.contiguous())
        seen = [
            attend(q[part.tokens], keys[part.keys], values[part.keys], part.packing)
            for part in inputs.stretches
        ]
        x = x + torch.cat(seen).reshape(-1, shape.heads * shape.head_dim) @ layer.out
        y = rms_norm(x, (shape.hidden,), layer.ffn_norm)
        x = x + (
            mix(y, layer, inputs.routes[number]) if shape.experts else _gated(y @ layer.gate_up) @ layer.down
        )
    return rms_norm(x[inputs.last], (shape.hidden,), weights.norm) @ weights.head


def mix_by_expert(x: Any, layer: Layer, routes: Routes) -> Any:
    """Each touched expert on its tokens, one after the other: any device; launches three kernels per expert."""
    taken = x[routes.order]
    found = torch.empty_like(taken)
    for expert, (first, end) in enumerate(pairwise((0, *routes.host_ends))):
        if end > first:
            found[first:end] = _gated(taken[first:end] @ layer.gate_up[expert]) @ layer.down[expert]
    return _averaged(x, found, routes)


def mix_grouped(x: Any, layer: Layer, routes: Routes) -> Any:
    """All touched experts in two grouped matrix products: CUDA, bf16."""
    taken = x[routes.order]
    hidden = _gated(torch._grouped_mm(taken, layer.gate_up, offs=routes.ends))  # noqa: SLF001 - public from 2.10 on
    found = torch._grouped_mm(hidden, layer.down, offs=routes.ends)  # noqa: SLF001
    return _averaged(x, found, routes)


def choose_mix(device: Any, shape: ModelShape, layer: Layer, routes: Routes) -> tuple[str, Mix]:
    """The grouped product where it runs and agrees with the plain loop on random tokens, else the loop."""
    if device.type != "cuda":
        return "mix_by_expert", mix_by_expert
    tokens = len(routes.order) // shape.experts_active
    x = torch.randn(tokens, shape.hidden, device=device, dtype=layer.down.dtype)
    plain = mix_by_expert(x, layer, routes).float()
    try:
        found = mix_grouped(x, layer, routes).float()
    except (RuntimeError, AttributeError, TypeError) as error:
        return f"mix_by_expert (grouped refused: {str(error).splitlines()[0][:80]})", mix_by_expert
    off = float((found - plain).norm() / plain.norm())
    if not off < 0.02:
        return f"mix_by_expert (grouped was off by {off:.1%})", mix_by_expert
    return "mix_grouped", mix_grouped


def _averaged(x: Any, found: Any, routes: Routes) -> Any:
    share = x.shape[0] / routes.order.shape[0]
    return torch.zeros_like(x).index_add_(0, routes.order, found * share)


def _gated(fused: Any) -> Any:
    gate, up = fused.chunk(2, dim=-1)
    return silu(gate) * up


def _rotated(x: Any, turn: tuple[Any, Any]) -> Any:
    cos, sin = turn
    one, two = x.chunk(2, dim=-1)
    return torch.cat([one * cos - two * sin, two * cos + one * sin], dim=-1)
