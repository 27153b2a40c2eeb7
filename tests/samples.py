"""Realistic frames from a seed: an 8B engine decoding at batch 64, four GPUs of one group."""

import uuid

import numpy as np

from schemas.energy import ActiveLoad, EnergyFrame, Meter
from schemas.iterations import NORMAL, IterationFrame

__all__ = ["energy_frame", "iteration_frame"]

START_NS = 1_760_000_000_000_000_000
INCARNATION_START_NS = START_NS - 86_400_000_000_000


def iteration_frame(
    seed: int = 1, iterations: int = 50, batch: int = 64, requests: int = 79
) -> IterationFrame:
    """`iterations` of about 9.9 ms with `batch` requests each; who leaves is replaced at once.

    Client ids as vLLM makes them (`cmpl-` and a random UUID), 30 tenants, prompts log-normal around 700 tokens,
    half of the requests under one of 20 shared prefixes, each newcomer's prompt in one chunk.
    """
    rng = np.random.default_rng(seed)
    steps = np.empty(2 * iterations, np.int64)
    steps[0::2] = rng.integers(0, 40, iterations)
    steps[1::2] = rng.normal(9900, 150, iterations)
    times_ns = START_NS + np.cumsum(steps) * 1000

    newcomers = requests - batch
    first = np.concatenate([np.zeros(batch, np.int32), np.sort(rng.integers(1, iterations, newcomers))])
    length = iterations - first
    length[rng.choice(batch, newcomers, replace=False)] = first[batch:]
    prompt = np.minimum(rng.lognormal(6.5, 1.0, requests).astype(np.int32) + 17, 30_000)
    shares_prefix = rng.random(requests) < 0.5
    cached = np.where(shares_prefix, prompt // 32 * 16, 0).astype(np.int32)
    context = prompt + rng.integers(0, 400, requests)
    context[batch:] = cached[batch:]
    admitted = 3_456 + np.sort(rng.choice(requests + 20, requests, replace=False))
    groups = rng.integers(1, 2**63, 20, dtype=np.uint64)
    first_rows = (np.cumsum(length) - length)[batch:]
    return IterationFrame(
        group_id="eu-1/node-07/llama-8b-0",
        engine_id="eu-1/node-07/llama-8b-0",
        incarnation=f"{INCARNATION_START_NS}-9f3a61c2",
        incarnation_start_ns=INCARNATION_START_NS,
        sequence=172_800,
        start_ns=START_NS,
        end_ns=START_NS + int(steps.sum()) * 1000,
        watermark_ns=START_NS + int(steps.sum()) * 1000,
        tenants=tuple(f"tenant-{number:02d}" for number in range(30)),
        loads=("load-1759913600",),
        adapters=(),
        iteration_start_ns=times_ns[0::2],
        iteration_end_ns=times_ns[1::2],
        iteration_kind=np.full(iterations, NORMAL, np.uint8),
        iteration_padded_tokens=np.full(iterations, batch, np.int32),
        request_ordinal=120_000 + admitted,
        request_client_id=tuple(
            f"cmpl-{uuid.UUID(bytes=rng.bytes(16), version=4).hex}" for _ in range(requests)
        ),
        request_tenant=rng.integers(0, 30, requests, dtype=np.int32),
        request_load=np.zeros(requests, np.int32),
        request_load_ordinal=admitted,
        request_adapter=np.full(requests, -1, np.int32),
        request_prefix_group=np.where(shares_prefix, groups[rng.integers(0, 20, requests)], 0).astype(
            np.uint64
        ),
        request_prompt_tokens=prompt,
        request_cached_tokens=cached,
        span_request=np.arange(requests, dtype=np.int32),
        span_first_iteration=first.astype(np.int32),
        span_length=length.astype(np.int32),
        span_entry_context=context.astype(np.int32),
        exception_row=first_rows.astype(np.int32),
        exception_new_tokens=(prompt - cached)[batch:],
        exception_drafts=np.zeros(newcomers, np.int32),
        exception_rejected=np.zeros(newcomers, np.int32),
        exception_emitted=np.ones(newcomers, np.int32),
    )


def energy_frame(seed: int = 1, gpus: int = 4, steps: int = 5) -> EnergyFrame:
    """`gpus` counters that each step every 100 ms at about 350 W, while a load still runs."""
    rng = np.random.default_rng(seed)
    meter = np.tile(np.arange(gpus, dtype=np.int32), steps)
    offsets_ns = rng.integers(0, 100_000_000, gpus)[meter] + np.repeat(np.arange(steps) * 100_000_000, gpus)
    steps_uj = rng.integers(30_000_000, 40_000_000, (steps, gpus)) // 1000 * 1000
    energies_uj = np.cumsum(steps_uj, axis=0).ravel() + 10**13 * (meter.astype(np.int64) + 1)
    return EnergyFrame(
        group_id="eu-1/node-07/llama-70b-0",
        node_id="eu-1/node-07",
        incarnation=f"{INCARNATION_START_NS}-1c8e",
        sequence=172_800,
        start_ns=START_NS,
        end_ns=START_NS + 500_000_000,
        watermark_ns=START_NS + 400_000_000,
        engines=("eu-1/node-07/llama-70b-0",),
        loads=(ActiveLoad("load-1760000000", "eu-1/node-07/llama-70b-0", START_NS - 5_000_000_000, 0),),
        meters=tuple(
            Meter(f"GPU-{uuid.UUID(bytes=rng.bytes(16), version=4)}", "gpu", "boot-1f6b", "gpu", "counter")
            for _ in range(gpus)
        ),
        reading_meter=meter,
        reading_time_ns=START_NS + offsets_ns,
        reading_uj=energies_uj,
    )
