"""Open the ledger's database: a ClickHouse server over HTTP, or ClickHouse embedded in this process (chdb).

Embedded, one process owns a path while its client is open, and the client must be used from one thread.
"""

import fcntl
import logging
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qs, unquote, urlencode, urlsplit, urlunsplit

import clickhouse_connect
from clickhouse_connect.driver.exceptions import ClickHouseError

from schemas.errors import ConfigurationError, DatabaseBusy, DatabaseUnavailable

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

__all__ = ["DEFAULT_DATABASE", "connect", "is_embedded"]

DEFAULT_DATABASE: Final = "wattledger"
CONNECT_TIMEOUT_S: Final = 10
"""A server that does not accept a connection by then is down or misaddressed."""
SETTINGS: Final = {"async_insert": 0}
"""An insert must be durable when it returns, for the acks follow it; servers may default to buffering."""
# The driver logs what it also raises; without a handler that line would reach the user's terminal.
logging.getLogger("clickhouse_connect").addHandler(logging.NullHandler())

HINT: Final = "set WATTLEDGER_CLICKHOUSE to http(s)://host:port or chdb:///absolute/path"


def is_embedded(dsn: str) -> bool:
    """Whether `dsn` names an embedded database, which one process owns at a time."""
    return urlsplit(dsn).scheme == "chdb"


def connect(dsn: str, *, send_receive_timeout_s: int = 120) -> "Client":
    """Open `dsn` and its database, which is created if it is absent.

    dsn: `http(s)://[user:password@]host[:port][/database][?setting=value]`, or
        `chdb:///absolute/path[?database=name]`; the database is `wattledger` unless named.
    send_receive_timeout_s: how long one statement may take on a server.

    Raises ConfigurationError for a DSN of another form, DatabaseBusy if another process has the embedded
    database open, DatabaseUnavailable if nothing answers.
    """
    parts = urlsplit(dsn)
    if parts.scheme == "chdb":
        return _connect_embedded(dsn)
    if parts.scheme in ("http", "https") and parts.hostname:
        return _connect_server(dsn, send_receive_timeout_s)
    raise ConfigurationError(f"{_shown(dsn)!r} is no address of a ClickHouse database; {HINT}")


def _connect_embedded(dsn: str) -> "Client":
    parts = urlsplit(dsn)
    path = Path(os.path.realpath(unquote(parts.path)))
    if parts.netloc or not parts.path.startswith("/") or path == Path("/"):
        raise ConfigurationError(
            f"{dsn!r}: an embedded database needs an absolute path: chdb:///absolute/path"
        )
    options = parse_qs(parts.query)
    name = _database_name(options.pop("database", [DEFAULT_DATABASE])[0])
    if options:
        raise ConfigurationError(f"{dsn!r}: unknown option {next(iter(options))!r}; only `database` is known")
    _raise_if_busy(path)
    try:
        path.mkdir(parents=True, exist_ok=True)
        client = clickhouse_connect.get_client(interface="chdb", path=str(path))
    except (ClickHouseError, OSError) as error:
        _raise_if_busy(path)  # another process was faster
        raise DatabaseUnavailable(
            f"cannot open the embedded database {path}: {_line(error)}; {HINT}"
        ) from error
    except ImportError as error:
        raise DatabaseUnavailable(
            f"{dsn} needs chdb, which is not installed ({error}): install wattledger[worker], or {HINT}"
        ) from error
    return _enter(client, name, dsn, "ENGINE = Atomic")


def _connect_server(dsn: str, send_receive_timeout_s: int) -> "Client":
    parts = urlsplit(dsn)
    options = {key: values[0] for key, values in parse_qs(parts.query).items()}
    name = _database_name(unquote(parts.path.strip("/")) or options.pop("database", DEFAULT_DATABASE))
    # Without the database: it may not exist yet, and then the client's first query would fail.
    bare = urlunsplit(parts._replace(path="", query=urlencode(options)))
    try:
        client = clickhouse_connect.get_client(
            dsn=bare,
            # The driver reads the port, not the scheme: https at another port than 8443 would go out in the clear.
            interface=parts.scheme,
            settings=SETTINGS,
            connect_timeout=CONNECT_TIMEOUT_S,
            send_receive_timeout=send_receive_timeout_s,
            # A session serialises a client's statements and needs a sticky balancer; we keep no state.
            autogenerate_session_id=False,
        )
    except (ClickHouseError, OSError) as error:
        raise DatabaseUnavailable(
            f"no ClickHouse at {_shown(dsn)}: {_line(error)}; start it, or {HINT}"
        ) from error
    return _enter(client, name, dsn, "")


def _enter(client: "Client", name: str, dsn: str, engine: str) -> "Client":
    """Make database `name` the client's default, creating it if it is absent."""
    try:
        # Asked first: a user of a shared server may use the database and yet not create one.
        if not client.command(f"EXISTS DATABASE `{name}`"):
            client.command(f"CREATE DATABASE IF NOT EXISTS `{name}` {engine}")
    except (ClickHouseError, OSError) as error:
        client.close()
        raise DatabaseUnavailable(
            f"cannot create database {name!r} at {_shown(dsn)}: {_line(error)}; create it, or name another"
        ) from error
    client.database = name
    return client


def _raise_if_busy(path: Path) -> None:
    """Raise DatabaseBusy if another process has `path` open: chdb holds a lock on its `status` file.

    Looked at before opening, because chdb's own error says only BAD_ARGUMENTS, after a line on stderr.
    """
    try:
        status = (path / "status").open("rb")
    except OSError:
        return
    with status:
        try:
            fcntl.flock(status, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            found = re.search(rb"PID: (\d+)", status.read())
            owner = int(found[1]) if found else 0
            if owner != os.getpid():
                raise DatabaseBusy(
                    f"the embedded database {path} is open in process {owner or 'unknown'}, and only one "
                    "may have it: wait until it ends, stop it, or run a ClickHouse server for several"
                ) from None


def _database_name(name: str) -> str:
    """`name`, if it can stand in every statement unquoted and in a DSN."""
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
        raise ConfigurationError(f"database name {name!r} must be letters, digits and underscores")
    return name


def _shown(dsn: str) -> str:
    """`dsn` without its password."""
    parts = urlsplit(dsn)
    if parts.password is None:
        return dsn
    return urlunsplit(
        parts._replace(netloc=f"{parts.username}:***@{parts.hostname}:{parts.port or ''}".rstrip(":"))
    )


def _line(error: BaseException) -> str:
    """The telling line of a driver's error: the operating system's own, where it is the cause."""
    root = error
    while (below := root.__cause__ or root.__context__) is not None:
        root = below
    if isinstance(root, OSError) and root.strerror:
        return root.strerror
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0][:300] if lines else type(error).__name__
