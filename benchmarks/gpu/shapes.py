"""The models that are run: their shapes, and what they weigh. Weights are random, so no file is needed."""

from dataclasses import dataclass
from typing import Final

__all__ = ["DENSE", "MOE", "TINY_DENSE", "TINY_MOE", "ModelShape"]


@dataclass(frozen=True, slots=True)
class ModelShape:
    """A decoder-only transformer with grouped-query attention; a mixture of experts where `experts` > 0."""

    name: str
    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    ffn: int
    """Width of the feed-forward part; of one expert in a mixture."""
    vocab: int
    experts: int = 0
    experts_active: int = 0
    bytes_per_value: int = 2
    """2 for bf16 weights and cache; 4 for the float32 rehearsal."""

    @property
    def kv_values_per_token(self) -> int:
        """Values in the cache for each token of context."""
        return 2 * self.layers * self.kv_heads * self.head_dim

    @property
    def kv_bytes_per_token(self) -> int:
        """Cache bytes that one more token of context makes every later iteration read."""
        return self.kv_values_per_token * self.bytes_per_value

    @property
    def expert_weight_bytes(self) -> int:
        """All routed experts together; 0 for a dense model."""
        return self.layers * self.experts * 3 * self.hidden * self.ffn * self.bytes_per_value

    @property
    def weight_bytes(self) -> int:
        """What every iteration reads: all but the routed experts and the embedding's table."""
        attention = self.hidden * self.head_dim * (2 * self.heads + 2 * self.kv_heads)
        dense = 0 if self.experts else 3 * self.hidden * self.ffn
        norms = 2 * self.hidden
        values = self.layers * (attention + dense + norms) + self.hidden * (self.vocab + 1)
        return values * self.bytes_per_value


DENSE: Final = ModelShape("dense-8b", 32, 4096, 32, 8, 128, 14336, 128_256)
"""The shape of Llama 3.1 8B."""
MOE: Final = ModelShape("moe-7b-a1b", 16, 2048, 16, 4, 128, 1024, 50_304, experts=64, experts_active=8)
"""The shape of OLMoE 1B-7B with four key-value heads: small enough to lie beside the dense model on 80 GB."""
TINY_DENSE: Final = ModelShape("tiny-dense", 2, 64, 4, 2, 16, 128, 97, bytes_per_value=4)
"""For rehearsals without a GPU."""
TINY_MOE: Final = ModelShape(
    "tiny-moe", 2, 64, 4, 2, 16, 32, 97, experts=8, experts_active=2, bytes_per_value=4
)
