"""The SQL engine behind the HTTP front: one embedded ClickHouse, one statement at a time."""

import gzip
import re
import tempfile
import threading
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import chdb
import zstandard

__all__ = ["Answer", "Engine", "Refused"]

# Parameters of the HTTP interface itself; the engine would refuse them as unknown settings.
NOT_SETTINGS: Final = frozenset(
    {
        "query", "database", "session_id", "session_timeout", "session_check", "query_id", "quota_key",
        "compress", "decompress", "wait_end_of_query", "client_protocol_version", "role", "buffer_size",
        "enable_http_compression", "send_progress_in_http_headers", "http_headers_progress_interval_ms",
        "default_format", "user", "password",
    }
)  # fmt: skip
INSERT: Final = re.compile(rb"\s*(INSERT\s+INTO\s[^;]*?)\sFORMAT\s+(\w+)\s*?(?:\n|$)", re.IGNORECASE)
FORMAT: Final = re.compile(rb"\sFORMAT\s+(\w+)\s*;?\s*$", re.IGNORECASE)
CODE: Final = re.compile(r"Code: (\d+)")


class Refused(Exception):  # noqa: N818 - the engine's answer, not a failure of the front
    """The engine's own error, as a server would send it."""

    def __init__(self, message: str) -> None:
        start = message.find("Code: ")
        super().__init__(message[max(start, 0) :])
        found = CODE.search(message)
        self.code = int(found[1]) if found else 1000


@dataclass(frozen=True, slots=True)
class Answer:
    """A statement's result: body, its format (None for a statement without a result), and the summary."""

    body: bytes
    format: str | None
    summary: Mapping[str, str]


@dataclass(slots=True)
class Engine:
    """An open embedded database. Threads may share it; statements run one after another."""

    path: Path
    _connection: Any = None
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _database: str = "default"
    _settings: dict[str, str] = field(default_factory=dict)

    def open(self) -> None:
        """Open the database; RuntimeError if another process has it."""
        self._connection = chdb.connect(str(self.path))  # type: ignore[no-untyped-call]

    def close(self) -> None:
        """Close it; what was inserted stays."""
        with self._lock:
            self._connection.close()

    def run(self, parameters: Mapping[str, str], body: bytes, encoding: str) -> Answer:
        """Run one request of ClickHouse's HTTP interface: `query` parameter, then body, which may be data.

        parameters: of the URL or form: `query`, `database`, `param_<name>`, and settings.
        encoding: the body's Content-Encoding. Raises Refused with the engine's error.
        """
        body = _decompressed(body, encoding)
        statement = parameters.get("query", "").encode()
        whole = statement + b"\n" + body if statement else body
        bound = {key[6:]: value for key, value in parameters.items() if key.startswith("param_")}
        settings = {
            key: value
            for key, value in parameters.items()
            if key not in NOT_SETTINGS and not key.startswith("param_")
        }
        insert = INSERT.match(whole)
        with self._lock:
            try:
                self._enter(parameters.get("database") or "default", settings)
                if insert is not None:
                    return self._insert(insert[1].decode(), insert[2].decode(), whole[insert.end() :])
                return self._query(whole, bound)
            except RuntimeError as error:
                raise Refused(str(error)) from error

    def _enter(self, database: str, settings: dict[str, str]) -> None:
        """Give the connection this request's database and settings, undoing the last request's."""
        if database != self._database:
            self._database = ""
            self._connection.query(f"USE `{database}`")
            self._database = database
        for key in self._settings.keys() - settings.keys():
            self._connection.query(f"SET {key} = DEFAULT")
            del self._settings[key]
        for key, value in settings.items():
            if self._settings.get(key) != value:
                quoted = value.replace("\\", "\\\\").replace("'", "\\'")
                self._connection.query(f"SET {key} = '{quoted}'")
                self._settings[key] = value

    def _insert(self, into: str, data_format: str, data: bytes) -> Answer:
        with tempfile.NamedTemporaryFile(prefix="wattledger-insert-") as file:
            file.write(data)
            file.flush()
            result = self._connection.query(f"{into} FROM INFILE '{file.name}' FORMAT {data_format}")
        return Answer(b"", None, {"written_rows": str(result.rows_read())})

    def _query(self, statement: bytes, bound: dict[str, str]) -> Answer:
        named = FORMAT.search(statement)
        if named is not None:
            result = self._connection.query(statement, named[1].decode(), params=bound)
            return Answer(result.bytes() or b"", named[1].decode(), _read(result))
        # With names, a statement that has a result is told from one that has none, even without rows.
        result = self._connection.query(statement, "TabSeparatedWithNames", params=bound)
        body = result.bytes() or b""
        if not body:
            return Answer(b"", None, _read(result))
        return Answer(body.partition(b"\n")[2], "TabSeparated", _read(result))


def _read(result: Any) -> dict[str, str]:
    return {"read_rows": str(result.rows_read()), "read_bytes": str(result.bytes_read())}


def _decompressed(body: bytes, encoding: str) -> bytes:
    if encoding in ("", "identity"):
        return body
    if encoding == "lz4":
        import lz4.frame  # clickhouse-connect brings it, and compresses with it, up to Python 3.13

        plain: bytes = lz4.frame.decompress(body)
        return plain
    if encoding == "zstd":
        return zstandard.ZstdDecompressor().decompressobj().decompress(body)
    if encoding == "gzip":
        return gzip.decompress(body)
    if encoding == "deflate":
        return zlib.decompress(body)
    raise Refused(f"Code: 1000. DB::Exception: Content-Encoding {encoding} is not known here")
