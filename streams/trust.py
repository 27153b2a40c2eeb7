"""Which node may publish for which groups: the registry of nodes' keys, and the check of a message against it.

A message's arrival (the broker's time) decides whether its key was in force, so a replay years later judges as the
day did, provided that old keys stay in the registry.
"""

import base64
import binascii
import logging
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Final

from schemas.errors import ConfigurationError, UntrustedMessage
from schemas.signatures import RecordHeaders, is_signed_by, key_id_of, mark_of

__all__ = [
    "Check",
    "NodeKey",
    "Registry",
    "Trust",
    "load_registry",
    "open_trust",
    "read_registry",
    "stanza",
    "trust_all",
]

log: Final = logging.getLogger(__name__)

END_OF_TIME_NS: Final = 2**62
MENDABLE: Final = ("unknown_key", "expired_key", "foreign_key")
"""What a newer registry may answer otherwise."""
FIELDS: Final = frozenset({"node", "public_key", "valid_from", "valid_until", "groups"})
Check = Callable[[str, bytes, bytes, int, RecordHeaders], None]
"""Raises UntrustedMessage for what must not be read: topic, key, value, arrival (Unix ns), headers of a message."""


@dataclass(frozen=True, slots=True)
class NodeKey:
    """One key of one node."""

    node: str
    """`cluster/node`, as engine ids begin."""
    public: bytes
    """32 bytes."""
    from_ns: int
    until_ns: int
    """Unix nanoseconds of the broker's clock; a message that arrives at `until_ns` or later is refused."""
    groups: tuple[str, ...]
    """Patterns of Kafka keys (group and engine ids) that the node may write; `*` matches any text."""

    @property
    def key_id(self) -> str:
        """As headers name it."""
        return key_id_of(self.public)

    def may_write(self, key: str) -> bool:
        """Whether the node may publish under this Kafka key."""
        return any(fnmatchcase(key, pattern) for pattern in self.groups)


@dataclass(frozen=True, slots=True)
class Registry:
    """Every key ever trusted, by its id."""

    keys: Mapping[str, NodeKey] = field(default_factory=dict)

    def check(self, topic: str, key: bytes, value: bytes, arrival_ns: int, headers: RecordHeaders) -> None:
        """Raise UntrustedMessage unless a key in force at `arrival_ns` that may write `key` has signed this."""
        name = key.decode("utf-8", "replace")
        mark = mark_of(headers)
        if not mark.key_id or not mark.signature:
            raise UntrustedMessage(
                "unsigned", f"key {name!r}: no signature; give the node a key (wattledger nodes key)"
            )
        known = self.keys.get(mark.key_id)
        if known is None:
            raise UntrustedMessage(
                "unknown_key", f"key {name!r}: signed with {mark.key_id!r}, which the registry lacks; add it"
            )
        if not known.from_ns <= arrival_ns < known.until_ns:
            raise UntrustedMessage(
                "expired_key",
                f"key {name!r}: key {known.key_id} of {known.node} is valid from {_day(known.from_ns)} until "
                f"{_day(known.until_ns)}, the message arrived at {_day(arrival_ns)}; rotate the node's key",
            )
        if not known.may_write(name):
            raise UntrustedMessage(
                "foreign_key", f"key {name!r}: {known.node} may write {', '.join(known.groups)} only"
            )
        if not is_signed_by(known.public, mark, topic, key, value):
            raise UntrustedMessage(
                "bad_signature",
                f"key {name!r}: the signature is not that of {known.key_id} ({known.node}) over it",
            )


def _day(at_ns: int) -> str:
    return "for ever" if at_ns >= END_OF_TIME_NS else datetime.fromtimestamp(at_ns / 1e9, UTC).isoformat()


@dataclass(slots=True)
class Trust:
    """The registry in a file, read again when the file changes: a new key needs no restart."""

    path: Path
    registry: Registry = field(default_factory=Registry)
    _seen: tuple[int, int] = (0, 0)

    def refresh(self) -> bool:
        """Read the file if it is another than last time; whether it was.

        Raises ConfigurationError for a file that is no registry, once per change; what was trusted stays so.
        """
        try:
            status = self.path.stat()
        except OSError as error:
            raise ConfigurationError(
                f"{self.path}: {error.strerror}: no registry of nodes' keys there"
            ) from None
        seen, self._seen = self._seen, (status.st_mtime_ns, status.st_size)
        if seen == self._seen:
            return False
        self.registry = load_registry(self.path)
        return True

    def check(self, topic: str, key: bytes, value: bytes, arrival_ns: int, headers: RecordHeaders) -> None:
        """As the registry's, which is read again before an unknown key is refused."""
        try:
            self.registry.check(topic, key, value, arrival_ns, headers)
        except UntrustedMessage as error:
            if error.reason not in MENDABLE or not self._refreshed():
                raise
            self.registry.check(topic, key, value, arrival_ns, headers)

    def _refreshed(self) -> bool:
        try:
            return self.refresh()
        except ConfigurationError as error:
            # A slip in an edit must not stop what was trusted before it.
            log.error("the registry as it was stays in force: %s", error)  # noqa: TRY400 - the trace tells nothing
            return False


def trust_all(topic: str, key: bytes, value: bytes, arrival_ns: int, headers: RecordHeaders) -> None:
    """The check where signatures are not asked for: whoever may write to the topics is believed."""
    del topic, key, value, arrival_ns, headers


def open_trust(path: Path | None) -> Check:
    """The check by the registry at `path`; `trust_all` for None. Raises ConfigurationError."""
    if path is None:
        return trust_all
    trust = Trust(path)
    trust.refresh()
    return trust.check


def load_registry(path: Path) -> Registry:
    """The registry in `path` (TOML). Raises ConfigurationError that names file, entry and fix."""
    try:
        return read_registry(path.read_text(encoding="utf-8"))
    except (OSError, ConfigurationError) as error:
        raise ConfigurationError(f"{path}: {error}") from None


def read_registry(text: str) -> Registry:
    """A registry from its TOML. Raises ConfigurationError that names the entry and the fix."""
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"not TOML: {error}") from None
    if unknown := sorted(set(document) - {"key"}):
        raise ConfigurationError(f"unknown entry {unknown[0]!r}: a registry is a list of [[key]]")
    keys: dict[str, NodeKey] = {}
    for number, entry in enumerate(document.get("key", []), 1):
        key = _entry(entry, number)
        if key.key_id in keys:
            raise ConfigurationError(
                f"[[key]] {number}: public_key is that of an earlier entry; list it once"
            )
        keys[key.key_id] = key
    return Registry(keys)


def stanza(key: NodeKey) -> str:
    """An entry of the registry, to append to the file."""
    lines = [
        "[[key]]",
        f'node = "{key.node}"',
        f'public_key = "{base64.b64encode(key.public).decode()}"  # {key.key_id}',
        f"valid_from = {_day(key.from_ns)}",
        *([f"valid_until = {_day(key.until_ns)}"] if key.until_ns < END_OF_TIME_NS else []),
        f"groups = [{', '.join(chr(34) + pattern + chr(34) for pattern in key.groups)}]",
    ]
    return "\n".join(lines) + "\n"


def _entry(entry: Mapping[str, Any], number: int) -> NodeKey:
    if unknown := sorted(set(entry) - FIELDS):
        raise ConfigurationError(
            f"[[key]] {number}: unknown field {unknown[0]!r}; known are {', '.join(sorted(FIELDS))}"
        )
    node = entry.get("node")
    if not isinstance(node, str) or node.count("/") < 1 or "*" in node:
        raise ConfigurationError(f"[[key]] {number}: node {node!r} must be cluster/node")
    try:
        public = base64.b64decode(entry.get("public_key", ""), validate=True)
    except (binascii.Error, TypeError, ValueError):
        public = b""
    if len(public) != 32:
        raise ConfigurationError(f"[[key]] {number} ({node}): public_key must be 32 bytes in base64")
    groups = entry.get("groups", [f"{node}/*"])
    if not isinstance(groups, list) or not groups or not all(isinstance(one, str) and one for one in groups):
        raise ConfigurationError(
            f"[[key]] {number} ({node}): groups must be a list of patterns, such as {node}/*"
        )
    from_ns = _instant(entry, "valid_from", 0, number)
    until_ns = _instant(entry, "valid_until", END_OF_TIME_NS, number)
    if from_ns >= until_ns:
        raise ConfigurationError(f"[[key]] {number} ({node}): valid_until must lie after valid_from")
    return NodeKey(node, public, from_ns, until_ns, tuple(groups))


def _instant(entry: Mapping[str, Any], name: str, default: int, number: int) -> int:
    value = entry.get(name)
    if value is None:
        return default
    if not isinstance(value, datetime) or value.tzinfo is None:
        raise ConfigurationError(
            f"[[key]] {number}: {name} = {value!r} must be an instant such as 2026-11-21T00:00:00Z"
        )
    return round(value.timestamp()) * 1_000_000_000
