"""Where Kafka is and how a client is let in: one address, and the same thing in librdkafka's words.

`host:port[,host:port...]` alone is plain text. With a scheme it says more:

    sasl_ssl://user:password@host:9093,host:9093?mechanism=SCRAM-SHA-512&ca=/etc/kafka/ca.crt
    ssl://host:9093?ca=/etc/kafka/ca.crt&certificate=/etc/kafka/tls.crt&key=/etc/kafka/tls.key

User and password are percent-encoded. An address may hold a password: messages show `servers_of(address)`.
"""

from dataclasses import dataclass, field
from typing import Final
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

from schemas.errors import ConfigurationError

__all__ = ["MECHANISMS", "PROTOCOLS", "KafkaAddress", "client_settings", "parse_address", "servers_of"]

PROTOCOLS: Final = ("plaintext", "ssl", "sasl_plaintext", "sasl_ssl")
"""As Kafka names its listeners' security protocols, in lower case."""
MECHANISMS: Final = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")
"""Those that librdkafka and aiokafka both know without another library."""


@dataclass(frozen=True, slots=True)
class KafkaAddress:
    """Brokers, and what opens them; contradictions raise ConfigurationError."""

    servers: str
    """`host:port[,host:port...]`."""
    protocol: str = "plaintext"
    """One of PROTOCOLS."""
    mechanism: str = ""
    """One of MECHANISMS, where the protocol is SASL."""
    username: str = ""
    password: str = field(default="", repr=False)
    ca: str = ""
    """PEM file of the authorities that may have signed the brokers' certificates; empty for the system's."""
    certificate: str = ""
    """PEM file of the client's own certificate chain, for mutual TLS."""
    key: str = ""
    """PEM file of its private key, unencrypted."""

    def __post_init__(self) -> None:
        if not self.servers or "@" in self.servers or "/" in self.servers:
            raise ConfigurationError(
                f"Kafka's servers {self.servers!r} must be host:port[,host:port...]: set WATTLEDGER_KAFKA"
            )
        _one_of("WATTLEDGER_KAFKA_PROTOCOL", self.protocol, PROTOCOLS)
        if self.has_sasl:
            _one_of("WATTLEDGER_KAFKA_MECHANISM", self.mechanism, MECHANISMS)
            if not (self.username and self.password):
                raise ConfigurationError(
                    f"{self.protocol} needs a user and a password: set WATTLEDGER_KAFKA_USERNAME and "
                    "WATTLEDGER_KAFKA_PASSWORD"
                )
        elif self.mechanism or self.username or self.password:
            raise ConfigurationError(
                f"{self.protocol} knows no user: set WATTLEDGER_KAFKA_PROTOCOL to sasl_ssl, or leave "
                "WATTLEDGER_KAFKA_MECHANISM, _USERNAME and _PASSWORD out"
            )
        if not self.has_tls and (self.ca or self.certificate or self.key):
            raise ConfigurationError(
                f"{self.protocol} reads no certificates: set WATTLEDGER_KAFKA_PROTOCOL to ssl or sasl_ssl, or "
                "leave WATTLEDGER_KAFKA_CA, _CERTIFICATE and _KEY out"
            )
        if bool(self.certificate) != bool(self.key):
            raise ConfigurationError(
                "a client's certificate needs its key and the other way round: set both "
                "WATTLEDGER_KAFKA_CERTIFICATE and WATTLEDGER_KAFKA_KEY"
            )

    @property
    def has_tls(self) -> bool:
        """Whether the connection is encrypted."""
        return self.protocol.endswith("ssl")

    @property
    def has_sasl(self) -> bool:
        """Whether a user logs in."""
        return self.protocol.startswith("sasl")

    def text(self) -> str:
        """The address as one string, which `parse_address` reads back to the same."""
        if self.protocol == "plaintext":
            return self.servers
        user = f"{quote(self.username, safe='')}:{quote(self.password, safe='')}@" if self.has_sasl else ""
        named = {
            "mechanism": self.mechanism,
            "ca": self.ca,
            "certificate": self.certificate,
            "key": self.key,
        }
        query = urlencode({name: value for name, value in named.items() if value})
        return f"{self.protocol}://{user}{self.servers}" + (f"?{query}" if query else "")


def parse_address(address: str) -> KafkaAddress:
    """What `address` says. Raises ConfigurationError that names the part, and never shows a password."""
    if "://" not in address:
        return KafkaAddress(address.strip())
    protocol, _, rest = address.strip().partition("://")
    parts = urlsplit(f"//{rest}")  # a scheme with an underscore is none to urlsplit
    user, _, servers = parts.netloc.rpartition("@")
    username, _, password = user.partition(":")
    options = dict(parse_qsl(parts.query))
    known = {name: options.pop(name, "") for name in ("mechanism", "ca", "certificate", "key")}
    if options or parts.path.strip("/") or parts.fragment:
        unknown = next(iter(options), parts.path.strip("/") or parts.fragment)
        raise ConfigurationError(
            f"Kafka's address at {servers} has {unknown!r}, which is unknown: after the servers come only "
            "?mechanism=, ca=, certificate= and key="
        )
    return KafkaAddress(servers, protocol, username=unquote(username), password=unquote(password), **known)


def servers_of(address: str) -> str:
    """The servers alone, for messages: without user and password."""
    return parse_address(address).servers


def client_settings(address: str) -> dict[str, str]:
    """How librdkafka is told to connect."""
    known = parse_address(address)
    settings = {"bootstrap.servers": known.servers}
    if known.protocol == "plaintext":
        return settings
    more = {
        "security.protocol": known.protocol,
        "sasl.mechanism": known.mechanism,
        "sasl.username": known.username,
        "sasl.password": known.password,
        "ssl.ca.location": known.ca,
        "ssl.certificate.location": known.certificate,
        "ssl.key.location": known.key,
    }
    return settings | {name: value for name, value in more.items() if value}


def _one_of(name: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise ConfigurationError(f"{name} is {value!r}, must be one of {', '.join(known)}")
