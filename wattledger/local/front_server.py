"""The HTTP front's process: ClickHouse's HTTP interface over an embedded database. For tests and demos only.

`python -m wattledger.local.front_server PATH PORT READY_FILE`: writes its port to READY_FILE when it answers.
"""

import json
import signal
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import cast
from urllib.parse import parse_qsl, urlsplit

from wattledger.local.faults import Fault, Faults
from wattledger.local.front_engine import Answer, Engine, Refused

__all__ = ["main"]


class FrontServer(ThreadingHTTPServer):
    """An HTTP server with an engine and faults to come."""

    daemon_threads = True

    def __init__(self, port: int, engine: Engine) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.engine = engine
        self.faults = Faults()


class Handler(BaseHTTPRequestHandler):
    """One client connection."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    """Headers and body are two writes: without this each answer would wait for the client's delayed ack."""

    def do_GET(self) -> None:
        """`/ping`, or a statement in the `query` parameter."""
        if urlsplit(self.path).path == "/ping":
            self._send(200, b"Ok.\n", {})
        else:
            self._serve(b"")

    def do_POST(self) -> None:
        """A statement, or `/faults` with a JSON array of faults that replaces those to come."""
        body = self._body()
        if urlsplit(self.path).path == "/faults":
            self._server.faults.pending[:] = [Fault(**fault) for fault in json.loads(body)]
            self._send(200, b"", {})
        else:
            self._serve(body)

    @property
    def _server(self) -> FrontServer:
        return cast("FrontServer", self.server)

    def _serve(self, body: bytes) -> None:
        parameters = dict(parse_qsl(urlsplit(self.path).query, keep_blank_values=True))
        statement = (parameters.get("query", "").encode() or body)[:500].decode(errors="replace")
        fault = self._server.faults.next(statement)
        if fault is not None and fault.kind == "delay":
            time.sleep(fault.seconds)
        if fault is not None and fault.kind == "cut_before":
            self._cut()
            return
        try:
            if fault is not None and fault.kind == "error":
                raise Refused(f"Code: {fault.code}. DB::Exception: injected fault. (INJECTED)")  # noqa: TRY301
            answer = self._server.engine.run(parameters, body, self.headers.get("Content-Encoding", ""))
        except Refused as error:
            self._send(500, str(error).encode(), {"X-ClickHouse-Exception-Code": str(error.code)})
            return
        if fault is not None and fault.kind == "cut_after":
            self._cut()
            return
        self._answer(answer, parameters)

    def _answer(self, answer: Answer, parameters: dict[str, str]) -> None:
        headers = {
            "X-ClickHouse-Summary": json.dumps(dict(answer.summary)),
            "X-ClickHouse-Query-Id": parameters.get("query_id", ""),
            "X-ClickHouse-Timezone": "UTC",
        }
        if answer.format is not None:
            headers["X-ClickHouse-Format"] = answer.format
        self._send(200, answer.body, headers)

    def _send(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _cut(self) -> None:
        """Leave the client without an answer."""
        self.close_connection = True
        self.connection.close()

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        chunks = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            chunks.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(chunks)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        """Say nothing: statements are the clients' own affair."""


def main(path: Path, port: int, ready: Path) -> None:
    """Serve until SIGTERM."""
    engine = Engine(path)
    engine.open()
    server = FrontServer(port, engine)
    # `shutdown` waits for the serving loop, which is this thread.
    signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
    temporary = ready.with_suffix(".new")
    temporary.write_text(str(server.server_port))
    temporary.rename(ready)
    server.serve_forever(poll_interval=0.05)
    server.server_close()
    engine.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))
