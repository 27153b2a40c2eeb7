"""What is on its way, on disk: written before it is acknowledged to a hook, deleted when Kafka has it.

SQLite in WAL mode: one transaction per flush, survives a kill; a power cut may cost the last flushes, which
the sequence numbers then show. What happens when it is full is `producers.agent.overflow`'s.
"""

import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Any, Final

__all__ = ["DISK_FAILS", "ON_THEIR_WAY", "Outgoing", "Spool", "Stored", "Waiting", "Worth"]

SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS messages (
    id INTEGER PRIMARY KEY AUTOINCREMENT, topic TEXT NOT NULL, key TEXT NOT NULL, value BLOB NOT NULL,
    worth INTEGER NOT NULL, stream TEXT NOT NULL, time_ns INTEGER NOT NULL);
CREATE INDEX IF NOT EXISTS by_worth ON messages (worth, id);
CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
"""

OVERHEAD_BYTES: Final = 160
"""Of a row beside its value: topic, key, stream, index."""
ON_THEIR_WAY: Final = 128
"""The oldest messages, which Kafka may have although nobody told us: they are repeated as they are or not at all,
never rewritten. The publisher hands over no more at once. Three seconds of eight engines: enough to keep the
connection full, little to repeat after a crash."""

DISK_FAILS: Final = (OSError, sqlite3.OperationalError)
"""The disk is full, gone or read-only: time may mend it."""


class Worth(IntEnum):
    """What a message is worth when there is no room: see `producers.agent.overflow`."""

    DETAIL = 0
    """Iteration frames as they came."""
    ENERGY = 1
    """Energy frames."""
    FACT = 2
    """Loads and descriptors: few, small, never given up."""
    JOINED = 3
    """Iteration frames that were joined, or have nothing to be joined with."""
    SUMS = 4
    """What remains of iteration frames whose rows were given up."""


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
class Stored:
    """A message as it lies in the spool, for who makes room."""

    id: int
    stream: str
    value: bytes
    time_ns: int


class Spool:
    """One agent's spool. One thread. DISK_FAILS are raised by what writes, which then has written nothing."""

    def __init__(self, path: Path, max_bytes: int) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._max_bytes = max_bytes
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
    def size_bytes(self) -> int:
        """What lies in the spool, with the rows' overhead."""
        return int(self._bytes + self._count * OVERHEAD_BYTES)

    @property
    def excess(self) -> int:
        """Bytes beyond the limit; below 0 while there is room."""
        return self.size_bytes - self._max_bytes

    @property
    def limit(self) -> int:
        """The most that may lie in it."""
        return self._max_bytes

    @property
    def messages(self) -> int:
        """How many messages wait."""
        return int(self._count)

    def oldest_ns(self) -> int | None:
        """Event time of the message that has waited longest."""
        row = self._db.execute("SELECT time_ns FROM messages ORDER BY id LIMIT 1").fetchone()
        return None if row is None else int(row[0])

    def newest_ns(self) -> int | None:
        """Event time of the message that was put last."""
        row = self._db.execute("SELECT time_ns FROM messages ORDER BY id DESC LIMIT 1").fetchone()
        return None if row is None else int(row[0])

    def put(
        self,
        messages: Sequence[Outgoing],
        facts: Mapping[str, Any] | None = None,
        *,
        delivered: Sequence[int] = (),
    ) -> None:
        """Write messages and facts, and forget what Kafka has, in one transaction: all of it or nothing."""
        with self._transaction():
            sizes = self._erase(delivered)
            self._db.executemany(
                "INSERT INTO messages (topic, key, value, worth, stream, time_ns) VALUES (?, ?, ?, ?, ?, ?)",
                [(m.topic, m.key, m.value, m.worth, m.stream, m.time_ns) for m in messages],
            )
            self._db.executemany(
                "INSERT INTO facts VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value",
                [(name, json.dumps(value)) for name, value in (facts or {}).items()],
            )
        self._bytes += sum(len(m.value) for m in messages) - sum(sizes)
        self._count += len(messages) - len(sizes)

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

    def everything(self) -> list[Outgoing]:
        """All that waits, as it was put or rewritten."""
        rows = self._db.execute("SELECT topic, key, value, worth, stream, time_ns FROM messages ORDER BY id")
        return [
            Outgoing(topic, key, value, Worth(worth), stream, time_ns)
            for topic, key, value, worth, stream, time_ns in rows
        ]

    def delete(self, ids: Iterable[int]) -> None:
        """Forget messages that Kafka has."""
        self._delete(list(ids))

    def oldest(self, worth: Worth, limit: int, *, after: int = 0) -> list[Stored]:
        """The oldest messages of a worth, of those that may be rewritten or given up."""
        head = self._db.execute(
            "SELECT id FROM messages ORDER BY id LIMIT 1 OFFSET ?", (ON_THEIR_WAY - 1,)
        ).fetchone()
        if head is None:
            return []
        rows = self._db.execute(
            "SELECT id, stream, value, time_ns FROM messages WHERE worth = ? AND id > ? ORDER BY id LIMIT ?",
            (worth, max(after, head[0]), limit),
        )
        return [Stored(*row) for row in rows]

    def rewrite(self, stored: Sequence[Stored], value: bytes, worth: Worth) -> None:
        """Put one message in the place of several of a stream: the first one's."""
        with self._transaction():
            sizes = self._erase([one.id for one in stored[1:]])
            self._db.execute(
                "UPDATE messages SET value = ?, worth = ? WHERE id = ?", (value, worth, stored[0].id)
            )
        self._count -= len(sizes)
        self._bytes += len(value) - len(stored[0].value) - sum(sizes)

    def shrink(self) -> None:
        """Give the file's unused pages back to the disk."""
        self._db.execute("PRAGMA incremental_vacuum")

    def close(self) -> None:
        """Close the database."""
        self._db.close()

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """All of the block, or nothing. A disk may be full at the commit too; SQLite then may have rolled back."""
        self._db.execute("BEGIN")
        try:
            yield
            self._db.execute("COMMIT")
        except BaseException:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise

    def _delete(self, ids: Sequence[int]) -> None:
        sizes = self._erase(ids)
        self._bytes -= sum(sizes)
        self._count -= len(sizes)

    def _erase(self, ids: Sequence[int]) -> list[int]:
        """Delete messages; returns their sizes, which the caller takes from the sums when that is certain."""
        if not ids:
            return []
        rows = self._db.execute(
            "DELETE FROM messages WHERE id IN (SELECT value FROM json_each(?)) RETURNING length(value)",
            (json.dumps(ids),),
        )
        return [size for (size,) in rows.fetchall()]
