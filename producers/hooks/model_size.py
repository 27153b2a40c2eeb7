"""A model's weights by its configuration: what an iteration reads, and of it what only routed experts hold.

Counted as the layers are built (Vaswani et al. 2017 with gated feed-forward, arXiv:2002.05202; latent attention,
arXiv:2405.04434; mixtures of experts), not as files lie on disk. A configuration that names something else
is not guessed at, and gives zeros, which the rest of the project reads as unknown.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

__all__ = ["ModelSize", "bytes_per_weight", "kv_values_per_token", "model_size"]

PLAIN_FEED_FORWARD: Final = frozenset(
    {"bloom", "falcon", "gpt2", "gpt_bigcode", "gpt_neox", "gptj", "opt", "phi", "starcoder2"}
)
"""Model types with two matrices in a feed-forward block; all others have three (gate, up, down)."""
OTHER_LAYERS: Final = (
    "mamba_d_state",
    "ssm_cfg",
    "linear_num_value_heads",
    "layer_types_mamba",
    "state_size",
)
"""Fields of configurations whose layers are no attention."""
EXPERTS: Final = ("n_routed_experts", "num_local_experts", "num_experts")
"""A configuration's name for the number of routed experts differs from model to model."""
BYTE_WIDE: Final = ("fp8", "int8", "w8a8", "fp_quant", "modelopt", "modelopt_mxfp8")
"""Parts of the names of quantizations to a byte."""
HALF_BYTE_WIDE: Final = ("fp4", "int4", "awq", "gptq", "wna16", "bitsandbytes")
"""To four bits: what these are nearly always used for, where the configuration does not say."""


@dataclass(frozen=True, slots=True)
class ModelSize:
    """Weights of one model, over all its ranks; 0 for what is not known."""

    dense_weights: int = 0
    """Read by every iteration: attention, dense and shared feed-forward, routers, norms, the output matrix (tied or
    not). The input embedding is looked up, not read."""
    expert_weights: int = 0
    """Of all routed experts together."""
    experts: int = 0
    experts_per_token: int = 0


def model_size(config: Any) -> ModelSize:
    """The size of a decoder that a Hugging Face text configuration describes."""
    if any(getattr(config, name, None) for name in OTHER_LAYERS):
        return ModelSize()
    try:
        hidden, layers = config.hidden_size, config.num_hidden_layers
        attention = latent_attention(config) if latent(config) else grouped_attention(config)
        feed_forward = matrices(config) * hidden * config.intermediate_size
        experts = first(config, EXPERTS)
        sparse = sparse_layers(config) if experts else 0
        dense = (
            layers * (attention + 2 * hidden)
            + (layers - sparse) * feed_forward
            + sparse * (hidden * experts + shared_experts(config))
            + hidden
            + hidden * config.vocab_size
        )
        expert = (
            matrices(config)
            * hidden
            * (first(config, ("moe_intermediate_size",)) or config.intermediate_size)
        )
    except (AttributeError, TypeError):
        return ModelSize()
    per_token = first(config, ("num_experts_per_tok", "moe_topk")) if experts else 0
    return ModelSize(dense, sparse * experts * expert, experts, per_token)


def kv_values_per_token(config: Any) -> int:
    """Values that one token leaves in the KV cache, over all layers and ranks; 0 where that is not known."""
    if any(getattr(config, name, None) for name in OTHER_LAYERS):
        return 0
    try:
        if latent(config):
            return int(config.num_hidden_layers * (config.kv_lora_rank + config.qk_rope_head_dim))
        return int(2 * config.num_hidden_layers * kv_heads(config) * head_dim(config))
    except (AttributeError, TypeError):
        return 0


def bytes_per_weight(quantization: str, settings: Any, plain_bytes: float) -> float:
    """Of the large matrices: by the bits that `quantization_config` names, else by the method's name.

    settings: the model's `quantization_config`, a mapping or None. plain_bytes: where nothing is quantized.
    0 for a method that is not known.
    """
    if not quantization:
        return plain_bytes
    bits = bits_of(settings) if isinstance(settings, Mapping) else 0
    if bits:
        return bits / 8
    name = quantization.lower()
    if any(part in name for part in HALF_BYTE_WIDE):
        return 0.5
    return 1.0 if any(part in name for part in BYTE_WIDE) else 0.0


def bits_of(settings: Mapping[str, Any]) -> int:
    """Bits of a weight by a `quantization_config`, compressed-tensors' groups included; 0 where it does not say."""
    for name in ("bits", "weight_bits", "w_bit", "num_bits"):
        if isinstance(settings.get(name), int):
            return int(settings[name])
    groups = settings.get("config_groups")
    for group in groups.values() if isinstance(groups, Mapping) else ():
        weights = group.get("weights") if isinstance(group, Mapping) else None
        if isinstance(weights, Mapping) and (bits := bits_of(weights)):
            return bits
    return 0


def first(config: Any, names: tuple[str, ...]) -> int:
    """The first of these fields that is set; 0 for none."""
    return next((int(getattr(config, name)) for name in names if getattr(config, name, None)), 0)


def matrices(config: Any) -> int:
    """Matrices of a feed-forward block."""
    return 2 if getattr(config, "model_type", "") in PLAIN_FEED_FORWARD else 3


def latent(config: Any) -> bool:
    """Whether keys and values are compressed together (DeepSeek's multi-head latent attention)."""
    return bool(getattr(config, "kv_lora_rank", None))


def head_dim(config: Any) -> int:
    """Values of one attention head."""
    return int(getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads)


def kv_heads(config: Any) -> int:
    """Heads of keys and of values."""
    return int(getattr(config, "num_key_value_heads", None) or config.num_attention_heads)


def grouped_attention(config: Any) -> int:
    """Weights of one layer's query, key, value and output matrices."""
    size = head_dim(config)
    return int(config.hidden_size * size * 2 * (config.num_attention_heads + kv_heads(config)))


def latent_attention(config: Any) -> int:
    """Weights of one layer of latent attention."""
    hidden, heads = config.hidden_size, config.num_attention_heads
    query = heads * (config.qk_nope_head_dim + config.qk_rope_head_dim)
    rank = getattr(config, "q_lora_rank", None)
    down = hidden * rank + rank * query + rank if rank else hidden * query
    keys = hidden * (config.kv_lora_rank + config.qk_rope_head_dim) + config.kv_lora_rank
    up = config.kv_lora_rank * heads * (config.qk_nope_head_dim + config.v_head_dim)
    return int(down + keys + up + heads * config.v_head_dim * hidden)


def sparse_layers(config: Any) -> int:
    """Layers whose feed-forward is a mixture of experts."""
    layers = config.num_hidden_layers
    dense_first = getattr(config, "first_k_dense_replace", None) or 0
    step = getattr(config, "decoder_sparse_step", None) or getattr(config, "moe_layer_freq", None) or 1
    dense = set(getattr(config, "mlp_only_layers", None) or ())
    return sum(
        layer >= dense_first and layer not in dense and (dense_first > 0 or (layer + 1) % step == 0)
        for layer in range(layers)
    )


def shared_experts(config: Any) -> int:
    """Weights of the experts in one layer through which every token goes."""
    width = first(config, ("shared_expert_intermediate_size",))
    if not width:
        count = first(config, ("n_shared_experts", "num_shared_experts"))
        width = count * first(config, ("moe_intermediate_size",))
    return int(matrices(config) * config.hidden_size * width)
