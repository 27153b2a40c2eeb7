"""A fleet of equal engines under steady load, for benchmarks: as many frames as asked, at little cost.

Every engine runs the same iterations at the same rate with the same batch; a request leaves and another joins
as soon as it has its tokens. One schedule serves all engines, only ids and meters differ.
"""

from dataclasses import replace

import numpy as np

from producers.simulation.engine_types import engine_type
from producers.simulation.engines import EngineRun, gpu_uuid
from producers.simulation.fleet import FRAME_US, Fleet
from producers.simulation.frames import EngineLog
from producers.simulation.groups import engine_meters
from producers.simulation.requests import Requests, from_columns
from producers.simulation.scenario import EngineSpec, NodeSpec, Scenario
from producers.simulation.schedule import Schedule, iteration_energy_j
from producers.simulation.timeline import IDLE, Background

__all__ = ["steady_fleet"]

_PROMPT_TOKENS = 512
_ENGINE_TYPE = "llama-3.1-8b-h100"
_GPUS_PER_NODE = 8
_TENANTS = tuple(f"tenant-{i:02d}" for i in range(32))


def steady_fleet(
    engines: int,
    duration_s: float,
    *,
    iterations_per_s: int = 50,
    batch: int = 64,
    output_tokens: int = 200,
    seed: int = 1,
    cluster: str = "steady",
    kind: str = _ENGINE_TYPE,
) -> Fleet:
    """`engines` engines, each alone on its GPUs, for `duration_s`; `events` turns the fleet into frames.

    kind: name of the engines' type.
    """
    engines_type = engine_type(kind)
    iterations = round(duration_s * iterations_per_s)
    requests, schedule = _schedule(iterations, 1_000_000 // iterations_per_s, batch, output_tokens)
    nodes = tuple(
        NodeSpec(name=f"node-{i:03d}", zone="DE", site="bench", spare_gpus=0)
        for i in range(-(-engines // _GPUS_PER_NODE))
    )
    scenario = Scenario(cluster=cluster, nodes=nodes, engines=(), duration_s=duration_s, seed=seed)
    loaded_idle_w = engines_type.loaded_idle_w * engines_type.gpus
    template = EngineLog(
        group_id="",
        engine_id="",
        life="",
        incarnation_start_us=0,
        requests=requests,
        schedule=schedule,
        start_us=schedule.start_us,
        end_us=schedule.end_us,
        kind=np.zeros(iterations, np.uint8),
        piece_first=schedule.piece_first,
        load_id="load-0",
        admitted_before=100_000,
        adapters=(),
        adapter=np.full(len(requests), -1, np.int32),
    )
    energy = iteration_energy_j(schedule, engines_type)
    runs = []
    for i in range(engines):
        node = nodes[i // _GPUS_PER_NODE].name
        engine_id = f"{scenario.cluster}/{node}/engine-{i:04d}"
        runs.append(
            EngineRun(
                spec=EngineSpec(
                    name=f"engine-{i:04d}", node=node, engine_type=engines_type, requests=requests
                ),
                log=replace(template, group_id=engine_id, engine_id=engine_id, life=f"{i:08x}"),
                energy_j=energy,
                load=None,
                backgrounds=(Background(0, loaded_idle_w, IDLE),),
                gpu_uuids=tuple(
                    gpu_uuid(scenario.cluster, node, engine_id, gpu) for gpu in range(engines_type.gpus)
                ),
                zone="DE",
                site="bench",
            )
        )
    end_us = -(-int(schedule.end_us[-1]) // FRAME_US) * FRAME_US
    groups = tuple(engine_meters(scenario, run, end_us) for run in runs)
    return Fleet(scenario=scenario, end_us=end_us, engines=tuple(runs), groups=groups)


def _schedule(iterations: int, step_us: int, batch: int, output_tokens: int) -> tuple[Requests, Schedule]:
    """Slot s of the batch starts a request at iterations ≡ s·output/batch (mod output)."""
    slots = np.arange(batch) * output_tokens // batch - output_tokens
    joins = (slots[None, :] + np.arange(iterations // output_tokens + 2)[:, None] * output_tokens).ravel()
    joins = np.sort(joins[(joins > -output_tokens) & (joins < iterations)])
    count = len(joins)
    leaves = np.minimum(joins + output_tokens, iterations)
    number = np.arange(count)
    chunk = joins >= 0
    first = np.maximum(joins + 1, 0)
    decodes = first < leaves
    running = np.zeros((2, iterations + 1), np.int64)
    np.add.at(running[0], first[decodes], 1)
    np.add.at(running[0], leaves[decodes], -1)
    np.add.at(running[1], joins[chunk], 1)
    rows, prefills = np.cumsum(running[0])[:-1], running[1, :-1]
    context = np.zeros(iterations, np.int64)
    for start, end, entered in zip(first[decodes], leaves[decodes], joins[decodes], strict=True):
        context[start:end] += _PROMPT_TOKENS + np.arange(start, end) - entered - 1
    pieces = np.concatenate([number[chunk], number[decodes]])
    is_chunk = np.arange(len(pieces)) < chunk.sum()
    begins = np.concatenate([joins[chunk], first[decodes]])
    requests = from_columns(
        np.maximum(joins, 0) * step_us,
        np.full(count, _PROMPT_TOKENS),
        np.full(count, output_tokens),
        tenants=_TENANTS,
        tenant=(number % len(_TENANTS)).astype(np.int32),
        source="steady load",
    )
    starts_us = np.arange(iterations, dtype=np.int64) * step_us
    zeros = np.zeros(count, np.int64)
    return requests, Schedule(
        start_us=starts_us,
        end_us=starts_us + step_us,
        decode_rows=rows,
        prefill_rows=prefills,
        context_tokens=context,
        prefill_tokens=prefills * _PROMPT_TOKENS,
        prefill_pairs=prefills * (_PROMPT_TOKENS * (_PROMPT_TOKENS + 1) // 2),
        kv_tokens=context + rows + prefills * _PROMPT_TOKENS,
        piece_request=pieces.astype(np.int32),
        piece_first=begins,
        piece_length=np.concatenate([np.ones(chunk.sum(), np.int64), (leaves - first)[decodes]]),
        piece_context=np.where(is_chunk, 0, _PROMPT_TOKENS + begins - joins[pieces] - 1),
        piece_new_tokens=np.where(is_chunk, _PROMPT_TOKENS, 1),
        piece_emitted=np.ones(len(pieces), np.int32),
        piece_prefill=is_chunk,
        admitted_us=np.maximum(joins, 0) * step_us,
        finished_us=leaves * step_us,
        admission=number,
        cached_tokens=zeros.astype(np.int32),
        reused_tokens=zeros,
        lost_tokens=zeros,
        preemptions=zeros.astype(np.int32),
    )
