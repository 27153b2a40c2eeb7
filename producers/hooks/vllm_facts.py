"""What a vLLM configuration says of its engine: model, precision, parallelism, and which GPUs it holds."""

import logging
from typing import Any, Final

from producers.hooks.contract import EngineFacts
from producers.hooks.model_size import bytes_per_weight, kv_values_per_token, model_size
from producers.hooks.settings import HookSettings

__all__ = ["vllm_facts"]

log: Final = logging.getLogger(__name__)


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
    size = model_size(text)
    width = bytes_per_weight(
        str(model.quantization or ""),
        getattr(text, "quantization_config", None) or getattr(model.hf_config, "quantization_config", None),
        getattr(model.dtype, "itemsize", 0),
    )
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
        weight_bytes=int(size.dense_weights * width),
        kv_bytes_per_token=kv_bytes_per_token(config),
        experts_total=size.experts,
        experts_active=min(size.experts_per_token, size.experts),
        expert_weight_bytes=int(size.expert_weights * width),
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
    """Bytes of KV cache per token over all layers and ranks; 0 where the model does not say (Mamba)."""
    model, cache = config.model_config, config.cache_config
    width = 1 if "fp8" in str(cache.cache_dtype) else getattr(model.dtype, "itemsize", 0)
    return kv_values_per_token(model.hf_text_config) * int(width)
