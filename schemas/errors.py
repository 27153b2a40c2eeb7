"""Every error wattledger raises on purpose.

WattledgerError                  a user can act on the message
├── ConfigurationError           a setting is missing or wrong; the message names it and the fix
├── AgentUnavailable             no node agent answers on its socket
├── BrokerUnavailable            no Kafka; what was tried, where, what to set
├── DatabaseUnavailable          no ClickHouse; what was tried, where, what to set
│   └── DatabaseBusy             an embedded database is open in another process
├── MigrationError               the database's schema is not what this version expects
├── InvalidMessage               bytes that are not what a topic promises; goes to the dead letters
│   ├── UnknownVersion           a frame of a version this program does not know
│   ├── MalformedMessage         truncated, random or contradictory bytes
│   ├── UnknownEngine            a frame of an engine that no descriptor names
│   └── UntrustedMessage         unsigned, or signed by none who may send it
├── MeterError                   a meter cannot be read
├── SourceError                  a source of carbon factors did not answer as its documentation says
│   └── RateLimited              it asks to wait; the error says how long
├── AttributionError             a game or a fit that has no answer
└── DataError                    a file or table handed in by a user is wrong; file, line, column, fix
"""

__all__ = [
    "AgentUnavailable",
    "AttributionError",
    "BrokerUnavailable",
    "ConfigurationError",
    "DataError",
    "DatabaseBusy",
    "DatabaseUnavailable",
    "InvalidMessage",
    "MalformedMessage",
    "MeterError",
    "MigrationError",
    "RateLimited",
    "SourceError",
    "UnknownEngine",
    "UnknownVersion",
    "UntrustedMessage",
    "WattledgerError",
]


class WattledgerError(Exception):
    """Root of the tree: the message is one line that a user can act on."""


class ConfigurationError(WattledgerError):
    """A setting is missing or wrong; the message names the setting, its value and the fix."""


class AgentUnavailable(WattledgerError):  # noqa: N818 - reads as the state it reports
    """No node agent answers on its socket; the message names the socket and what to do."""


class BrokerUnavailable(WattledgerError):  # noqa: N818 - reads as the state it reports
    """No Kafka broker answers; the message says what was tried, where, and what to set."""


class DatabaseUnavailable(WattledgerError):  # noqa: N818 - reads as the state it reports
    """No ClickHouse answers; the message says what was tried, where, and what to set."""


class DatabaseBusy(DatabaseUnavailable):
    """The embedded database is open in another process: one process per path."""


class MigrationError(WattledgerError):
    """The database's schema is not what this version expects."""


class InvalidMessage(WattledgerError):  # noqa: N818 - the caller's next action is to dead-letter it
    """Bytes that are not what their topic promises; they belong in the dead letters, with this reason."""

    reason = "invalid"


class UnknownVersion(InvalidMessage):
    """A frame of a version this program does not know."""

    reason = "unknown_version"


class MalformedMessage(InvalidMessage):
    """Truncated, random or self-contradictory bytes."""

    reason = "malformed"


class UnknownEngine(InvalidMessage):
    """A frame of an engine that no descriptor names."""

    reason = "unknown_engine"


class UntrustedMessage(InvalidMessage):
    """A message that no node which may publish it has signed; `reason` says what is wrong with the signature."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class MeterError(WattledgerError):
    """A meter cannot be read; the message names the device and what to do."""


class SourceError(WattledgerError):
    """A source of carbon factors refused, failed, or answered in a form it does not document."""


class RateLimited(SourceError):  # noqa: N818 - reads as the state it reports
    """A source asks to wait before it is asked again."""

    def __init__(self, message: str, retry_after_s: float) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class AttributionError(WattledgerError, ValueError):
    """A game or a fit that has no answer; the message names the argument, the value and the fix."""


class DataError(WattledgerError):
    """A file or table handed in by a user is wrong; names file, line, column and remedy."""
