"""Energy frames of a node's groups: each group's readings since its last frame, and its part of the
host's.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from producers.agent.grouping import GroupPlan, split_host
from producers.agent.sampling import Probe
from producers.meters.contract import MeterIdentity, Reading
from schemas.energy import ActiveLoad, EnergyFrame

__all__ = ["GroupBook", "HostBook", "energy_frame", "gather", "moved_epoch"]


@dataclass(slots=True)
class GroupBook:
    """One group while it lasts."""

    plan: GroupPlan
    start_ns: int
    """Where its next frame begins."""
    known_ns: int = 0
    """Its latest watermark."""
    carried: list[Reading] = field(default_factory=list)
    """Readings at the instant the group took over its GPUs: the other group's last are this one's first."""


@dataclass(slots=True)
class HostBook:
    """The host's energy, dealt out to the groups as it is read."""

    life: str
    node: str
    last: Reading | None = None
    given_uj: dict[str, int] = field(default_factory=dict)
    """Per group: cumulative since the agent's start."""
    fresh: dict[str, list[Reading]] = field(default_factory=dict)

    def deal(self, readings: Iterable[Reading], plans: Sequence[GroupPlan]) -> None:
        """Split what was drawn since the reading before by GPU count; the parts sum to it exactly."""
        for reading in readings:
            before, self.last = self.last, reading
            continuous = before is not None and before.meter == reading.meter
            drawn_uj = reading.energy_uj - before.energy_uj if continuous and before is not None else 0
            for plan, share_uj in zip(plans, split_host(drawn_uj, plans), strict=True):
                self.given_uj[plan.group_id] = self.given_uj.get(plan.group_id, 0) + share_uj
                part = MeterIdentity(
                    meter_id=f"host:{self.node}:{plan.group_id}",
                    kind="host",
                    epoch=self.life,
                    scope="host",
                    source=reading.meter.source,
                )
                self.fresh.setdefault(plan.group_id, []).append(
                    Reading(part, reading.time_ns, self.given_uj[plan.group_id])
                )

    def take(self, group_id: str) -> list[Reading]:
        """A group's part since its last frame."""
        return self.fresh.pop(group_id, [])


def moved_epoch(reading: Reading, moves: int) -> Reading:
    """The reading as its group's: a GPU that was another group's meanwhile returns under another epoch.

    Otherwise the energy of the time between would be interpolated, and booked to both.
    """
    if not moves:
        return reading
    meter = reading.meter
    epoch = f"{meter.epoch}.{moves}"
    return Reading(
        MeterIdentity(meter.meter_id, meter.kind, epoch, meter.scope, meter.source),
        reading.time_ns,
        reading.energy_uj,
    )


def energy_frame(
    book: GroupBook,
    readings: Sequence[Reading],
    *,
    node_id: str,
    life: str,
    sequence: int,
    end_ns: int,
    loads: Sequence[ActiveLoad],
) -> EnergyFrame:
    """The frame `[book.start_ns, end_ns)`; `readings` per meter in time order, of any number of meters.

    A group whose meters gave no reading knows no more than before, and its watermark stays; one that has no
    meters has nothing to wait for.
    """
    meters = tuple(dict.fromkeys(reading.meter for reading in readings))
    index = {meter: place for place, meter in enumerate(meters)}
    latest: dict[str, int] = {}
    for reading in readings:
        latest[reading.meter.meter_id] = max(reading.time_ns, latest.get(reading.meter.meter_id, 0))
    return EnergyFrame(
        group_id=book.plan.group_id,
        node_id=node_id,
        incarnation=life,
        sequence=sequence,
        start_ns=book.start_ns,
        end_ns=end_ns,
        watermark_ns=(
            min([end_ns, *latest.values()])
            if latest or not book.plan.gpu_uuids
            else (book.known_ns or book.start_ns)
        ),
        engines=book.plan.engines,
        loads=tuple(loads),
        meters=meters,
        reading_meter=np.array([index[reading.meter] for reading in readings], np.int32),
        reading_time_ns=np.array([reading.time_ns for reading in readings], np.int64),
        reading_uj=np.array([reading.energy_uj for reading in readings], np.int64),
    )


def gather(book: GroupBook, probes: dict[str, Probe], moves: dict[str, int], end_ns: int) -> list[Reading]:
    """The group's GPU readings before `end_ns`, after what it took over."""
    readings, book.carried = book.carried, []
    for uuid in book.plan.gpu_uuids:
        probe = probes.get(uuid)
        if probe is not None:
            readings += [moved_epoch(reading, moves.get(uuid, 0)) for reading in probe.take(end_ns)]
    return readings
