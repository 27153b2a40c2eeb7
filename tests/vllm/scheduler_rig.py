"""Drives vLLM's own Scheduler as its engine core does, without a model: outputs are made up.

Beside it runs an oracle that writes down, row by row and straight from the scheduler's requests, what the
hook must have recorded.
"""

from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from vllm.config import (
    CacheConfig,
    DeviceConfig,
    ModelConfig,
    ParallelConfig,
    SchedulerConfig,
    SpeculativeConfig,
    VllmConfig,
)
from vllm.sampling_params import SamplingParams
from vllm.utils.hashing import get_hash_fn_by_name
from vllm.v1.core.kv_cache_utils import get_request_block_hasher, init_none_hash
from vllm.v1.core.sched.async_scheduler import AsyncScheduler
from vllm.v1.core.sched.scheduler import Scheduler
from vllm.v1.kv_cache_interface import FullAttentionSpec, KVCacheConfig, KVCacheGroupSpec
from vllm.v1.outputs import DraftTokenIds, ModelRunnerOutput
from vllm.v1.request import Request
from vllm.v1.structured_output import StructuredOutputManager

from tests.vllm.tiny_model import write_tiny_model

EOS = 2
PLAIN = 7
BLOCK = 16


@dataclass(frozen=True)
class Row:
    """One request in one iteration, as the oracle saw it."""

    iteration: int
    key: str
    new_tokens: int
    context_tokens: int
    drafts: int


@dataclass
class Rig:
    """A scheduler, what it did, and what its clients got."""

    scheduler: Scheduler
    asynchronous: bool
    accept: int = 1
    """Drafts that verification accepts per request and iteration."""
    drafts: int = 0
    depth: int = 1
    """Passes in flight."""
    answer: tuple[int, ...] = (PLAIN,)
    """The tokens that every request samples, again and again."""
    stop_at: dict[str, int] = field(default_factory=dict)
    """Requests that sample EOS as their n-th token."""
    rows: list[Row] = field(default_factory=list)
    emitted: dict[str, int] = field(default_factory=dict)
    iterations: int = 0
    preemptions: int = 0
    sampled: dict[str, int] = field(default_factory=dict)

    def submit(
        self, key: str, prompt: list[int], max_tokens: int, *, tenant: str = "", salt: str | None = None
    ) -> None:
        parameters = SamplingParams(
            max_tokens=max_tokens, temperature=0, extra_args={"tenant": tenant} if tenant else None
        )
        parameters.update_from_generation_config({}, EOS)
        self.scheduler.add_request(
            Request(
                request_id=key,
                prompt_token_ids=prompt,
                sampling_params=parameters,
                pooling_params=None,
                cache_salt=salt,
                block_hasher=get_request_block_hasher(BLOCK, get_hash_fn_by_name("sha256")),
            )
        )

    def run(self, max_steps: int = 10_000) -> None:
        """Until nothing is left to do, with as many passes in flight as an engine core would have."""
        depth = self.depth
        in_flight: deque[tuple[int, Any]] = deque()
        for _ in range(max_steps):
            if self.scheduler.has_requests() and len(in_flight) < depth:
                output = self.scheduler.schedule()
                if output.total_num_scheduled_tokens:
                    self._witness(output)
                    in_flight.append((self.iterations, output))
                    self.iterations += 1
                    if len(in_flight) < depth:
                        continue
            if not in_flight:
                if not self.scheduler.has_requests():
                    return
                continue
            _, output = in_flight.popleft()
            self._finish(output)
        raise AssertionError("the scheduler did not come to an end")

    def _witness(self, output: Any) -> None:
        for key, tokens in output.num_scheduled_tokens.items():
            # The scheduler has already advanced the request when schedule() returns.
            context = self.scheduler.requests[key].num_computed_tokens - tokens
            drafts = len(output.scheduled_spec_decode_tokens.get(key, ()))
            self.rows.append(Row(self.iterations, key, tokens, context, drafts))
        self.preemptions += len(output.scheduled_cached_reqs.resumed_req_ids)
        self._sampling = {
            key: not self.scheduler.requests[key].is_prefill_chunk for key in output.num_scheduled_tokens
        }
        output.wattledger_test_sampling = self._sampling

    def _finish(self, output: Any) -> None:
        keys = list(output.num_scheduled_tokens)
        sampled = [self._sample(key, output) for key in keys]
        delivered = self.scheduler.update_from_output(
            output,
            ModelRunnerOutput(
                req_ids=keys,
                req_id_to_index={key: index for index, key in enumerate(keys)},
                sampled_token_ids=sampled,
            ),
        )
        for outputs in delivered.values():
            for item in outputs.outputs:
                self.emitted[item.request_id] = self.emitted.get(item.request_id, 0) + len(item.new_token_ids)
        if self.drafts and not self.asynchronous:
            running = [request.request_id for request in self.scheduler.running]
            self.scheduler.update_draft_token_ids(
                DraftTokenIds(running, [[PLAIN] * self.drafts] * len(running))
            )

    def _sample(self, key: str, output: Any) -> list[int]:
        if not output.wattledger_test_sampling[key]:
            return []
        drafts = len(output.scheduled_spec_decode_tokens.get(key, ()))
        before = self.sampled.get(key, 0)
        tokens = [
            self.answer[(before + place) % len(self.answer)] for place in range(1 + min(self.accept, drafts))
        ]
        self.sampled[key] = before + len(tokens)
        stop = self.stop_at.get(key)
        if stop is not None and before < stop <= self.sampled[key]:
            tokens[stop - before - 1] = EOS
        return tokens


def make_rig(
    folder: Path,
    *,
    asynchronous: bool = False,
    blocks: int = 4096,
    budget: int = 256,
    sequences: int = 64,
    drafts: int = 0,
    base: type[Scheduler] | None = None,
    pipeline: int = 1,
) -> Rig:
    """A scheduler of the tiny model with `blocks` KV blocks and `budget` tokens per iteration."""
    model = ModelConfig(
        model=str(write_tiny_model(folder)), skip_tokenizer_init=True, dtype="bfloat16", max_model_len=4096
    )
    scheduling = SchedulerConfig(
        max_num_seqs=sequences,
        max_num_batched_tokens=budget,
        max_model_len=4096,
        is_encoder_decoder=False,
        enable_chunked_prefill=True,
        async_scheduling=asynchronous,
    )
    cache = CacheConfig(block_size=BLOCK, enable_prefix_caching=True)
    cache.num_gpu_blocks = blocks
    speculative = (
        SpeculativeConfig(
            # Scheduling ahead of verification needs drafts that are made beside it.
            method="ngram_gpu" if asynchronous else "ngram",
            num_speculative_tokens=drafts,
            prompt_lookup_max=2,
        )
        if drafts
        else None
    )
    config = VllmConfig(
        model_config=model,
        scheduler_config=scheduling,
        cache_config=cache,
        device_config=DeviceConfig("cpu"),
        speculative_config=speculative,
        parallel_config=ParallelConfig(pipeline_parallel_size=pipeline),
    )
    cache.num_gpu_blocks = blocks
    init_none_hash(get_hash_fn_by_name("sha256"))
    spec = FullAttentionSpec(block_size=BLOCK, num_kv_heads=1, head_size=64, dtype=torch.float32)
    cls = base or (AsyncScheduler if asynchronous else Scheduler)
    scheduler = cls(
        vllm_config=config,
        kv_cache_config=KVCacheConfig(blocks, [], [KVCacheGroupSpec(["layer"], spec)]),
        structured_output_manager=StructuredOutputManager(config),
        block_size=BLOCK,
        hash_block_size=BLOCK,
        log_stats=True,
    )
    return Rig(scheduler, asynchronous, drafts=drafts, depth=pipeline + asynchronous)
