"""Weights by configuration, against the figures that the models' makers give."""

from types import SimpleNamespace

import pytest

from producers.hooks.model_size import ModelSize, bytes_per_weight, kv_values_per_token, model_size

LLAMA_8B = {
    "model_type": "llama", "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32,
    "num_attention_heads": 32, "num_key_value_heads": 8, "vocab_size": 128256,
}  # fmt: skip
QWEN3_30B_A3B = {
    "model_type": "qwen3_moe", "hidden_size": 2048, "intermediate_size": 6144, "num_hidden_layers": 48,
    "num_attention_heads": 32, "num_key_value_heads": 4, "head_dim": 128, "vocab_size": 151936, "num_experts": 128,
    "num_experts_per_tok": 8, "moe_intermediate_size": 768, "decoder_sparse_step": 1, "mlp_only_layers": [],
}  # fmt: skip
MIXTRAL_8X7B = {
    "model_type": "mixtral", "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32,
    "num_attention_heads": 32, "num_key_value_heads": 8, "vocab_size": 32000, "num_local_experts": 8,
    "num_experts_per_tok": 2,
}  # fmt: skip
DEEPSEEK_V3 = {
    "model_type": "deepseek_v3", "hidden_size": 7168, "intermediate_size": 18432, "num_hidden_layers": 61,
    "num_attention_heads": 128, "num_key_value_heads": 128, "vocab_size": 129280, "n_routed_experts": 256,
    "num_experts_per_tok": 8, "moe_intermediate_size": 2048, "n_shared_experts": 1, "first_k_dense_replace": 3,
    "moe_layer_freq": 1, "q_lora_rank": 1536, "kv_lora_rank": 512, "qk_nope_head_dim": 128, "qk_rope_head_dim": 64,
    "v_head_dim": 128,
}  # fmt: skip


def size(fields: dict[str, object]) -> ModelSize:
    return model_size(SimpleNamespace(**fields))


def embedding(fields: dict[str, object]) -> int:
    return int(fields["hidden_size"]) * int(fields["vocab_size"])  # type: ignore[call-overload, no-any-return]


def test_a_dense_model_is_exact_to_the_weight() -> None:
    # 8,030,261,248 parameters, of which the input embedding is looked up and not read.
    assert size(LLAMA_8B).dense_weights == 8_030_261_248 - embedding(LLAMA_8B)
    assert size(LLAMA_8B).expert_weights == 0


@pytest.mark.parametrize(
    ("fields", "billions", "active_billions"),
    [(QWEN3_30B_A3B, 30.5, 3.3), (MIXTRAL_8X7B, 46.7, 12.9), (DEEPSEEK_V3, 671.0, 37.0)],
    ids=["qwen3", "mixtral", "deepseek"],
)
def test_mixtures_of_experts_are_within_half_a_percent_and_so_is_what_a_token_uses(
    fields: dict[str, object], billions: float, active_billions: float
) -> None:
    found = size(fields)
    total = found.dense_weights + found.expert_weights + embedding(fields)
    assert total / 1e9 == pytest.approx(billions, rel=0.005)
    active = total - found.expert_weights * (1 - found.experts_per_token / found.experts)
    assert active / 1e9 == pytest.approx(active_billions, rel=0.04)


def test_the_cache_of_a_token_by_grouped_and_by_latent_attention() -> None:
    assert kv_values_per_token(SimpleNamespace(**LLAMA_8B)) * 2 == 131_072
    assert kv_values_per_token(SimpleNamespace(**DEEPSEEK_V3)) == 61 * (512 + 64)


def test_what_is_no_such_decoder_is_unknown_and_not_guessed() -> None:
    assert size({**LLAMA_8B, "mamba_d_state": 128}) == ModelSize()
    assert size({"hidden_size": 64}) == ModelSize()
    assert kv_values_per_token(SimpleNamespace(hidden_size=64)) == 0


@pytest.mark.parametrize(
    ("quantization", "settings", "width"),
    [
        ("", None, 2.0),
        ("fp8", None, 1.0),
        ("gptq_marlin", {"bits": 8}, 1.0),
        ("awq", None, 0.5),
        ("compressed-tensors", {"config_groups": {"group_0": {"weights": {"num_bits": 4}}}}, 0.5),
        ("modelopt_fp4", None, 0.5),
        ("something-new", None, 0.0),
    ],
)
def test_a_quantized_weights_width_is_what_its_configuration_says(
    quantization: str, settings: dict[str, object] | None, width: float
) -> None:
    assert bytes_per_weight(quantization, settings, 2.0) == width
