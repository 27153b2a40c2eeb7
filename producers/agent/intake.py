"""The engines' door: a Unix socket that lets in whom the kernel vouches for, and reads no more than it
must.
"""

import logging
import os
import selectors
import socket
import stat
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from producers import wire
from schemas.errors import ConfigurationError, MalformedMessage

__all__ = ["Connection", "Intake"]

log: Final = logging.getLogger(__name__)

CREDENTIALS: Final = struct.Struct("3i")
MAX_CONNECTIONS: Final = 256
"""A node has a few engines; more connections than this are a fault or an attack."""
READ_BYTES: Final = 1 << 16
MAX_UNSENT_BYTES: Final = 1 << 20
"""Answers are tens of bytes; an engine that reads none of so many is hung up on."""


@dataclass(slots=True)
class Connection:
    """One engine's connection."""

    stream: socket.socket
    pid: int
    """The engine's process as the kernel numbers it here; 0 where it lies in a foreign namespace."""
    uid: int
    hello: wire.Hello | None = None
    welcome: wire.Welcome | None = None
    deaf: bool = False
    """It has gone: nothing more can be sent to it, and what it sent before is still to be read."""
    reader: wire.MessageReader = field(default_factory=wire.MessageReader)
    unsent: bytearray = field(default_factory=bytearray)

    @property
    def engine_id(self) -> str:
        """The agent's name for the engine, once it has one."""
        return self.welcome.engine_id if self.welcome is not None else ""


OnMessage = Callable[[Connection, wire.Kind, bytes], None]
OnGone = Callable[[Connection], None]


class Intake:
    """Accepts, reads, answers; everything on the caller's thread, from `serve`.

    `on_message` may raise MalformedMessage, which closes that connection and nothing else.
    """

    def __init__(
        self,
        path: Path,
        *,
        mode: int,
        gid: int,
        uids: frozenset[int],
        on_message: OnMessage,
        on_gone: OnGone,
    ) -> None:
        self._uids = uids
        self._on_message = on_message
        self._on_gone = on_gone
        self._path = path
        self._selector = selectors.DefaultSelector()
        self._connections: dict[int, Connection] = {}
        self._listener = listen(path, mode, gid)
        self._selector.register(self._listener, selectors.EVENT_READ, None)
        self.rejected = 0
        """Connections turned away or cut off for what they were or sent."""

    @property
    def connections(self) -> list[Connection]:
        """Who is connected."""
        return list(self._connections.values())

    def serve(self) -> bool:
        """Handle what has come, without waiting; whether there was anything."""
        ready = self._selector.select(0)
        for key, events in ready:
            connection: Connection | None = key.data
            if connection is None:
                self._accept()
                continue
            if events & selectors.EVENT_WRITE:
                self._flush(connection)
            if events & selectors.EVENT_READ:
                self._read(connection)
        return bool(ready)

    def send(self, connection: Connection, message: bytes) -> None:
        """Answer an engine; what the socket does not take at once follows later."""
        if connection.deaf:
            return
        connection.unsent += message
        if len(connection.unsent) > MAX_UNSENT_BYTES:
            self._drop(connection, "it does not read our answers")
            return
        self._flush(connection)

    def close(self) -> None:
        """Hang up and take the socket away."""
        for connection in self.connections:
            self._forget(connection)
        self._selector.close()
        self._listener.close()
        self._path.unlink(missing_ok=True)

    def _accept(self) -> None:
        stream, _ = self._listener.accept()
        pid, uid, _ = CREDENTIALS.unpack(
            stream.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, CREDENTIALS.size)
        )
        if (self._uids and uid not in self._uids) or len(self._connections) >= MAX_CONNECTIONS:
            allowed = ", ".join(map(str, sorted(self._uids))) or "any"
            log.warning(
                "refused process %d of user %d: users let in are %s (WATTLEDGER_AGENT_UIDS), connections %d of %d",
                pid, uid, allowed, len(self._connections), MAX_CONNECTIONS,
            )  # fmt: skip
            self.rejected += 1
            stream.close()
            return
        stream.setblocking(False)
        connection = Connection(stream, pid, uid)
        self._connections[stream.fileno()] = connection
        self._selector.register(stream, selectors.EVENT_READ, connection)

    def _read(self, connection: Connection) -> None:
        try:
            data = connection.stream.recv(READ_BYTES)
        except BlockingIOError:
            return
        except ConnectionResetError:
            data = b""  # it left our last acknowledgement unread
        except OSError as error:
            self._drop(connection, str(error))
            return
        if not data:
            self._forget(connection)
            self._on_gone(connection)
            return
        try:
            for kind, body in connection.reader.feed(data):
                self._on_message(connection, kind, body)
        except MalformedMessage as error:
            self.rejected += 1
            self._drop(connection, str(error))

    def _flush(self, connection: Connection) -> None:
        if connection.stream.fileno() < 0:
            return
        try:
            sent = connection.stream.send(connection.unsent) if connection.unsent else 0
        except BlockingIOError:
            sent = 0
        except OSError:
            # An engine that ends sends its last frames and leaves: its end comes behind them, when we read.
            connection.deaf = True
            sent = len(connection.unsent)
        del connection.unsent[:sent]
        wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if connection.unsent else 0)
        if self._selector.get_key(connection.stream).events != wanted:
            self._selector.modify(connection.stream, wanted, connection)

    def _drop(self, connection: Connection, reason: str) -> None:
        log.warning(
            "hung up on %s (process %d): %s", connection.engine_id or "an engine", connection.pid, reason
        )
        self._forget(connection)
        self._on_gone(connection)

    def _forget(self, connection: Connection) -> None:
        descriptor = connection.stream.fileno()
        if descriptor >= 0:
            self._selector.unregister(connection.stream)
            self._connections.pop(descriptor, None)
            connection.stream.close()


def listen(path: Path, mode: int, gid: int) -> socket.socket:
    """The listening socket, with its permissions in force before anyone can connect."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists():
        if not stat.S_ISSOCK(path.stat().st_mode):
            raise ConfigurationError(
                f"WATTLEDGER_SOCKET={path}: there is something that is no socket; move it away"
            )
        path.unlink()
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o777 & ~mode)
    try:
        listener.bind(str(path))
    except OSError as error:
        listener.close()
        raise ConfigurationError(
            f"WATTLEDGER_SOCKET={path}: {error}; choose a path this user may write to"
        ) from error
    finally:
        os.umask(before)
    if gid >= 0:
        os.chown(path, -1, gid)
    listener.listen(64)
    listener.setblocking(False)
    return listener
