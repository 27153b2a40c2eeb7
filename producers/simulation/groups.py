"""The meters of a group's GPUs and of its part of the host, and the energy frames cut from their readings."""

from dataclasses import dataclass
from hashlib import sha256

import numpy as np
from numpy.typing import NDArray

from producers.simulation.engines import EngineRun, LoadRun, gpu_uuid
from producers.simulation.meter import Readings, read_counter
from producers.simulation.scenario import NodeSpec, Scenario
from producers.simulation.timeline import IDLE, OVERHEAD, REQUEST, Background, Timeline, build_timeline
from schemas.energy import ActiveLoad, EnergyFrame, Meter
from schemas.iterations import NORMAL

__all__ = ["GroupMeters", "energy_frame", "engine_meters", "spare_meters"]

Int64s = NDArray[np.int64]

_HOST_UNIT_UJ = 61
"""RAPL's energy unit on current servers, 2^-14 J, in microjoules."""


@dataclass(frozen=True, slots=True, eq=False)
class GroupMeters:
    """A metering group with its true power and what its M meters read."""

    group_id: str
    node_id: str
    agent: str
    """Incarnation of the node agent."""
    engine_id: str
    """Empty for GPUs that serve no engine."""
    attached_us: int
    """When the engine appeared."""
    load: LoadRun | None
    timeline: Timeline
    meters: tuple[Meter, ...]
    readings: tuple[Readings, ...]
    """One per meter: the GPUs first, then the host."""


def engine_meters(scenario: Scenario, run: EngineRun, end_us: int) -> GroupMeters:
    """The group of one engine until `end_us`."""
    account = np.where(run.log.kind == NORMAL, REQUEST, OVERHEAD).astype(np.int64)
    timeline = build_timeline(
        run.log.start_us, run.log.end_us, run.energy_j, account, run.backgrounds, end_us
    )
    node = next(node for node in scenario.nodes if node.name == run.spec.node)
    return _group(
        scenario,
        node,
        group_id=run.log.group_id,
        engine_id=run.log.engine_id,
        attached_us=max(0, run.log.incarnation_start_us),
        load=run.load,
        timeline=timeline,
        gpu_uuids=run.gpu_uuids,
    )


def spare_meters(scenario: Scenario, node: NodeSpec, end_us: int) -> GroupMeters:
    """The group of a node's GPUs that serve no engine."""
    none = np.zeros(0, np.int64)
    idle = Background(0, node.spare_idle_w * node.spare_gpus, IDLE)
    return _group(
        scenario,
        node,
        group_id=f"{scenario.cluster}/{node.name}/spare",
        engine_id="",
        attached_us=0,
        load=None,
        timeline=build_timeline(none, none, np.zeros(0), none, (idle,), end_us),
        gpu_uuids=tuple(gpu_uuid(scenario.cluster, node.name, "spare", i) for i in range(node.spare_gpus)),
    )


def _group(
    scenario: Scenario,
    node: NodeSpec,
    *,
    group_id: str,
    engine_id: str,
    attached_us: int,
    load: LoadRun | None,
    timeline: Timeline,
    gpu_uuids: tuple[str, ...],
) -> GroupMeters:
    gpus = len(gpu_uuids)
    end_us = timeline.end_us

    def host_j(times_us: Int64s) -> NDArray[np.float64]:
        extra_w = node.host_busy_w - node.host_idle_w
        return gpus * (node.host_idle_w * times_us / 1e6 + extra_w * timeline.busy_s(times_us))

    # Another seed is another life of the node: its counters begin elsewhere.
    epoch = f"{node.name}-{scenario.seed}"
    meters, readings = [], []
    for uuid in gpu_uuids:
        seed = _seed(scenario.seed, uuid)
        # A counter has run since the driver was loaded: it never begins at zero.
        start_uj = seed % 10**9 * 10**6
        meters.append(Meter(meter_id=uuid, kind="gpu", epoch=epoch, scope="gpu", source="counter"))
        readings.append(
            read_counter(
                lambda times_us: timeline.total_j(times_us) / gpus,
                end_us,
                seed=seed,
                sensor=scenario.sensor,
                start_uj=start_uj,
            )
        )
    host = f"host:{node.name}:{group_id}"
    meters.append(Meter(meter_id=host, kind="host", epoch=epoch, scope="host", source="parametric"))
    readings.append(read_counter(host_j, end_us, seed=_seed(scenario.seed, host), unit_uj=_HOST_UNIT_UJ))
    return GroupMeters(
        group_id=group_id,
        node_id=node.name,
        agent=f"{_seed(scenario.seed, node.name):08x}",
        engine_id=engine_id,
        attached_us=attached_us,
        load=load,
        timeline=timeline,
        meters=tuple(meters),
        readings=tuple(readings),
    )


def _seed(seed: int, name: str) -> int:
    return int.from_bytes(sha256(f"{seed}/{name}".encode()).digest()[:4], "big")


def energy_frame(
    group: GroupMeters, cursor: Int64s, sequence: int, start_us: int, end_us: int, origin_ns: int
) -> EnergyFrame:
    """The frame of readings in (start_us, end_us], with the very first one; moves the (M,) `cursor` on."""
    meter, times, values, known = [], [], [], []
    for index, readings in enumerate(group.readings):
        upto = int(np.searchsorted(readings.time_us, end_us, side="right"))
        fresh = slice(int(cursor[index]), upto)
        times.append(readings.time_us[fresh])
        values.append(readings.cumulative_uj[fresh])
        meter.append(np.full(len(times[-1]), index, np.int32))
        known.append(int(readings.time_us[upto - 1]))
        cursor[index] = upto
    load = group.load
    active = load is not None and load.start_us < end_us and load.end_us > start_us
    loads: tuple[ActiveLoad, ...] = ()
    if load is not None and active:
        ended_ns = origin_ns + load.end_us * 1000 if load.end_us <= end_us else 0
        loads = (ActiveLoad(load.load_id, group.engine_id, origin_ns + load.start_us * 1000, ended_ns),)
    attached = bool(group.engine_id) and group.attached_us < end_us
    return EnergyFrame(
        group_id=group.group_id,
        node_id=group.node_id,
        incarnation=group.agent,
        sequence=sequence,
        start_ns=origin_ns + start_us * 1000,
        end_ns=origin_ns + end_us * 1000,
        watermark_ns=origin_ns + min(known) * 1000,
        engines=(group.engine_id,) if attached else (),
        loads=loads,
        meters=group.meters,
        reading_meter=np.concatenate(meter),
        reading_time_ns=origin_ns + np.concatenate(times) * 1000,
        reading_uj=np.concatenate(values),
    )
