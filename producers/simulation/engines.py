"""Runs one engine of a scenario: load, warm-up, requests, dummy batches, as one log with its energies."""

from dataclasses import dataclass
from hashlib import sha256

import numpy as np
from numpy.typing import NDArray

from producers.simulation.engine import simulate
from producers.simulation.engine_types import EngineType
from producers.simulation.frames import EngineLog
from producers.simulation.physics import PS_PER_US, energy_j, iteration_ps, timing
from producers.simulation.scenario import EngineSpec, Scenario
from producers.simulation.schedule import Schedule, iteration_energy_j
from producers.simulation.timeline import COLD_START, IDLE, Background
from schemas.iterations import DUMMY, NORMAL, WARM_UP
from schemas.side_inputs import EngineDescriptor, Load

__all__ = ["EngineRun", "LoadRun", "gpu_uuid", "run_engine"]

Floats = NDArray[np.float64]
Int64s = NDArray[np.int64]

_UPTIME_US = 6 * 3600 * 1_000_000
"""How long before the scenario an engine without a load in it was started."""
_WARM_UP_BATCH = 8
"""Decode rows of a warm-up iteration."""


@dataclass(frozen=True, slots=True)
class LoadRun:
    """A model load within the scenario."""

    load_id: str
    start_us: int
    end_us: int


@dataclass(frozen=True, slots=True, eq=False)
class EngineRun:
    """One engine's life in the scenario."""

    spec: EngineSpec
    log: EngineLog
    energy_j: Floats
    """(I,) joules of all GPUs in each of `log`'s iterations."""
    load: LoadRun | None
    backgrounds: tuple[Background, ...]
    """Power of the group while no iteration runs."""
    gpu_uuids: tuple[str, ...]
    zone: str
    site: str

    @property
    def end_us(self) -> int:
        """End of the last iteration or load."""
        ends = [int(self.log.end_us[-1]) if len(self.log.end_us) else 0, self.load.end_us if self.load else 0]
        return max(ends)

    def descriptor(self, effective_from_ns: int) -> EngineDescriptor:
        """What the engine announces of itself."""
        kind = self.spec.engine_type
        return EngineDescriptor(
            engine_id=self.log.engine_id,
            group_id=self.log.group_id,
            node_id=self.spec.node,
            effective_from_ns=effective_from_ns,
            model=kind.model,
            precision=kind.precision,
            gpu_model=kind.gpu_model,
            gpu_uuids=self.gpu_uuids,
            tensor_parallel=kind.tensor_parallel,
            data_parallel=kind.gpus // kind.tensor_parallel,
            engine_software=kind.software,
            zone=self.zone,
            site=self.site,
            weight_bytes=kind.weight_bytes,
            kv_bytes_per_token=kind.kv_bytes_per_token,
            experts_total=kind.experts.total if kind.experts else 0,
            experts_active=kind.experts.active if kind.experts else 0,
            expert_weight_bytes=kind.experts.weight_bytes if kind.experts else 0,
        )

    def load_event(self, origin_ns: int) -> Load:
        """The load as it is published when it ends; only for an engine that loads within the scenario."""
        assert self.load is not None
        return Load(
            load_id=self.load.load_id,
            kind="model_load",
            group_id=self.log.group_id,
            engine_id=self.log.engine_id,
            incarnation=self.log.incarnation(origin_ns),
            start_ns=origin_ns + self.load.start_us * 1000,
            end_ns=origin_ns + self.load.end_us * 1000,
            what=self.spec.engine_type.model,
        )


def gpu_uuid(cluster: str, node: str, owner: str, index: int) -> str:
    """A stable UUID in NVML's form for a simulated GPU."""
    digest = sha256(f"{cluster}/{node}/{owner}/{index}".encode()).hexdigest()
    return f"GPU-{digest[:8]}-{digest[8:12]}-{digest[12:16]}-{digest[16:20]}-{digest[20:32]}"


def run_engine(scenario: Scenario, spec: EngineSpec) -> EngineRun:
    """Simulate one engine; its group has its GPUs to itself."""
    kind = spec.engine_type
    node = next(node for node in scenario.nodes if node.name == spec.node)
    engine_id = f"{scenario.cluster}/{spec.node}/{spec.name}"
    load = _load(spec, engine_id)
    ready_us = load.end_us if load else 0
    open_us = ready_us + round(spec.warm_up_s * 1e6 if load else 0)
    schedule = simulate(spec.requests, kind, start_us=open_us)
    warm_up = _fill(kind, ready_us, open_us, _WARM_UP_BATCH)
    dummies = _dummies(kind, schedule, open_us, spec.dummy_s)
    start_us, end_us, codes, energy, position = _merge(schedule, kind, warm_up, dummies)
    born_us = load.start_us if load else -_UPTIME_US
    log = EngineLog(
        group_id=engine_id,
        engine_id=engine_id,
        life=sha256(f"{scenario.seed}/{engine_id}".encode()).hexdigest()[:8],
        incarnation_start_us=born_us,
        requests=spec.requests,
        schedule=schedule,
        start_us=start_us,
        end_us=end_us,
        kind=codes,
        piece_first=position[schedule.piece_first],
        load_id=load.load_id if load else f"{engine_id}#0",
        admitted_before=0 if load else spec.admitted_before,
        adapters=spec.adapters,
        adapter=_adapters(spec),
    )
    return EngineRun(
        spec=spec,
        log=log,
        energy_j=energy,
        load=load,
        backgrounds=_backgrounds(kind, load),
        gpu_uuids=tuple(gpu_uuid(scenario.cluster, spec.node, spec.name, i) for i in range(kind.gpus)),
        zone=node.zone,
        site=node.site,
    )


def _load(spec: EngineSpec, engine_id: str) -> LoadRun | None:
    if spec.load_at_s is None:
        return None
    start_us = round(spec.load_at_s * 1e6)
    duration_us = round(sum(seconds for seconds, _ in spec.engine_type.load_phases) * 1e6)
    return LoadRun(load_id=f"{engine_id}#1", start_us=start_us, end_us=start_us + duration_us)


def _backgrounds(kind: EngineType, load: LoadRun | None) -> tuple[Background, ...]:
    loaded = kind.loaded_idle_w * kind.gpus
    if load is None:
        return (Background(0, loaded, IDLE),)
    found = [Background(0, kind.bare_idle_w * kind.gpus, IDLE)] if load.start_us else []
    at_us = load.start_us
    for seconds, watts in kind.load_phases:
        found.append(Background(at_us, watts * kind.gpus, COLD_START))
        at_us += round(seconds * 1e6)
    return (*found, Background(load.end_us, loaded, IDLE))


def _fill(kind: EngineType, from_us: int, to_us: int, rows: int) -> tuple[Int64s, Int64s]:
    """(starts, ends) of whole iterations of `rows` decode rows at context 1, back to back in [from, to)."""
    step_us = iteration_ps(timing(kind), rows, rows, 0, 0) // PS_PER_US
    starts = np.arange(from_us, to_us - step_us + 1, step_us, dtype=np.int64)
    return starts, starts + step_us


def _dummies(
    kind: EngineType, schedule: Schedule, open_us: int, interval_s: tuple[float, float]
) -> tuple[Int64s, Int64s]:
    """Dummy batches of one row wherever the engine has nothing to do in the interval."""
    low, high = max(open_us, round(interval_s[0] * 1e6)), round(interval_s[1] * 1e6)
    gap_from = np.concatenate([[open_us], schedule.end_us])
    gap_to = np.concatenate([schedule.start_us, [max(high, int(gap_from[-1]))]])
    gaps = [
        _fill(kind, max(int(a), low), min(int(b), high), 1)
        for a, b in zip(gap_from, gap_to, strict=True)
        if a < b and a < high and b > low
    ]
    empty = np.zeros(0, np.int64)
    return (
        np.concatenate([empty, *(starts for starts, _ in gaps)]),
        np.concatenate([empty, *(ends for _, ends in gaps)]),
    )


def _merge(
    schedule: Schedule, kind: EngineType, warm_up: tuple[Int64s, Int64s], dummies: tuple[Int64s, Int64s]
) -> tuple[Int64s, Int64s, NDArray[np.uint8], Floats, Int64s]:
    """All iterations by time: starts, ends, kinds, joules, and where each of the schedule's went."""
    parts = ((schedule.start_us, schedule.end_us), warm_up, dummies)
    sizes = [len(part[0]) for part in parts]
    start_us = np.concatenate([part[0] for part in parts])
    order = np.argsort(start_us, kind="stable")
    codes = np.repeat(np.array([NORMAL, WARM_UP, DUMMY], np.uint8), sizes)
    empty = np.repeat(np.array([0, _WARM_UP_BATCH, 1]), sizes)[sizes[0] :]
    none = np.zeros_like(empty)
    joules = np.concatenate([iteration_energy_j(schedule, kind), energy_j(kind, empty, empty, none, none)])
    position = np.empty(len(order), np.int64)
    position[order] = np.arange(len(order))
    ends = np.concatenate([part[1] for part in parts])
    return start_us[order], ends[order], codes[order], joules[order], position[: sizes[0]]


def _adapters(spec: EngineSpec) -> NDArray[np.int32]:
    """(R,) adapter of each request: tenants are dealt to the base model and the adapters in turn."""
    return (spec.requests.tenant % (len(spec.adapters) + 1) - 1).astype(np.int32)
