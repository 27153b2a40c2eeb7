"""The agent's end of the socket, for tests: greets, acknowledges, keeps every byte and every frame."""

import contextlib
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path

from producers import wire
from schemas.frames import decode_iterations, prepare
from schemas.iterations import IterationFrame
from schemas.side_inputs import Load


class FakeAgent:
    """Listens in a thread of its own until `close`."""

    def __init__(self, path: Path, *, acknowledge: bool = True) -> None:
        self.path = path
        self.acknowledge = acknowledge
        self.received = bytearray()
        self.hellos: list[wire.Hello] = []
        self.messages: list[wire.Frame] = []
        self.loads: list[Load] = []
        self.offs: list[wire.Off] = []
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(str(path))
        self._listener.listen()
        self._connections: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    @property
    def frames(self) -> list[IterationFrame]:
        """Every frame received, decoded."""
        return [decode_iterations(frame.payload) for frame in list(self.messages)]

    def wait_for(self, condition: Callable[[], bool], timeout_s: float = 60.0) -> None:
        """Until the condition holds; AssertionError if it does not in time."""
        prepare()
        deadline = time.monotonic() + timeout_s
        while True:
            # A look that began in time may end late on a busy machine: the last one begins after the deadline.
            late = time.monotonic() > deadline
            if condition():
                return
            assert not late, "the agent waited in vain"
            time.sleep(0.01)

    def close(self) -> None:
        """Hang up on everyone, and take the socket away; whoever connects while it does is hung up on too."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._threads[0].join()
        self._listener.close()
        for connection in self._connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in self._threads[1:]:
            thread.join()
        for connection in self._connections:
            connection.close()
        self.path.unlink(missing_ok=True)

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self._connections.append(connection)
            thread = threading.Thread(target=self._serve, args=(connection,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, connection: socket.socket) -> None:
        reader = wire.MessageReader()
        while True:
            try:
                data = connection.recv(1 << 16)
                if not data:
                    return
                self.received += data
                for kind, body in reader.feed(data):
                    self._handle(connection, kind, body)
            except OSError:
                return

    def _handle(self, connection: socket.socket, kind: wire.Kind, body: bytes) -> None:
        if kind is wire.Kind.HELLO:
            hello = wire.read_json(wire.Hello, body)
            self.hellos.append(hello)
            name = hello.facts.name
            welcome = wire.Welcome(1, f"test/node/{name}", f"test/node/{name}")
            connection.sendall(wire.json_message(wire.Kind.WELCOME, welcome))
        elif kind is wire.Kind.FRAME:
            frame = wire.read_frame(body)
            self.messages.append(frame)
            if self.acknowledge:
                # A hook that ends does not wait for its acknowledgement, and what it sent is still to be read.
                with contextlib.suppress(ConnectionError):
                    connection.sendall(wire.ack(frame.sequence + 1))
        elif kind is wire.Kind.LOAD:
            self.loads.append(wire.read_json(Load, body))
        elif kind is wire.Kind.OFF:
            self.offs.append(wire.read_json(wire.Off, body))
