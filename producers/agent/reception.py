"""What engines say to the agent, and what it answers: names on arrival, acknowledgements of what is on disk."""

import logging
import time
import zlib
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from producers import wire
from producers.agent.engines import Engine, Roster
from producers.agent.groups import Groups
from producers.agent.intake import Connection, Intake
from producers.agent.metrics import Metrics
from producers.agent.outbox import Outbox
from producers.agent.settings import AgentSettings
from producers.agent.spool import Worth
from producers.agent.status import NodeStatus
from schemas.errors import MalformedMessage
from schemas.frames import decode_iterations, encode_iterations
from schemas.side_input_codec import encode_load
from schemas.side_inputs import Load
from schemas.topics import ITERATIONS, LOADS

__all__ = ["Reception"]

log: Final = logging.getLogger(__name__)

MAX_ROUNDS: Final = 64
"""Of reading from engines before the meters are looked at again: 4 MiB from each at most."""


class Reception:
    """One agent's, behind its socket. `on_arrival` is called when an engine is here, `status` when someone asks."""

    def __init__(
        self,
        settings: AgentSettings,
        roster: Roster,
        groups: Groups,
        outbox: Outbox,
        metrics: Metrics,
        *,
        on_arrival: Callable[[], None],
        status: Callable[[], NodeStatus],
    ) -> None:
        self._roster = roster
        self._groups = groups
        self._outbox = outbox
        self._metrics = metrics
        self._iteration_frames = metrics.frames.labels("iterations")
        self._on_arrival = on_arrival
        self._status = status
        self._acks: dict[str, Connection] = {}
        self.loads: dict[str, Load] = {}
        """Loads that engines told of, begun or ended."""
        self._intake = Intake(
            settings.socket,
            mode=settings.socket_mode,
            gid=settings.socket_gid,
            uids=settings.uids,
            on_message=self._on_message,
            on_gone=self._on_gone,
        )

    @property
    def rejected(self) -> int:
        """Connections turned away or cut off."""
        return self._intake.rejected

    def hear(self) -> None:
        """What the engines have sent, in bounded time."""
        rounds = 0
        while rounds < MAX_ROUNDS and self._intake.serve():
            rounds += 1

    def greet(self) -> None:
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

    def acknowledge(self) -> None:
        """What was heard is on disk: its hooks need not keep it."""
        acks, self._acks = self._acks, {}
        for engine_id, connection in acks.items():
            engine = self._roster.engines.get(engine_id)
            if engine is not None:
                self._intake.send(connection, wire.ack(engine.next_sequence))

    def forget_loads(self) -> None:
        """Of engines that are gone for good."""
        self.loads = {
            load_id: load for load_id, load in self.loads.items() if load.engine_id in self._roster.engines
        }

    def close(self) -> None:
        """Hang up on everyone."""
        self._intake.close()

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
        self._on_arrival()

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
        self._iteration_frames.inc()
        self._outbox.put(ITERATIONS, connection.welcome.group_id, payload, Worth.DETAIL, engine.engine_id)

    def _on_load(self, engine: Engine, load: Load) -> None:
        known = self.loads.get(load.load_id)
        if known is not None and known.end_ns:
            return
        group_id = self._groups.by_engine[engine.engine_id]
        named = replace(load, engine_id=engine.engine_id, group_id=group_id)
        if named.kind != "unload":  # takes no time: nothing of it is shown in energy frames
            self.loads[load.load_id] = named
        if named.end_ns:
            self._outbox.put(LOADS, group_id, encode_load(named), Worth.FACT, engine.engine_id)
