"""The agent at work: one thread that listens, measures, spools and publishes, in this order of urgency.

Once per frame interval everything new goes to disk in one transaction: iteration frames as they came, energy
frames of every group, and what the next agent needs (sequence numbers, epochs, claims). Hooks are told only
then, so whatever they no longer keep is on disk.
"""

import logging
import time
import zlib
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from producers import wire
from producers.agent.claims import STATES, ClaimWatch, judge
from producers.agent.engines import Engine, Roster
from producers.agent.grouping import plan_groups
from producers.agent.groups import Groups, descriptor
from producers.agent.intake import Connection, Intake
from producers.agent.metrics import Metrics
from producers.agent.node import Node
from producers.agent.overflow import Overflow
from producers.agent.publisher import Publisher
from producers.agent.sampling import TICK_NS, Probe, read_due
from producers.agent.settings import AgentSettings
from producers.agent.spool import Outgoing, Spool, Worth
from producers.agent.status import MeterStatus, NodeStatus, engine_statuses
from producers.clock import UnixClock
from schemas.energy import EnergyFrame
from schemas.errors import MalformedMessage, MeterError
from schemas.frames import decode_iterations, encode_energy, encode_iterations
from schemas.side_input_codec import encode_engine, encode_load
from schemas.side_inputs import Load
from schemas.topics import ENERGY, ENGINES, ITERATIONS, LOADS

__all__ = ["Agent"]

log: Final = logging.getLogger(__name__)

SLOW_S: Final = 10.0
"""Between looks at what changes seldom: processes, claims, spool."""
LONGEST_SLEEP_S: Final = 0.1
"""How long an engine may wait for its welcome."""
MAX_ROUNDS: Final = 64
"""Of reading from engines before the meters are looked at again: 4 MiB from each at most."""
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
        self._overflow = Overflow(spool)
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
        self._loads: dict[str, Load] = {}
        self._pending: list[Outgoing] = []
        self._acks: dict[str, Connection] = {}
        self._regrouped = True
        """Who is here has changed since the last flush."""
        self._intake = Intake(
            settings.socket,
            mode=settings.socket_mode,
            gid=settings.socket_gid,
            uids=settings.uids,
            on_message=self._on_message,
            on_gone=self._on_gone,
        )
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
        slow_at = pump_at = 0.0
        while not stopping():
            # Hooks do not wait for us, so they are heard when a meter is due: few wake-ups, each with work.
            time.sleep(self._until_next_reading(frame_at))
            rounds = 0
            while rounds < MAX_ROUNDS and self._intake.serve():
                rounds += 1
            read_due(self._groups.all_probes, self._clock.now)
            now_s = time.monotonic()
            if now_s >= slow_at:
                slow_at = now_s + SLOW_S
                self._look_around(now_s)
            if now_s >= frame_at:
                frame_at = max(frame_at + self._settings.frame_s, now_s)
                self._cut()
                self._flush()
                pump_at = 0.0
            if now_s >= pump_at:
                pump_at = now_s + (0.0 if self._publisher.pump() else PUMP_S)
        self._cut()
        self._flush()
        self._publisher.pump()
        self._publisher.close(5.0)
        self._intake.close()
        self._node.close()

    # --- engines ---------------------------------------------------------------------------------------

    def _on_message(self, connection: Connection, kind: wire.Kind, body: bytes) -> None:
        if kind is wire.Kind.HELLO:
            self._on_hello(connection, wire.read_json(wire.Hello, body))
            return
        if kind is wire.Kind.STATUS:
            self._intake.send(connection, wire.json_message(kind, self._status()))
            return
        engine = self._roster.engines.get(connection.engine_id)
        if engine is None or connection.hello is None or connection.hello.incarnation != engine.incarnation:
            raise MalformedMessage(
                f"{kind.name} before HELLO, or after another process took the engine's name"
            )
        if kind is wire.Kind.FRAME:
            self._on_frame(connection, engine, wire.read_frame(body))
        elif kind is wire.Kind.LOAD:
            self._on_load(engine, wire.read_json(Load, body))
        elif kind is wire.Kind.OFF:
            engine.off = wire.read_json(wire.Off, body).reason
            log.error(
                "engine %s: its hook is off (%s); its energy is unobserved", engine.engine_id, engine.off
            )
            self._metrics.hooks_off.labels(engine.engine_id).inc()
        else:
            raise MalformedMessage(f"{kind.name}: not for an agent")

    def _on_hello(self, connection: Connection, hello: wire.Hello) -> None:
        try:
            engine = self._roster.arrive(hello, connection.pid)
        except MalformedMessage as error:
            self._intake.send(connection, wire.json_message(wire.Kind.REFUSED, wire.Refused(str(error))))
            raise
        connection.hello = hello
        connection.welcome = wire.Welcome(0, engine.engine_id, "")
        log.info(
            "engine %s (process %d) holds %s", engine.engine_id, connection.pid, engine.gpu_uuids or "no GPU"
        )
        self._regroup()

    def _on_gone(self, connection: Connection) -> None:
        if self._acks.get(connection.engine_id) is connection:
            del self._acks[connection.engine_id]
        # A new connection of the same engine may be here before the old one is seen to be gone.
        if all(other.engine_id != connection.engine_id for other in self._intake.connections):
            self._roster.leave(connection.engine_id, time.monotonic())

    def _on_frame(self, connection: Connection, engine: Engine, frame: wire.Frame) -> None:
        assert connection.welcome is not None
        self._acks[engine.engine_id] = connection
        if frame.sequence < engine.next_sequence:
            self._metrics.repeated.inc()
            return
        if frame.sequence > engine.next_sequence:
            self._metrics.missing.labels(engine.engine_id).inc(frame.sequence - engine.next_sequence)
        engine.next_sequence = frame.sequence + 1
        payload = frame.payload
        if frame.naming != connection.welcome.naming:
            named = decode_iterations(payload)
            payload = encode_iterations(
                replace(named, engine_id=engine.engine_id, group_id=connection.welcome.group_id)
            )
        self._metrics.frames.labels("iterations").inc()
        self._put(ITERATIONS, connection.welcome.group_id, payload, Worth.DETAIL, engine.engine_id)

    def _on_load(self, engine: Engine, load: Load) -> None:
        known = self._loads.get(load.load_id)
        if known is not None and known.end_ns:
            return
        group_id = self._groups.by_engine[engine.engine_id]
        named = replace(load, engine_id=engine.engine_id, group_id=group_id)
        if named.kind != "unload":  # takes no time: nothing of it is shown in energy frames
            self._loads[load.load_id] = named
        if named.end_ns:
            self._put(LOADS, group_id, encode_load(named), Worth.FACT, engine.engine_id)

    # --- groups ----------------------------------------------------------------------------------------

    def _regroup(self) -> None:
        """After an engine came or went: plan anew, describe what changed, tell engines their names."""
        self._regrouped = True
        plans = plan_groups(self._prefix, list(self._groups.probes), self._roster.claims())
        frames, changed = self._groups.replan(plans, self._loads)
        self._spool_energy(frames)
        for plan in changed:
            for engine_id in plan.engines:
                self._describe(engine_id, plan.group_id)
        self._greet()

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
        self._put(ENGINES, engine_id, encode_engine(described), Worth.FACT, engine_id)

    def _greet(self) -> None:
        """Tell every engine the names that it bears now."""
        groups = self._groups.by_engine
        for connection in self._intake.connections:
            group_id = groups.get(connection.engine_id)
            if connection.welcome is None or group_id is None or connection.welcome.group_id == group_id:
                continue
            # Derived from the names, so that frames sent again to another agent still say what they carry.
            naming = zlib.crc32(f"{connection.engine_id}\n{group_id}".encode()) | 1
            connection.welcome = wire.Welcome(naming, connection.engine_id, group_id)
            self._intake.send(connection, wire.json_message(wire.Kind.WELCOME, connection.welcome))

    def _gpu_name(self, engine: Engine) -> str:
        try:
            return self._node.gpu_name(engine.gpu_uuids[0]) if engine.gpu_uuids else "none"
        except MeterError:
            return "unknown"

    # --- frames ----------------------------------------------------------------------------------------

    def _until_next_reading(self, frame_at: float) -> float:
        due_ns = min((probe.due_ns for probe in self._groups.all_probes), default=0)
        ticks = max(1, -(-(due_ns - self._clock.now()) // TICK_NS))
        return max(0.0, min(ticks * TICK_NS / 1e9, LONGEST_SLEEP_S, frame_at - time.monotonic()))

    def _cut(self) -> None:
        self._clock.follow()
        self._spool_energy(self._groups.cut(self._clock.now(), self._loads))

    def _spool_energy(self, frames: list[EnergyFrame]) -> None:
        for frame in frames:
            try:
                value = encode_energy(frame)
            except MalformedMessage as error:
                # A hole in the sequence, and the next frame's counters: no reason to stop serving the node.
                log.error("energy frame %d of %s is not written: %s", frame.sequence, frame.group_id, error)  # noqa: TRY400
                continue
            self._metrics.frames.labels("energy").inc()
            self._put(ENERGY, frame.group_id, value, Worth.ENERGY, frame.group_id)

    def _put(self, topic: str, key: str, value: bytes, worth: Worth, stream: str) -> None:
        self._pending.append(Outgoing(topic, key, value, worth, stream, self._clock.now()))

    def _flush(self) -> None:
        """Everything new to disk, then the acknowledgements."""
        pending, self._pending = self._pending, []
        known = {"moves": self._groups.moves, "engines": self._roster.kept()} if self._regrouped else {}
        self._regrouped = False
        self._spool.put(
            pending,
            known
            | {
                "epochs": {
                    uuid: [epoch.boot_id, epoch.number, epoch.energy_uj]
                    for uuid, meter in self._node.gpus.items()
                    if (epoch := meter.epoch) is not None
                },
                "sequences": self._groups.sequences,
                "spooled": self._roster.spooled(),
            },
        )
        self._flushed_s = time.monotonic()
        acks, self._acks = self._acks, {}
        for engine_id, connection in acks.items():
            engine = self._roster.engines.get(engine_id)
            if engine is not None:
                self._intake.send(connection, wire.ack(engine.next_sequence))
        self._make_room()

    def _make_room(self) -> None:
        """Fold and give up what the spool has no room for, and say so."""
        room = self._overflow.make_room()
        if room.joined:
            self._metrics.joined.inc(room.joined)
            log.warning(
                "spool full (%d bytes): joined %d iteration frames with their neighbours, nothing is "
                "lost; look after Kafka",
                self._settings.spool_bytes, room.joined,
            )  # fmt: skip
        for lost in room.lost:
            log.error(
                "spool full (%d bytes): gave up %d %s frames of %s, %d iterations with %d tokens, %d to %d (Unix "
                "ns); look after Kafka, or raise WATTLEDGER_SPOOL_BYTES",
                self._settings.spool_bytes, lost.frames, lost.worth.name.lower(), lost.stream, lost.iterations,
                lost.tokens, lost.from_ns, lost.to_ns,
            )  # fmt: skip
            self._metrics.lost.labels(lost.stream, lost.worth.name.lower()).inc(lost.frames)

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
        self._loads = {
            load_id: load for load_id, load in self._loads.items() if load.engine_id in self._roster.engines
        }
        self._metrics.engines.set(len(present))
        for uuid, probe in self._groups.probes.items():
            self._metrics.meter_up.labels(uuid).set(not probe.failures)
        oldest_ns = self._spool.oldest_ns()
        self._metrics.spool_age.set((self._clock.now() - oldest_ns) / 1e9 if oldest_ns is not None else 0)
        self._metrics.spool_bytes.set(self._spool.size_bytes)
        self._metrics.spool_messages.set(self._spool.messages)
        self._metrics.published.set(self._publisher.published)
        self._metrics.rejected.set(self._intake.rejected)
