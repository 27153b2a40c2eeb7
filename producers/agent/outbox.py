"""What the agent publishes, gathered over a turn and written to the spool in one transaction at its end."""

import logging
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from producers.agent.metrics import Metrics
from producers.agent.overflow import Overflow, Room
from producers.agent.publisher import Publisher
from producers.agent.reserve import Reserve
from producers.agent.spool import DISK_FAILS, Outgoing, Spool, Worth
from schemas.energy import EnergyFrame
from schemas.errors import MalformedMessage
from schemas.frames import encode_energy
from schemas.topics import ENERGY

__all__ = ["Outbox"]

log: Final = logging.getLogger(__name__)

TRY_AGAIN_S: Final = 2.0
"""Between attempts to write what waits in memory."""


class Outbox:
    """One agent's; its thread's. What is on disk may be acknowledged; that is what `flush` says."""

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
        self._disk_failing = metrics.disk_failing
        self._reserve: Reserve | None = None
        """Where everything waits while the disk takes nothing."""
        self._try_at_s = 0.0
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

    def flush(self, facts: Mapping[str, Any]) -> bool:
        """Everything new to disk, with `facts` for the next agent; what Kafka has leaves it in the same write.

        False where it is in memory alone, because the disk takes nothing: then nothing may be acknowledged.
        """
        pending, self._pending = self._pending, []
        delivered = self._publisher.settled()
        if self._reserve is None:
            try:
                self._spool.put(pending, facts, delivered=delivered)
            except DISK_FAILS as error:
                self._begin_reserve(error)
            else:
                return True
        assert self._reserve is not None
        self._reserve.keep(pending, facts, delivered)
        return self._end_reserve()

    def _begin_reserve(self, error: Exception) -> None:
        self._reserve = Reserve()
        self._disk_failing.set(1)
        log.error(
            "the spool's disk takes nothing (%s): frames wait in memory, up to %d bytes; make room on it",
            error, self._reserve.limit,
        )  # fmt: skip

    def _end_reserve(self) -> bool:
        """Whether what waited in memory is on disk; tried now and then, for it may be much."""
        now_s = time.monotonic()
        if self._reserve is None or now_s < self._try_at_s:
            return False
        waiting = self._reserve.messages
        if not self._reserve.empty_into(self._spool):
            self._try_at_s = now_s + TRY_AGAIN_S
            return False
        self._reserve = None
        self._disk_failing.set(0)
        log.warning(
            "the spool's disk takes frames again: %d messages that waited in memory are on it", waiting
        )
        return True

    def close(self) -> None:
        """Say what is lost with this process: nothing, unless the disk takes nothing to the last."""
        self._try_at_s = 0.0
        if self._reserve is not None and not self._end_reserve():
            log.error("the spool's disk takes nothing: %d messages are lost", self._reserve.messages)

    def make_room(self) -> None:
        """Fold and give up what there is no room for, and say so."""
        if self._reserve is not None:
            self._tell(self._reserve.make_room(), self._reserve.limit, "make room on the spool's disk")
            return
        try:
            room = self._overflow.make_room()
        except DISK_FAILS:
            return  # the next flush finds out whether frames can be written
        self._tell(room, self._spool.limit, "look after Kafka, or raise WATTLEDGER_SPOOL_BYTES")

    def _tell(self, room: Room, limit: int, advice: str) -> None:
        if room.joined:
            self._joined.inc(room.joined)
            log.warning(
                "spool full (%d bytes): joined %d iteration frames with their neighbours, nothing is lost; %s",
                limit, room.joined, advice,
            )  # fmt: skip
        for lost in room.lost:
            log.error(
                "spool full (%d bytes): gave up %d %s frames of %s, %d iterations with %d tokens, %d to %d (Unix "
                "ns); %s",
                limit, lost.frames, lost.worth.name.lower(), lost.stream, lost.iterations,
                lost.tokens, lost.from_ns, lost.to_ns, advice,
            )  # fmt: skip
            self._lost.labels(lost.stream, lost.worth.name.lower()).inc(lost.frames)
