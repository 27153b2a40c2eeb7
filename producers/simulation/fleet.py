"""Runs a scenario: every engine through its requests, every GPU through its meter, as a stream of events.

Events come in the order of their time: descriptors first, then for each frame interval the loads that ended
in it, the energy frames of all groups and the iteration frames of all engines, also when idle (the heartbeat
that moves watermarks). All times are whole microseconds from the scenario's start; `origin_ns` places it.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from producers.simulation.engines import EngineRun, run_engine
from producers.simulation.frames import cut_frame
from producers.simulation.groups import GroupMeters, energy_frame, engine_meters, spare_meters
from producers.simulation.scenario import Scenario
from producers.simulation.timeline import Timeline
from schemas.energy import EnergyFrame
from schemas.iterations import IterationFrame
from schemas.side_inputs import EngineDescriptor, Load

__all__ = ["FRAME_US", "Fleet", "FleetEvent", "events", "simulate_fleet"]

FRAME_US = 500_000
"""Frame interval: 0.5 s keeps a frame below 7 kB and an event queryable within the window + 2 s."""
_TAIL_US = 2 * FRAME_US
"""Idle time after the last whole window: the watermarks must pass its end by the worker's wait (0.5 s)."""
_ANNOUNCED_BEFORE_NS = 3_600_000_000_000
"""Descriptors take effect an hour before the scenario, so that the window around its start has them."""


@dataclass(frozen=True, slots=True)
class FleetEvent:
    """One message: what to publish, under which group, and when (event time)."""

    at_ns: int
    group_id: str
    value: EngineDescriptor | Load | EnergyFrame | IterationFrame


@dataclass(frozen=True, slots=True, eq=False)
class Fleet:
    """A scenario that has run: everything known, nothing sent."""

    scenario: Scenario
    end_us: int
    """Last instant of every group, a multiple of the frame interval."""
    engines: tuple[EngineRun, ...]
    groups: tuple[GroupMeters, ...]

    def timeline(self, group_id: str) -> Timeline:
        """A group's true power."""
        return next(group.timeline for group in self.groups if group.group_id == group_id)

    @property
    def request_iterations(self) -> int:
        """Requests in iterations, over all engines."""
        return sum(run.log.schedule.request_iterations for run in self.engines)


def simulate_fleet(scenario: Scenario) -> Fleet:
    """Run every engine of `scenario` to its last request; O(iterations + requests)."""
    runs = tuple(run_engine(scenario, spec) for spec in scenario.engines)
    last_us = max([run.end_us for run in runs], default=0)
    last_us = max(last_us, round(scenario.duration_s * 1e6))
    end_us = -(-last_us // scenario.window_us) * scenario.window_us + _TAIL_US
    groups = [engine_meters(scenario, run, end_us) for run in runs]
    groups += [spare_meters(scenario, node, end_us) for node in scenario.nodes if node.spare_gpus]
    return Fleet(scenario=scenario, end_us=end_us, engines=runs, groups=tuple(groups))


def events(fleet: Fleet, origin_ns: int) -> Iterator[FleetEvent]:
    """Every message of the fleet in event-time order; `origin_ns` is a whole microsecond."""
    for run in fleet.engines:
        descriptor = run.descriptor(origin_ns - _ANNOUNCED_BEFORE_NS)
        yield FleetEvent(at_ns=origin_ns, group_id=descriptor.group_id, value=descriptor)
    cursors = {group.group_id: np.zeros(len(group.meters), np.int64) for group in fleet.groups}
    for sequence, start_us in enumerate(range(0, fleet.end_us, FRAME_US)):
        yield from _slot(fleet, cursors, sequence, start_us, origin_ns)


def _slot(
    fleet: Fleet, cursors: dict[str, NDArray[np.int64]], sequence: int, start_us: int, origin_ns: int
) -> Iterator[FleetEvent]:
    end_us = start_us + FRAME_US
    at_ns = origin_ns + end_us * 1000
    for run in fleet.engines:
        load = run.load
        if load is not None and start_us < load.end_us <= end_us:
            yield FleetEvent(at_ns=at_ns, group_id=run.log.group_id, value=run.load_event(origin_ns))
    for group in fleet.groups:
        frame = energy_frame(group, cursors[group.group_id], sequence, start_us, end_us, origin_ns)
        yield FleetEvent(at_ns=at_ns, group_id=group.group_id, value=frame)
    for run in fleet.engines:
        born_us = max(0, run.log.incarnation_start_us)
        if born_us < end_us:
            number = (start_us - born_us // FRAME_US * FRAME_US) // FRAME_US
            cut = cut_frame(run.log, number, max(start_us, born_us), end_us, origin_ns)
            yield FleetEvent(at_ns=at_ns, group_id=run.log.group_id, value=cut)
