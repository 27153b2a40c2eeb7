"""Where wattledger finds what it needs: environment variables over a TOML file over defaults, typed.

A variable `WATTLEDGER_X` overrides the key `x` of the TOML file, which is `WATTLEDGER_CONFIG` or
`wattledger.toml` in the working directory where that exists. User, password and certificates have settings of
their own, so that a password comes from a secret as it is; in `Settings` they stand in the two addresses.
"""

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Final
from urllib.parse import parse_qsl, quote, urlencode, urlsplit, urlunsplit

from schemas.errors import ConfigurationError
from schemas.kafka_address import KafkaAddress

__all__ = ["Settings", "load"]

PREFIX: Final = "WATTLEDGER_"
CONFIG: Final = f"{PREFIX}CONFIG"


@dataclass(frozen=True, slots=True)
class Settings:
    """Every setting; a name here is a TOML key and, upper case after WATTLEDGER_, a variable."""

    clickhouse: str
    """`http(s)://[user:password@]host[:port][/database]`, or `chdb:///absolute/path` for the embedded one."""
    kafka: str | None = None
    """`host:port[,host:port...]`, or an address as schemas.kafka_address reads it; None runs a local broker where
    a command may."""
    kafka_protocol: str = ""
    """`plaintext` (default), `ssl`, `sasl_plaintext` or `sasl_ssl`."""
    kafka_mechanism: str = ""
    """`PLAIN`, `SCRAM-SHA-256` or `SCRAM-SHA-512`."""
    kafka_username: str = ""
    kafka_password: str = field(default="", repr=False)
    kafka_ca: str = ""
    """PEM file of the authorities that signed the brokers' certificates; the system's by default."""
    kafka_certificate: str = ""
    """PEM file of the client's certificate, for mutual TLS."""
    kafka_key: str = ""
    """PEM file of its key."""
    clickhouse_username: str = ""
    """Instead of the address's own."""
    clickhouse_password: str = field(default="", repr=False)
    clickhouse_ca: str = ""
    """PEM file of the authorities that signed the server's certificate; the system's by default."""
    clickhouse_cluster: str | None = None
    """Name of the ClickHouse cluster on which tables are replicated; None for one server."""
    signing_keys: str = ".wattledger/keys"
    """Directory of the keys that sign receipts."""
    issuer: str = "wattledger"
    """Who issues receipts, as they say it."""
    base_url: str = "http://127.0.0.1:8321"
    """Where the API answers, as receipts name it."""
    log_format: str = "text"
    """`text`, or `json`: one object a line."""

    def require_kafka(self) -> str:
        """The broker's address; raises ConfigurationError where none is set."""
        if self.kafka is None:
            raise ConfigurationError(
                "no Kafka is set: set WATTLEDGER_KAFKA=host:port, or try `wattledger demo`, which starts one"
            )
        return self.kafka


def load(env: Mapping[str, str] = os.environ, *, directory: Path | None = None) -> Settings:
    """Read the settings; `directory` is the working directory, for the defaults.

    Raises ConfigurationError that names the variable or key, its value and the fix.
    """
    here = Path.cwd() if directory is None else directory
    values = {"clickhouse": f"chdb://{here.resolve() / '.wattledger' / 'clickhouse'}"}
    values |= _file(env, here)
    for name in (one.name for one in fields(Settings)):
        if text := env.get(PREFIX + name.upper(), "").strip():
            values[name] = text
    found = Settings(**values)
    return replace(found, kafka=_kafka(found), clickhouse=_clickhouse(found))


def _kafka(found: Settings) -> str | None:
    """Kafka's address with what its own settings say of user and certificates."""
    own = {
        name: getattr(found, f"kafka_{name}")
        for name in ("protocol", "mechanism", "username", "password", "ca", "certificate", "key")
    }
    said = {name: value for name, value in own.items() if value}
    if found.kafka is None or not said:
        return found.kafka
    if "://" in found.kafka:
        raise ConfigurationError(
            f"WATTLEDGER_KAFKA holds a protocol, and {PREFIX}KAFKA_{next(iter(said)).upper()} is set too: say it "
            "once, with WATTLEDGER_KAFKA=host:port[,host:port...] alone, or all in the address"
        )
    return KafkaAddress(found.kafka, **said).text()


def _clickhouse(found: Settings) -> str:
    """The database's address with what its own settings say of user and certificates."""
    parts = urlsplit(found.clickhouse)
    if not (found.clickhouse_username or found.clickhouse_password or found.clickhouse_ca):
        return found.clickhouse
    if parts.scheme not in ("http", "https"):
        raise ConfigurationError(
            f"the embedded database of {found.clickhouse} knows no user and no certificates: leave "
            "WATTLEDGER_CLICKHOUSE_USERNAME, _PASSWORD and _CA out, or name a server"
        )
    if found.clickhouse_ca and parts.scheme != "https":
        raise ConfigurationError("WATTLEDGER_CLICKHOUSE_CA is set, and WATTLEDGER_CLICKHOUSE is not https://")
    if found.clickhouse_password and not found.clickhouse_username:
        raise ConfigurationError("WATTLEDGER_CLICKHOUSE_PASSWORD needs WATTLEDGER_CLICKHOUSE_USERNAME")
    server = parts.netloc.rpartition("@")[2]
    if found.clickhouse_username:
        user, secret = quote(found.clickhouse_username, safe=""), quote(found.clickhouse_password, safe="")
        parts = parts._replace(netloc=f"{user}:{secret}@{server}")
    if found.clickhouse_ca:
        # As clickhouse-connect names it.
        options = dict(parse_qsl(parts.query)) | {"ca_cert": found.clickhouse_ca}
        parts = parts._replace(query=urlencode(options))
    return urlunsplit(parts)


def _file(env: Mapping[str, str], here: Path) -> dict[str, str]:
    """The TOML file's settings; {} where there is no file and none was named."""
    named = env.get(CONFIG)
    path = Path(named) if named else here / "wattledger.toml"
    if not path.exists():
        if named:
            raise ConfigurationError(f"{CONFIG}={named}: no such file; correct the path or unset {CONFIG}")
        return {}
    try:
        found = tomllib.loads(path.read_text())
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"{path} is not TOML: {error}") from None
    known = [one.name for one in fields(Settings)]
    for key, value in found.items():
        if key not in known:
            raise ConfigurationError(f"{path}: unknown setting {key!r}; known are {', '.join(known)}")
        if not isinstance(value, str):
            raise ConfigurationError(f"{path}: {key} = {value!r} must be a string")
    return found
