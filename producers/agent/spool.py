"""What is on its way, on disk: written before it is acknowledged to a hook, deleted when Kafka has it.

SQLite in WAL mode: one transaction per flush, survives a kill; a power cut may cost the last flushes, which
the sequence numbers then show. When the spool is full, detail goes first: the oldest iteration frames are
folded into sums (how many frames, bytes, from when to when), then every second of the oldest energy frames;
counters are cumulative, so that costs resolution and no joule. Whatever is given up leaves a hole in its
sequence.
"""

import json
import sqlite3
from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Any, Final

__all__ = ["Lost", "Outgoing", "Spool", "Waiting", "Worth"]

SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS messages (
    id INTEGER PRIMARY KEY AUTOINCREMENT, topic TEXT NOT NULL, key TEXT NOT NULL, value BLOB NOT NULL,
    worth INTEGER NOT NULL, stream TEXT NOT NULL, time_ns INTEGER NOT NULL);
CREATE INDEX IF NOT EXISTS by_worth ON messages (worth, id);
CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
"""

OVERHEAD_BYTES: Final = 160
"""Of a row beside its value: topic, key, stream, index."""
FOLD_BATCH: Final = 256
"""Frames looked at in one go; no more of them are given up than it takes."""


class Worth(IntEnum):
    """What is given up first when there is no room."""

    DETAIL = 0
    """Iteration frames."""
    ENERGY = 1
    """Energy frames."""
    FACT = 2
    """Loads and descriptors: few, small, never given up."""


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A message for Kafka."""

    topic: str
    key: str
    value: bytes
    worth: Worth
    stream: str
    """Engine or group, for the account of what was given up."""
    time_ns: int
    """Its event time."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """A message that lies in the spool."""

    id: int
    topic: str
    key: str
    value: bytes


@dataclass(frozen=True, slots=True)
class Lost:
    """The sums that remain of frames given up, per stream."""

    stream: str
    worth: Worth
    frames: int
    bytes: int
    from_ns: int
    to_ns: int


class Spool:
    """One agent's spool. One thread; OSError and sqlite3.Error mean that the disk fails."""

    def __init__(self, path: Path, max_bytes: int) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._max_bytes = max_bytes
        self._thinned_to = 0
        # Transactions are begun here by hand: the module's own begin too late for "facts and frames at once".
        self._db = sqlite3.connect(path, isolation_level=None)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=NORMAL")
        self._db.execute("PRAGMA auto_vacuum=INCREMENTAL")
        self._db.executescript(SCHEMA)
        self._bytes, self._count = self._db.execute(
            "SELECT coalesce(sum(length(value)), 0), count(*) FROM messages"
        ).fetchone()

    @property
    def bytes(self) -> int:
        """What lies in the spool, with the rows' overhead."""
        return int(self._bytes + self._count * OVERHEAD_BYTES)

    @property
    def messages(self) -> int:
        """How many messages wait."""
        return int(self._count)

    def oldest_ns(self) -> int | None:
        """Event time of the message that has waited longest."""
        row = self._db.execute("SELECT time_ns FROM messages ORDER BY id LIMIT 1").fetchone()
        return None if row is None else int(row[0])

    def put(self, messages: Sequence[Outgoing], facts: dict[str, Any] | None = None) -> None:
        """Write messages and facts in one transaction: both are on disk when this returns, or neither."""
        self._db.execute("BEGIN")
        try:
            self._db.executemany(
                "INSERT INTO messages (topic, key, value, worth, stream, time_ns) VALUES (?, ?, ?, ?, ?, ?)",
                [(m.topic, m.key, m.value, m.worth, m.stream, m.time_ns) for m in messages],
            )
            self._db.executemany(
                "INSERT INTO facts VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value",
                [(name, json.dumps(value)) for name, value in (facts or {}).items()],
            )
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")
        self._bytes += sum(len(m.value) for m in messages)
        self._count += len(messages)

    def fact(self, name: str, default: Any = None) -> Any:
        """A fact put earlier, perhaps by an agent before this one."""
        row = self._db.execute("SELECT value FROM facts WHERE name = ?", (name,)).fetchone()
        return default if row is None else json.loads(row[0])

    def after(self, last_id: int, limit: int) -> list[Waiting]:
        """The next messages in the order in which they were put."""
        rows = self._db.execute(
            "SELECT id, topic, key, value FROM messages WHERE id > ? ORDER BY id LIMIT ?", (last_id, limit)
        )
        return [Waiting(*row) for row in rows]

    def delete(self, ids: Iterable[int]) -> None:
        """Forget messages that Kafka has."""
        self._delete(list(ids))

    def make_room(self) -> list[Lost]:
        """Give up the oldest detail until the spool is within its limit; returns the sums of what went."""
        lost: list[Lost] = []
        while self.bytes > self._max_bytes:
            gone = self._give_up(Worth.DETAIL, 0, every=1)[0] or self._thin_energy()
            if not gone:
                break
            lost += gone
        if lost:
            self._db.execute("PRAGMA incremental_vacuum")
        return lost

    def close(self) -> None:
        """Close the database."""
        self._db.close()

    def _thin_energy(self) -> list[Lost]:
        """Every second frame from where the last thinning ended; from the oldest again after the newest."""
        lost, upto = self._give_up(Worth.ENERGY, self._thinned_to, every=2)
        if not lost and self._thinned_to:
            lost, upto = self._give_up(Worth.ENERGY, 0, every=2)
        self._thinned_to = upto
        return lost

    def _give_up(self, worth: Worth, after: int, *, every: int) -> tuple[list[Lost], int]:
        with closing(
            self._db.execute(
                "SELECT id, stream, length(value), time_ns FROM messages WHERE worth = ? AND id > ? "
                "ORDER BY id LIMIT ?",
                (worth, after, FOLD_BATCH),
            )
        ) as cursor:
            found = cursor.fetchall()
        excess = self.bytes - self._max_bytes
        rows = []
        for row in found[::every]:
            if excess <= 0:
                break
            rows.append(row)
            excess -= row[2] + OVERHEAD_BYTES
        sums: dict[str, Lost] = {}
        for _, stream, size, time_ns in rows:
            before = sums.get(stream, Lost(stream, worth, 0, 0, time_ns, time_ns))
            sums[stream] = Lost(
                stream,
                worth,
                before.frames + 1,
                before.bytes + size,
                min(before.from_ns, time_ns),
                max(before.to_ns, time_ns),
            )
        self._delete([row[0] for row in rows])
        return list(sums.values()), rows[-1][0] if rows else after

    def _delete(self, ids: list[int]) -> None:
        if not ids:
            return
        sizes = self._db.execute(
            "DELETE FROM messages WHERE id IN (SELECT value FROM json_each(?)) RETURNING length(value)",
            (json.dumps(ids),),
        ).fetchall()
        self._bytes -= sum(size for (size,) in sizes)
        self._count -= len(sizes)
