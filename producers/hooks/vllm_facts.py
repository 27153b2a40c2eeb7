"""What a vLLM configuration says of its engine: model, precision, parallelism, and which GPUs it holds."""

import logging
from typing import Any, Final

from producers.hooks.contract import EngineFacts
from producers.hooks.settings import HookSettings

__all__ = ["vllm_facts"]

log: Final = logging.getLogger(__name__)

EXPERT_COUNTS: Final = ("n_routed_experts", "num_local_experts", "num_experts")
"""The configuration's name for the number of experts differs from model to model."""


def vllm_facts(config: Any, version: str, settings: HookSettings) -> EngineFacts:
    """Facts of the engine that a VllmConfig describes, with the GPUs as this process would number them."""
    model, parallel = config.model_config, config.parallel_config
    uuids, gpu_model = settings.gpu_uuids, ""
    if not uuids:
        uuids, gpu_model = local_gpus(parallel.local_world_size)
    served = model.served_model_name or model.model
    name = served if isinstance(served, str) else served[0]
    where = uuids[0].removeprefix("GPU-").removeprefix("MIG-")[:8] if uuids else "cpu"
    text = model.hf_text_config
    experts = next((getattr(text, key) for key in EXPERT_COUNTS if getattr(text, key, None)), 0)
    return EngineFacts(
        name=f"{name.rsplit('/', 1)[-1]}-{where}",
        software=f"vllm {version}",
        model=name,
        precision=str(model.quantization or model.dtype).removeprefix("torch."),
        gpu_uuids=uuids,
        gpu_model=gpu_model,
        tensor_parallel=parallel.tensor_parallel_size,
        pipeline_parallel=parallel.pipeline_parallel_size,
        data_parallel=parallel.data_parallel_size,
        kv_bytes_per_token=kv_bytes_per_token(config),
        experts_total=experts,
        experts_active=getattr(text, "num_experts_per_tok", 0) or 0 if experts else 0,
    )


def local_gpus(count: int) -> tuple[tuple[str, ...], str]:
    """UUIDs and product name of the engine's first `count` local devices; empty where there are none."""
    from vllm.platforms import current_platform

    if current_platform.is_cpu():
        return (), ""
    try:
        uuids = tuple(current_platform.get_device_uuid(index) for index in range(count))
        return uuids, current_platform.get_device_name(0)
    except (NotImplementedError, IndexError, RuntimeError) as error:
        log.warning(
            "wattledger: vLLM cannot tell this engine's GPUs (%s); set WATTLEDGER_GPU_UUIDS, or their energy "
            "stays without an engine",
            error,
        )
        return (), ""


def kv_bytes_per_token(config: Any) -> int:
    """Bytes of KV cache per token over all layers and ranks; 0 where the model does not say (MLA, Mamba)."""
    model, cache = config.model_config, config.cache_config
    if getattr(model, "use_mla", False) or getattr(model, "is_hybrid", False):
        return 0
    width = 1 if "fp8" in str(cache.cache_dtype) else getattr(model.dtype, "itemsize", 0)
    layers: int = model.get_total_num_hidden_layers()
    heads: int = model.get_total_num_kv_heads()
    size: int = model.get_head_size()
    return 2 * layers * heads * size * width
