"""The agent at work: one thread that listens, measures, spools and publishes, in this order of urgency.

Once per frame interval everything new goes to disk in one transaction: iteration frames as they came, energy
frames of every group, and what the next agent needs (sequence numbers, epochs, claims). Hooks are told only
then, so whatever they no longer keep is on disk.
"""

import logging
import time
from collections.abc import Callable
from typing import Final

from producers.agent.claims import STATES, ClaimWatch, judge
from producers.agent.engines import Engine, Roster
from producers.agent.grouping import plan_groups
from producers.agent.groups import Groups, descriptor
from producers.agent.metrics import Metrics
from producers.agent.node import Node
from producers.agent.outbox import Outbox
from producers.agent.publisher import Publisher
from producers.agent.reception import Reception
from producers.agent.sampling import Probe, read_due
from producers.agent.settings import AgentSettings
from producers.agent.spool import Spool, Worth
from producers.agent.status import MeterStatus, NodeStatus, engine_statuses
from producers.clock import UnixClock
from schemas.errors import MeterError
from schemas.side_input_codec import encode_engine
from schemas.topics import ENGINES

__all__ = ["Agent"]

log: Final = logging.getLogger(__name__)

SLOW_S: Final = 10.0
"""Between looks at what changes seldom: processes, claims, spool."""
LONGEST_SLEEP_S: Final = 0.5
"""How long an engine may wait for its welcome. Its frames wait for the flush, and that hears what has come."""
STALLED_S: Final = 60.0
"""Without a flush for so long, where one is due each half second, it hangs: in the driver or on its disk."""
PUMP_S: Final = 0.5
"""Between looks at what Kafka has taken: the hooks have their acknowledgements already, from the disk."""


class Agent:
    """One node's agent. `run` until told to stop; every method is its thread's."""

    def __init__(
        self,
        settings: AgentSettings,
        node: Node,
        spool: Spool,
        publisher: Publisher,
        metrics: Metrics,
        *,
        clock: UnixClock,
        life: str,
    ) -> None:
        self._settings = settings
        self._node = node
        self._spool = spool
        self._publisher = publisher
        self._metrics = metrics
        self._clock = clock
        self._prefix = f"{settings.cluster}/{settings.node}"
        self._groups = Groups(
            node_id=settings.node,
            life=life,
            now_ns=clock.now,
            probes={uuid: Probe(meter) for uuid, meter in node.gpus.items()},
            host_probe=Probe(node.host) if node.host is not None else None,
            moves=spool.fact("moves", {}),
            sequences=spool.fact("sequences", {}),
        )
        self._roster = Roster(
            self._prefix,
            node.resolve,
            spool.fact("engines", {}),
            spool.fact("spooled", {}),
            grace_s=settings.claim_grace_s,
            now_s=time.monotonic(),
        )
        self._claims = ClaimWatch()
        self._regrouped = True
        """Who is here has changed since the last flush."""
        self._outbox = Outbox(spool, publisher, metrics, clock.now)
        self._reception = Reception(
            settings, self._roster, self._groups, self._outbox, metrics,
            on_arrival=self._regroup, status=self._status,
        )  # fmt: skip
        self._begun_s = time.monotonic()
        self._flushed_s: float | None = None
        self._regroup()

    def live(self) -> str | None:
        """For probes: what only a restart can mend, None where frames reach the disk. Kafka is no part of it."""
        silent_s = time.monotonic() - (self._begun_s if self._flushed_s is None else self._flushed_s)
        return f"nothing was spooled for {silent_s:.0f} s" if silent_s > STALLED_S else None

    def ready(self) -> str | None:
        """For probes: None once the first frames are on disk, so that engines may come."""
        return "nothing was spooled yet" if self._flushed_s is None else None

    def run(self, stopping: Callable[[], bool]) -> None:
        """Serve until `stopping`, then write what is there and give Kafka a moment to take it."""
        frame_at = time.monotonic() + self._settings.frame_s
        slow_at = hear_at = pump_at = 0.0
        while not stopping():
            # Hooks do not wait for us: few wake-ups, each with work.
            time.sleep(self._until_next_reading(frame_at))
            now_s = time.monotonic()
            cutting = now_s >= frame_at
            if cutting or now_s >= hear_at:
                hear_at = now_s + LONGEST_SLEEP_S
                self._reception.hear()
            read_due(self._groups.all_probes, self._clock.now, cutting=cutting)
            if now_s >= slow_at:
                slow_at = now_s + SLOW_S
                self._look_around(now_s)
            if cutting:
                frame_at = max(frame_at + self._settings.frame_s, now_s)
                self._cut()
                self._flush()
                pump_at = 0.0
            if now_s >= pump_at:
                pump_at = now_s + (0.0 if self._publisher.pump() else PUMP_S)
        self._cut()
        self._flush()
        self._publisher.pump()
        self._outbox.close()
        self._publisher.close(5.0)
        self._reception.close()
        self._node.close()

    def _regroup(self) -> None:
        """After an engine came or went: plan anew, describe what changed, tell engines their names."""
        self._regrouped = True
        plans = plan_groups(self._prefix, list(self._groups.probes), self._roster.claims())
        frames, changed = self._groups.replan(plans, self._reception.loads)
        self._outbox.put_energy(frames)
        for plan in changed:
            for engine_id in plan.engines:
                self._describe(engine_id, plan.group_id)
        self._reception.greet()

    def _describe(self, engine_id: str, group_id: str) -> None:
        described = descriptor(
            self._roster.engines[engine_id],
            group_id=group_id,
            node_id=self._settings.node,
            gpu_name=self._gpu_name,
            zone=self._settings.zone,
            site=self._settings.site,
            contested_gpus=self._claims.contested(engine_id),
        )
        self._outbox.put(ENGINES, engine_id, encode_engine(described), Worth.FACT, engine_id)

    def _gpu_name(self, engine: Engine) -> str:
        try:
            return self._node.gpu_name(engine.gpu_uuids[0]) if engine.gpu_uuids else "none"
        except MeterError:
            return "unknown"

    def _until_next_reading(self, frame_at: float) -> float:
        due_s = (min(probe.due_ns for probe in self._groups.all_probes) - self._clock.now()) / 1e9
        return max(0.0, min(due_s, LONGEST_SLEEP_S, frame_at - time.monotonic()))

    def _cut(self) -> None:
        self._clock.follow()
        self._outbox.put_energy(self._groups.cut(self._clock.now(), self._reception.loads))

    def _flush(self) -> None:
        """Everything new to disk, then the acknowledgements."""
        known = {"moves": self._groups.moves, "engines": self._roster.kept()} if self._regrouped else {}
        self._regrouped = False
        on_disk = self._outbox.flush(
            known
            | {
                "epochs": {
                    uuid: [epoch.boot_id, epoch.number, epoch.energy_uj]
                    for uuid, meter in self._node.gpus.items()
                    if (epoch := meter.epoch) is not None
                },
                "sequences": self._groups.sequences,
                "spooled": self._roster.spooled(),
            }
        )
        self._flushed_s = time.monotonic()
        if on_disk:
            self._reception.acknowledge()
        self._outbox.make_room()

    def _status(self) -> NodeStatus:
        """What the agent knows at this moment, for `wattledger agent status`."""
        oldest_ns = self._spool.oldest_ns()
        return NodeStatus(
            node=self._prefix,
            engines=engine_statuses(
                self._roster.engines.values(),
                self._groups.by_engine,
                judge(self._roster.engines.values(), self._node.processes),
            ),
            meters=tuple(MeterStatus(uuid, probe.error) for uuid, probe in self._groups.probes.items()),
            spool_bytes=self._spool.size_bytes,
            spool_messages=self._spool.messages,
            spool_oldest_s=(self._clock.now() - oldest_ns) / 1e9 if oldest_ns is not None else 0.0,
            published_messages=self._publisher.published,
        )

    def _look_around(self, now_s: float) -> None:
        """What changes seldom: engines that are gone, whose process holds which GPU, the metrics."""
        if self._roster.expire(now_s):
            self._regroup()
        present = {
            engine_id: engine for engine_id, engine in self._roster.engines.items() if engine.connected
        }
        for engine_id in self._claims.look(present.values(), self._node.processes):
            self._describe(engine_id, self._groups.by_engine[engine_id])
        for state in STATES:
            count = sum(claim.state == state for claim in self._claims.claims)
            self._metrics.claims.labels(state).set(count)
        self._reception.forget_loads()
        self._metrics.engines.set(len(present))
        for uuid, probe in self._groups.probes.items():
            self._metrics.meter_up.labels(uuid).set(not probe.failures)
        oldest_ns = self._spool.oldest_ns()
        self._metrics.spool_age.set((self._clock.now() - oldest_ns) / 1e9 if oldest_ns is not None else 0)
        self._metrics.spool_bytes.set(self._spool.size_bytes)
        self._metrics.spool_messages.set(self._spool.messages)
        self._metrics.published.set(self._publisher.published)
        self._metrics.rejected.set(self._reception.rejected)
