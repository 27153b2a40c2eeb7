"""Small valid frames, spelled out as little as a test allows."""

from collections.abc import Sequence

import numpy as np

from schemas.energy import ActiveLoad, EnergyFrame, Meter
from schemas.iterations import NORMAL, IterationFrame
from schemas.side_inputs import EngineDescriptor

SECOND = 1_000_000_000
T0 = 1_700_000_000 * SECOND
"""A window edge of the default 5 s grid."""
GROUP = "lab/node-1/engine"
ENGINE = "lab/node-1/engine"


def descriptor(engine_id: str = ENGINE, **changes: object) -> EngineDescriptor:
    values: dict[str, object] = {
        "engine_id": engine_id,
        "group_id": GROUP,
        "node_id": "lab/node-1",
        "effective_from_ns": 1,
        "model": "small-8b",
        "precision": "bfloat16",
        "gpu_model": "NVIDIA H100 80GB HBM3",
        "gpu_uuids": ("GPU-0",),
        "zone": "DE",
        "site": "lab",
        "weight_bytes": 16_000_000_000,
        "kv_bytes_per_token": 131_072,
    }
    return EngineDescriptor(**{**values, **changes})  # type: ignore[arg-type]


def decode_frame(
    start_s: float,
    end_s: float,
    *,
    requests: int = 2,
    iterations: int = 10,
    sequence: int = 0,
    engine_id: str = ENGINE,
    group_id: str = GROUP,
    born_s: float = 0.0,
    first_ordinal: int = 0,
    context: int = 100,
    tenants: Sequence[str] = ("acme", "globex"),
    load_id: str = "",
    kind: int = NORMAL,
    watermark_s: float | None = None,
) -> IterationFrame:
    """`iterations` plain decode iterations that fill `[T0 + start_s, T0 + end_s)`, the same requests in each."""
    start_ns, end_ns = T0 + round(start_s * 1e6) * 1000, T0 + round(end_s * 1e6) * 1000
    edges = (
        start_ns + (np.arange(iterations + 1) * ((end_ns - start_ns) // 1000) // max(iterations, 1)) * 1000
    )
    born_ns = T0 + round(born_s * 1e6) * 1000
    number = requests if iterations and kind == NORMAL else 0
    order = np.arange(number)
    return IterationFrame(
        group_id=group_id,
        engine_id=engine_id,
        incarnation=f"{born_ns}-cafe",
        incarnation_start_ns=born_ns,
        sequence=sequence,
        start_ns=start_ns,
        end_ns=end_ns,
        watermark_ns=end_ns if watermark_s is None else T0 + round(watermark_s * 1e6) * 1000,
        tenants=tuple(tenants),
        loads=(load_id,) if load_id else (),
        adapters=(),
        iteration_start_ns=edges[:-1].astype(np.int64),
        iteration_end_ns=edges[1:].astype(np.int64),
        iteration_kind=np.full(iterations, kind, np.uint8),
        iteration_padded_tokens=np.zeros(iterations, np.int32),
        request_ordinal=(first_ordinal + order).astype(np.int64),
        request_client_id=tuple(f"req-{first_ordinal + i}" for i in range(number)),
        request_tenant=(order % len(tenants)).astype(np.int32),
        request_load=np.full(number, 0 if load_id else -1, np.int32),
        request_load_ordinal=(first_ordinal + order + 1 if load_id else np.zeros(number)).astype(np.int64),
        request_adapter=np.full(number, -1, np.int32),
        request_prefix_group=np.zeros(number, np.uint64),
        request_prompt_tokens=np.full(number, 50, np.int32),
        request_cached_tokens=np.zeros(number, np.int32),
        span_request=order.astype(np.int32),
        span_first_iteration=np.zeros(number, np.int32),
        span_length=np.full(number, iterations, np.int32),
        span_entry_context=np.full(number, context, np.int32),
        exception_row=np.zeros(0, np.int32),
        exception_new_tokens=np.zeros(0, np.int32),
        exception_drafts=np.zeros(0, np.int32),
        exception_rejected=np.zeros(0, np.int32),
        exception_emitted=np.zeros(0, np.int32),
    )


def energy_frame(
    start_s: float,
    end_s: float,
    *,
    power_w: float = 500.0,
    sequence: int = 0,
    engines: Sequence[str] = (ENGINE,),
    group_id: str = GROUP,
    step_s: float = 0.1,
    epoch: str = "boot-1",
    loads: Sequence[ActiveLoad] = (),
    meter_id: str = "GPU-0",
) -> EnergyFrame:
    """One counter at constant power since T0, read every `step_s` from `start_s` to `end_s` inclusive."""
    steps = np.arange(round((end_s - start_s) / step_s) + 1) * step_s + start_s
    times_ns = T0 + np.rint(steps * 1e6).astype(np.int64) * 1000
    return EnergyFrame(
        group_id=group_id,
        node_id="lab/node-1",
        incarnation="agent-1",
        sequence=sequence,
        start_ns=T0 + round(start_s * 1e6) * 1000,
        end_ns=T0 + round(end_s * 1e6) * 1000,
        watermark_ns=int(times_ns[-1]),
        engines=tuple(engines),
        loads=tuple(loads),
        meters=(Meter(meter_id, "gpu", epoch, "gpu", "counter"),),
        reading_meter=np.zeros(len(times_ns), np.int32),
        reading_time_ns=times_ns,
        reading_uj=np.rint(steps * power_w * 1e6).astype(np.int64) + 10**9,
    )
