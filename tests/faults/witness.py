"""What a full spool gives up, written down before it goes: a process killed in the middle has still said so."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass, field
from pathlib import Path
from typing import Any

from producers.agent.spool import Spool, Stored, Worth
from schemas.errors import InvalidMessage
from schemas.frames import decode_energy, decode_iterations
from schemas.topics import ENERGY, ITERATIONS
from tests.faults.traffic import Destroyed

__all__ = ["Witness"]


@dataclass(slots=True)
class Witness:
    """A spool as `Overflow` sees it; every frame that loses its words is a line of `path` first."""

    spool: Spool
    path: Path
    _seen: dict[int, tuple[str, Stored]] = field(default_factory=dict)

    def oldest(self, worth: Worth, limit: int, *, after: int = 0) -> list[Stored]:
        """The spool's own, remembered."""
        found = self.spool.oldest(worth, limit, after=after)
        topic = ENERGY if worth is Worth.ENERGY else ITERATIONS
        self._seen = {one.id: (topic, one) for one in found}
        return found

    def rewrite(self, stored: Sequence[Stored], value: bytes, worth: Worth) -> None:
        """Joining loses nothing; sums in the place of rows do."""
        if worth is Worth.SUMS:
            self._say([one.id for one in stored])
        self.spool.rewrite(stored, value, worth)

    def delete(self, ids: Iterable[int]) -> None:
        """Forget messages."""
        gone = list(ids)
        self._say(gone)
        self.spool.delete(gone)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.spool, name)

    def _say(self, ids: Iterable[int]) -> None:
        with self.path.open("a") as lines:
            for topic, one in map(self._seen.__getitem__, ids):
                gone = Destroyed("spool_overflow", topic, one.stream, *_spoken_of(topic, one))
                lines.write(json.dumps(astuple(gone)) + "\n")


def _spoken_of(topic: str, one: Stored) -> tuple[int, int]:
    """The time of a frame; the instant of one that nobody can read."""
    try:
        frame = decode_energy(one.value) if topic == ENERGY else decode_iterations(one.value)
    except InvalidMessage:
        return one.time_ns, one.time_ns
    return frame.start_ns, frame.end_ns
