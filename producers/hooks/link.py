"""The hook's end of the agent's socket: sends what it can, keeps the rest, never waits.

While the agent is away frames wait in memory, bounded by bytes; beyond that the oldest is dropped, which
leaves a hole in the sequence and thereby an identified gap in the books.
"""

import errno
import logging
import socket
import time
from collections import deque
from collections.abc import Callable
from typing import Final

from producers import wire
from schemas.errors import MalformedMessage
from schemas.side_inputs import Load

__all__ = ["AgentLink"]

log: Final = logging.getLogger(__name__)

RETRY_S: Final = 1.0
"""Between attempts to reach an absent agent: a failed connect() on a Unix socket costs some 20 µs."""

KEPT_LOADS: Final = 64
"""Load events repeated after a reconnection; an engine makes a handful in its life, adapters some more."""

WELCOME_PATIENCE_S: Final = 5.0
"""A connection that says nothing for so long is no agent of ours; try again."""


class AgentLink:
    """One engine's connection. Owned by the recorder's thread; no method blocks or raises OSError."""

    def __init__(
        self,
        path: str,
        hello: wire.Hello,
        *,
        max_bytes: int,
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self.names = wire.Welcome(0, hello.engine_id, hello.engine_id)
        self.dropped = 0
        """Frames given up for want of room."""
        self._path = path
        self._hello = hello
        self._max_bytes = max_bytes
        self._clock_s = clock_s
        self._frames: deque[wire.Frame] = deque()
        self._frame_bytes = 0
        self._unsent = 0
        """How many of the newest frames have not been put into the stream."""
        self._loads: deque[Load] = deque(maxlen=KEPT_LOADS)
        self._off: wire.Off | None = None
        self._socket: socket.socket | None = None
        self._out = bytearray()
        self._reader = wire.MessageReader()
        self._welcomed = False
        self._next_attempt_s = 0.0

    @property
    def waiting(self) -> int:
        """Frames that the agent has not acknowledged."""
        return len(self._frames)

    @property
    def sending(self) -> bool:
        """Whether there is an agent, and something that it has not been sent."""
        return self._socket is not None and bool(self._unsent or self._out)

    def offer(self, frame: wire.Frame) -> None:
        """Keep a frame until the agent has it."""
        self._frames.append(frame)
        self._frame_bytes += len(frame.payload)
        self._unsent += 1
        while self._frame_bytes > self._max_bytes and len(self._frames) > 1:
            self._frame_bytes -= len(self._frames.popleft().payload)
            self._unsent = min(self._unsent, len(self._frames))
            self.dropped += 1

    def announce(self, load: Load) -> None:
        """Tell of a load's start (`end_ns` 0) or end."""
        self._loads.append(load)
        if self._welcomed:
            self._out += wire.json_message(wire.Kind.LOAD, load)

    def switch_off(self, off: wire.Off) -> None:
        """Tell the agent that nothing more will come."""
        self._off = off
        if self._welcomed:
            self._out += wire.json_message(wire.Kind.OFF, off)

    def pump(self) -> None:
        """Connect if need be, read what came, write what fits into the socket's buffer."""
        try:
            if self._socket is None and not self._connect():
                return
            self._receive()
            self._send()
        except (OSError, MalformedMessage) as error:
            log.info("wattledger: lost the node agent at %s (%s); frames wait", self._path, error)
            self.close()

    def close(self) -> None:
        """Leave the socket; kept frames stay kept."""
        if self._socket is not None:
            self._socket.close()
        self._socket = None
        self._welcomed = False
        self._out.clear()
        self._reader = wire.MessageReader()
        self._unsent = len(self._frames)
        self._next_attempt_s = self._clock_s() + RETRY_S

    def _connect(self) -> bool:
        now_s = self._clock_s()
        if now_s < self._next_attempt_s:
            return False
        self._next_attempt_s = now_s + RETRY_S
        stream = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        stream.setblocking(False)
        try:
            stream.connect(self._path)
        except OSError as error:
            stream.close()
            if error.errno not in (errno.ENOENT, errno.ECONNREFUSED, errno.EAGAIN):
                log.warning("wattledger: cannot reach the node agent at %s: %s", self._path, error)
                self._next_attempt_s = now_s + 60 * RETRY_S
            return False
        self._socket = stream
        self._next_attempt_s = now_s + WELCOME_PATIENCE_S
        self._out += wire.json_message(wire.Kind.HELLO, self._hello)
        return True

    def _receive(self) -> None:
        assert self._socket is not None
        while True:
            try:
                data = self._socket.recv(65536)
            except BlockingIOError:
                break
            if not data:
                raise ConnectionResetError("the agent closed the connection")
            for kind, body in self._reader.feed(data):
                self._handle(kind, body)
        if not self._welcomed and self._clock_s() > self._next_attempt_s:
            raise TimeoutError("no welcome")

    def _handle(self, kind: wire.Kind, body: bytes) -> None:
        if kind is wire.Kind.WELCOME:
            self.names = wire.read_json(wire.Welcome, body)
            if not self._welcomed:
                self._welcomed = True
                for load in self._loads:
                    self._out += wire.json_message(wire.Kind.LOAD, load)
                if self._off is not None:
                    self._out += wire.json_message(wire.Kind.OFF, self._off)
        elif kind is wire.Kind.ACK:
            next_sequence = wire.read_ack(body)
            while self._frames and self._frames[0].sequence < next_sequence:
                self._frame_bytes -= len(self._frames.popleft().payload)
            self._unsent = min(self._unsent, len(self._frames))
        elif kind is wire.Kind.REFUSED:
            raise MalformedMessage(wire.read_json(wire.Refused, body).reason)

    def _send(self) -> None:
        assert self._socket is not None
        if self._welcomed:
            for frame in list(self._frames)[len(self._frames) - self._unsent :]:
                self._out += wire.frame_message(frame)
                self._unsent -= 1
                if len(self._out) > wire.MAX_MESSAGE_BYTES:
                    break
        while self._out:
            try:
                sent = self._socket.send(self._out)
            except BlockingIOError:
                return
            del self._out[:sent]
