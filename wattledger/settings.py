"""Where wattledger finds what it needs: environment variables over a TOML file over defaults, typed.

A variable `WATTLEDGER_X` overrides the key `x` of the TOML file, which is `WATTLEDGER_CONFIG` or
`wattledger.toml` in the working directory where that exists.
"""

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Final

from schemas.errors import ConfigurationError

__all__ = ["Settings", "load"]

PREFIX: Final = "WATTLEDGER_"
CONFIG: Final = f"{PREFIX}CONFIG"


@dataclass(frozen=True, slots=True)
class Settings:
    """Every setting; a name here is a TOML key and, upper case after WATTLEDGER_, a variable."""

    clickhouse: str
    """`http(s)://[user:password@]host[:port][/database]`, or `chdb:///absolute/path` for the embedded one."""
    kafka: str | None = None
    """`host:port[,host:port...]`; None runs a local broker where a command may."""
    clickhouse_cluster: str | None = None
    """Name of the ClickHouse cluster on which tables are replicated; None for one server."""
    signing_keys: str = ".wattledger/keys"
    """Directory of the keys that sign receipts."""
    issuer: str = "wattledger"
    """Who issues receipts, as they say it."""
    base_url: str = "http://127.0.0.1:8321"
    """Where the API answers, as receipts name it."""

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
    for name in (field.name for field in fields(Settings)):
        if text := env.get(PREFIX + name.upper(), "").strip():
            values[name] = text
    return Settings(**values)


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
    known = [field.name for field in fields(Settings)]
    for key, value in found.items():
        if key not in known:
            raise ConfigurationError(f"{path}: unknown setting {key!r}; known are {', '.join(known)}")
        if not isinstance(value, str):
            raise ConfigurationError(f"{path}: {key} = {value!r} must be a string")
    return found
