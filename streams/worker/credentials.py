"""How Faust's own client logs in to Kafka: the address in Faust's words."""

import ssl

import faust

from schemas.errors import ConfigurationError
from schemas.kafka_address import KafkaAddress, parse_address

__all__ = ["faust_credentials"]


def faust_credentials(address: str) -> faust.SASLCredentials | faust.SSLCredentials | None:
    """What Faust needs to log in at `address`; None where the connection is plain.

    Raises ConfigurationError that names a certificate file that cannot be read.
    """
    known = parse_address(address)
    context = _tls(known) if known.has_tls else None
    if known.has_sasl:
        return faust.SASLCredentials(
            username=known.username,
            password=known.password,
            mechanism=known.mechanism,
            ssl_context=context,
        )
    return faust.SSLCredentials(context) if context is not None else None


def _tls(known: KafkaAddress) -> ssl.SSLContext:
    """Brokers are checked by name, as librdkafka does."""
    try:
        context = ssl.create_default_context(cafile=known.ca or None)
        if known.certificate:
            context.load_cert_chain(known.certificate, known.key)
    except OSError as error:  # ssl.SSLError is one
        files = ", ".join(name for name in (known.ca, known.certificate, known.key) if name)
        raise ConfigurationError(
            f"the certificates for Kafka cannot be read ({files}): {error}; they must be PEM files, the key "
            "without a passphrase"
        ) from None
    return context
