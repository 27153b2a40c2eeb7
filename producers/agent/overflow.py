"""A full spool: what is folded, what is given up, in which order, and what is told of it.

First the oldest iteration frames are joined (`folding.join`): nothing is lost, and they take an eighth of the room.
Then the oldest of them give up their rows, and their sums remain, which the worker books to `unobserved` with the
cause `spool_full`. Last every second of the oldest energy frames goes: counters are cumulative, so that costs
resolution and no joule. Loads and descriptors stay.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from typing import Final

import numpy as np

from producers.agent.folding import can_join, join, sums_of
from producers.agent.spool import Spool, Stored, Worth
from schemas.errors import InvalidMessage, MalformedMessage
from schemas.frames import decode_energy, decode_iterations, encode_iterations
from schemas.iterations import IterationFrame

__all__ = ["Lost", "Overflow", "Room"]

JOINED_NS: Final = 5_000_000_000
"""Of event time in joined frames, on the grid of the default window: what a window needs comes at once, and no
stream of a group gets ahead of another by as much as the worker calls silence (10 s)."""
YOUNG_NS: Final = 2 * JOINED_NS
"""Younger frames still wait for those that they will be joined with."""
BATCH: Final = 256
"""Messages looked at in one go: a tenth of a second at most."""
MARGIN: Final = 50
"""A spool that is full is emptied by this part of its limit, so that room need not be made at every flush."""


@dataclass(frozen=True, slots=True)
class Lost:
    """What was given up of one stream."""

    stream: str
    worth: Worth
    """DETAIL or ENERGY."""
    frames: int
    iterations: int
    tokens: int
    from_ns: int
    to_ns: int


@dataclass(frozen=True, slots=True)
class Room:
    """How room was made."""

    joined: int = 0
    """Frames that are now part of another one."""
    lost: tuple[Lost, ...] = ()


@dataclass(slots=True)
class Overflow:
    """Makes room in one agent's spool; the agent's thread calls it after every flush."""

    spool: Spool
    _thinned_to: int = field(default=0, init=False)

    def make_room(self) -> Room:
        """Nothing while the spool is within its limit; else until it is so by a margin, or nothing is left."""
        if self.spool.excess <= 0:
            return Room()
        margin = self.spool.limit // MARGIN
        joined, lost = 0, []
        while self.spool.excess > -margin:
            found = self._join()
            joined += found
            if found:
                continue
            gone = self._give_up_rows(margin) or self._thin_energy(margin)
            if not gone:
                break
            lost += gone
        self.spool.shrink()
        return Room(joined, tuple(added_up(lost)))

    def _join(self) -> int:
        """Join the oldest frames that came; how many it was tried with."""
        stored = self.spool.oldest(Worth.DETAIL, BATCH)
        newest_ns = self.spool.newest_ns() or 0
        stored = [one for one in stored if one.time_ns < newest_ns - YOUNG_NS]
        frames = []
        for one in stored:
            frame = _decoded(one)
            if frame is None:
                self.spool.rewrite([one], one.value, Worth.JOINED)
            else:
                frames.append((one, frame))
        for _, found in groupby(sorted(frames, key=_cell), key=_cell):
            cell = list(found)
            parts = [frame for _, frame in cell]
            value = _joined_bytes(parts) if len(parts) > 1 and can_join(parts) else None
            if value is not None:
                self.spool.rewrite([one for one, _ in cell], value, Worth.JOINED)
            else:
                for one, _ in cell:
                    self.spool.rewrite([one], one.value, Worth.JOINED)
        return len(stored)

    def _give_up_rows(self, margin: int) -> list[Lost]:
        """Rows of the oldest frames, no more than it takes; also of frames too young to be joined."""
        stored = self.spool.oldest(Worth.JOINED, BATCH) or self.spool.oldest(Worth.DETAIL, BATCH)
        lost = []
        for one in stored:
            if self.spool.excess <= -margin:
                break
            frame = _decoded(one)
            if frame is None:
                self.spool.delete([one.id])
                lost.append(Lost(one.stream, Worth.DETAIL, 1, 0, 0, one.time_ns, one.time_ns))
                continue
            sums = sums_of(frame)
            self.spool.rewrite([one], encode_iterations(sums), Worth.SUMS)
            iterations = len(frame.iteration_start_ns)
            tokens = int(sums.iteration_padded_tokens.sum(dtype=np.int64)) if iterations else 0
            frames = 1 if iterations else 0
            lost.append(
                Lost(one.stream, Worth.DETAIL, frames, iterations, tokens, frame.start_ns, frame.end_ns)
            )
        return lost

    def _thin_energy(self, margin: int) -> list[Lost]:
        """Every second frame from where the last thinning ended; from the oldest again after the newest."""
        stored = self.spool.oldest(Worth.ENERGY, BATCH, after=self._thinned_to)
        if len(stored) < 2:
            stored = self.spool.oldest(Worth.ENERGY, BATCH)
        lost = []
        for one in stored[::2] if len(stored) > 1 else ():
            if self.spool.excess <= -margin:
                break
            self.spool.delete([one.id])
            self._thinned_to = one.id
            lost.append(Lost(one.stream, Worth.ENERGY, 1, 0, 0, *_metered_time(one)))
        return lost


def _decoded(one: Stored) -> IterationFrame | None:
    """The frame; None for what a hook of another make sent: nobody can read it, so it is not folded but deleted."""
    try:
        return decode_iterations(one.value)
    except InvalidMessage:
        return None


def _metered_time(one: Stored) -> tuple[int, int]:
    """From and to; its instant where a newer agent wrote it into this spool and this one cannot read it."""
    try:
        frame = decode_energy(one.value)
    except InvalidMessage:
        return one.time_ns, one.time_ns
    return frame.start_ns, frame.end_ns


def _cell(held: tuple[Stored, IterationFrame]) -> tuple[str, str, int]:
    """What is joined: frames of one engine process on a grid of time."""
    one, frame = held
    return one.stream, frame.incarnation, frame.start_ns // JOINED_NS


def _joined_bytes(frames: Sequence[IterationFrame]) -> bytes | None:
    """The joined frame's message; None where it would be larger than a message may be."""
    try:
        return encode_iterations(join(frames))
    except MalformedMessage:
        return None


def added_up(lost: Iterable[Lost]) -> list[Lost]:
    """One per stream and worth."""
    sums: dict[tuple[str, Worth], Lost] = {}
    for one in lost:
        before = sums.get((one.stream, one.worth))
        sums[one.stream, one.worth] = (
            one
            if before is None
            else replace(
                one,
                frames=before.frames + one.frames,
                iterations=before.iterations + one.iterations,
                tokens=before.tokens + one.tokens,
                from_ns=min(before.from_ns, one.from_ns),
                to_ns=max(before.to_ns, one.to_ns),
            )
        )
    return [one for one in sums.values() if one.frames]
