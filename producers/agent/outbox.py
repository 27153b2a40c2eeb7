"""What the agent publishes, gathered over a turn and written to the spool in one transaction at its end."""

import logging
from collections.abc import Callable, Mapping
from typing import Any, Final

from producers.agent.metrics import Metrics
from producers.agent.overflow import Overflow
from producers.agent.publisher import Publisher
from producers.agent.spool import Outgoing, Spool, Worth
from schemas.energy import EnergyFrame
from schemas.errors import MalformedMessage
from schemas.frames import encode_energy
from schemas.topics import ENERGY

__all__ = ["Outbox"]

log: Final = logging.getLogger(__name__)


class Outbox:
    """One agent's; its thread's. Nothing is on disk, and nothing may be acknowledged, before `flush` returns."""

    def __init__(
        self, spool: Spool, publisher: Publisher, metrics: Metrics, now_ns: Callable[[], int]
    ) -> None:
        self._spool = spool
        self._overflow = Overflow(spool)
        self._publisher = publisher
        self._now_ns = now_ns
        self._energy_frames = metrics.frames.labels("energy")
        self._joined = metrics.joined
        self._lost = metrics.lost
        self._pending: list[Outgoing] = []

    def put(self, topic: str, key: str, value: bytes, worth: Worth, stream: str) -> None:
        """One message more; `stream` is its engine or group."""
        self._pending.append(Outgoing(topic, key, value, worth, stream, self._now_ns()))

    def put_energy(self, frames: list[EnergyFrame]) -> None:
        """Energy frames, each under its group's key."""
        for frame in frames:
            try:
                value = encode_energy(frame)
            except MalformedMessage as error:
                # A hole in the sequence, and the next frame's counters: no reason to stop serving the node.
                log.error("energy frame %d of %s is not written: %s", frame.sequence, frame.group_id, error)  # noqa: TRY400
                continue
            self._energy_frames.inc()
            self.put(ENERGY, frame.group_id, value, Worth.ENERGY, frame.group_id)

    def flush(self, facts: Mapping[str, Any]) -> None:
        """Everything new to disk, with `facts` for the next agent; what Kafka has leaves it in the same write."""
        pending, self._pending = self._pending, []
        self._spool.put(pending, facts, delivered=self._publisher.settled())

    def make_room(self) -> None:
        """Fold and give up what the spool has no room for, and say so."""
        room = self._overflow.make_room()
        if room.joined:
            self._joined.inc(room.joined)
            log.warning(
                "spool full (%d bytes): joined %d iteration frames with their neighbours, nothing is "
                "lost; look after Kafka",
                self._spool.limit, room.joined,
            )  # fmt: skip
        for lost in room.lost:
            log.error(
                "spool full (%d bytes): gave up %d %s frames of %s, %d iterations with %d tokens, %d to %d (Unix "
                "ns); look after Kafka, or raise WATTLEDGER_SPOOL_BYTES",
                self._spool.limit, lost.frames, lost.worth.name.lower(), lost.stream, lost.iterations,
                lost.tokens, lost.from_ns, lost.to_ns,
            )  # fmt: skip
            self._lost.labels(lost.stream, lost.worth.name.lower()).inc(lost.frames)
