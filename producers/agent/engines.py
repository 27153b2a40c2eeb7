"""The engines of a node: who is there, what it holds, what it is called, until when a silent one keeps its
GPUs.
"""

import logging
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from producers import wire
from producers.hooks.contract import EngineFacts
from schemas.errors import MalformedMessage, MeterError

__all__ = ["Engine", "Roster", "alive"]

log: Final = logging.getLogger(__name__)


@dataclass(slots=True)
class Engine:
    """An engine that has introduced itself."""

    engine_id: str
    incarnation: str
    incarnation_start_ns: int
    facts: EngineFacts
    gpu_uuids: tuple[str, ...]
    """Physical GPUs: slices are their parents."""
    pid: int
    next_sequence: int
    """Frames below it are spooled."""
    connected: bool = True
    gone_s: float = 0.0
    off: str = ""
    """Why its hook records no more."""

    def kept(self) -> dict[str, Any]:
        """What an agent after this one needs."""
        return {
            "incarnation": self.incarnation,
            "incarnation_start_ns": self.incarnation_start_ns,
            "facts": asdict(self.facts),
            "gpu_uuids": list(self.gpu_uuids),
            "pid": self.pid,
        }


class Roster:
    """Engines by id. `resolve` gives the physical GPU behind a UUID, or raises MeterError.

    `kept` and `spooled` are what an agent before this one left; its engines have the grace to come back.
    """

    def __init__(
        self,
        prefix: str,
        resolve: Callable[[str], str],
        kept: Mapping[str, Any],
        spooled: Mapping[str, int],
        *,
        grace_s: float,
        now_s: float,
    ) -> None:
        self._prefix = prefix
        self._resolve = resolve
        self._grace_s = grace_s
        self.engines: dict[str, Engine] = {}
        for engine_id, fields in kept.items():
            facts = EngineFacts(**{**fields["facts"], "gpu_uuids": tuple(fields["facts"]["gpu_uuids"])})
            self.engines[engine_id] = Engine(
                engine_id=engine_id,
                incarnation=fields["incarnation"],
                incarnation_start_ns=fields["incarnation_start_ns"],
                facts=facts,
                gpu_uuids=tuple(fields["gpu_uuids"]),
                pid=fields["pid"],
                next_sequence=spooled.get(engine_id, 0),
                connected=False,
                gone_s=now_s,
            )

    def claims(self) -> dict[str, tuple[str, ...]]:
        """GPUs by engine."""
        return {engine.engine_id: engine.gpu_uuids for engine in self.engines.values()}

    def kept(self) -> dict[str, Any]:
        """Who is here, for the next agent; changes when one arrives or is gone."""
        return {engine.engine_id: engine.kept() for engine in self.engines.values()}

    def spooled(self) -> dict[str, int]:
        """How far each engine's frames are spooled, for the next agent."""
        return {engine.engine_id: engine.next_sequence for engine in self.engines.values()}

    def arrive(self, hello: wire.Hello, pid: int) -> Engine:
        """An engine introduces itself, for the first time or after a reconnection.

        MalformedMessage names what is wrong: another protocol, a GPU that this node does not have, or a name
        that a living engine bears.
        """
        if hello.protocol != wire.PROTOCOL:
            raise MalformedMessage(
                f"protocol {hello.protocol}: this agent speaks {wire.PROTOCOL}; install the same wattledger on both"
            )
        engine_id = f"{self._prefix}/{hello.engine_id.rpartition('/')[2]}"
        known = self.engines.get(engine_id)
        same = known is not None and known.incarnation == hello.incarnation
        if known is not None and known.connected and not same and alive(known.pid):
            raise MalformedMessage(
                f"engine {engine_id} is already connected (process {known.pid}): give each engine of a node its "
                "own name by WATTLEDGER_ENGINE"
            )
        engine = Engine(
            engine_id=engine_id,
            incarnation=hello.incarnation,
            incarnation_start_ns=hello.incarnation_start_ns,
            facts=hello.facts,
            gpu_uuids=self._physical(engine_id, hello.facts.gpu_uuids),
            pid=pid,
            next_sequence=known.next_sequence if known is not None and same else 0,
        )
        self.engines[engine_id] = engine
        return engine

    def leave(self, engine_id: str, now_s: float) -> None:
        """An engine hung up; it keeps its GPUs for the grace, because its agent or it may have hiccuped."""
        engine = self.engines.get(engine_id)
        if engine is not None:
            engine.connected = False
            engine.gone_s = now_s

    def expire(self, now_s: float) -> bool:
        """Release the GPUs of engines whose process is gone or whose grace is over; whether there were
        any.
        """
        gone = [
            engine.engine_id
            for engine in self.engines.values()
            if not engine.connected
            and (now_s - engine.gone_s > self._grace_s or (engine.pid > 0 and not alive(engine.pid)))
        ]
        for engine_id in gone:
            log.info("engine %s is gone; its GPUs serve no engine", engine_id)
            del self.engines[engine_id]
        return bool(gone)

    def _physical(self, engine_id: str, uuids: tuple[str, ...]) -> tuple[str, ...]:
        try:
            return tuple(sorted({self._resolve(uuid) for uuid in uuids}))
        except MeterError as error:
            raise MalformedMessage(
                f"engine {engine_id} claims a GPU that this node's agent does not see: {error}"
            ) from error


def alive(pid: int) -> bool:
    """Whether a process is there; true where it cannot be known (0: a foreign namespace)."""
    return pid <= 0 or Path(f"/proc/{pid}").exists()
