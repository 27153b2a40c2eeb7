"""Messages signed by the node that sends them: what is signed, with what, and in which headers it travels.

Ed25519 over topic, key and value, by a key of the node's own; the headers name the key. The order of messages and
their number are no part of it: the frames' own sequence numbers tell what is missing or repeated.
"""

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from schemas.errors import ConfigurationError

__all__ = [
    "KEY_HEADER",
    "SIGNATURE_HEADER",
    "Headers",
    "RecordHeaders",
    "Sign",
    "SigningKey",
    "headers_of",
    "is_signed_by",
    "key_id_of",
    "load_signing_key",
    "new_signing_key",
    "public_bytes",
    "signed_headers",
    "signer",
    "unsigned",
]

KEY_HEADER: Final = "wattledger-key"
SIGNATURE_HEADER: Final = "wattledger-signature"
DOMAIN: Final = b"wattledger-message-v1"
"""Keeps a signature from meaning anything elsewhere."""

SigningKey = Ed25519PrivateKey
Header = tuple[str, str | bytes | None]
Headers = list[Header]
RecordHeaders = Mapping[str, str | bytes | None] | Sequence[Header] | None
"""As Kafka's clients hand them over: a header may come without a value."""
Sign = Callable[[str, bytes, bytes], Headers]
"""Headers of a message, by topic, key and value."""


def new_signing_key(path: Path) -> SigningKey:
    """Make a node's key and write it to `path` (PEM, PKCS 8), readable by its owner only.

    Raises ConfigurationError where the file exists: a key in use is not overwritten.
    """
    key = Ed25519PrivateKey.generate()
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise ConfigurationError(f"{path} exists: name another file for the new key") from None
    with os.fdopen(descriptor, "wb") as out:
        out.write(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return key


def load_signing_key(path: Path) -> SigningKey:
    """The key in `path`. Raises ConfigurationError where there is none or it is of another kind."""
    try:
        key = load_pem_private_key(path.read_bytes(), password=None)
    except (OSError, ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise ConfigurationError(
            f"{path} is no private key in PEM form ({error}): make one with `wattledger nodes key`"
        ) from None
    if not isinstance(key, Ed25519PrivateKey):
        raise ConfigurationError(f"{path} is not an Ed25519 key: make one with `wattledger nodes key`")
    return key


def public_bytes(key: SigningKey) -> bytes:
    """The 32 bytes of its public half."""
    return key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)


def key_id_of(public: bytes) -> str:
    """How headers and registries call a public key: the beginning of its SHA-256, in hexadecimal."""
    return hashlib.sha256(public).hexdigest()[:16]


def signed_headers(key: SigningKey, key_id: str, topic: str, message_key: bytes, value: bytes) -> Headers:
    """The headers that a signed message travels with."""
    signature = key.sign(_content(topic, message_key, value))
    return [(KEY_HEADER, key_id.encode()), (SIGNATURE_HEADER, signature)]


def signer(key: SigningKey) -> Sign:
    """What signs messages with `key`."""
    key_id = key_id_of(public_bytes(key))
    return lambda topic, message_key, value: signed_headers(key, key_id, topic, message_key, value)


def unsigned(topic: str, message_key: bytes, value: bytes) -> Headers:
    """No headers: what a node without a key signs with."""
    del topic, message_key, value
    return []


def is_signed_by(
    public: Ed25519PublicKey, signature: bytes, topic: str, message_key: bytes, value: bytes
) -> bool:
    """Whether `signature` is that of the message by the key."""
    try:
        public.verify(signature, _content(topic, message_key, value))
    except InvalidSignature:
        return False
    return True


def headers_of(headers: RecordHeaders) -> tuple[str, bytes]:
    """Key id and signature of a record's headers; empty where missing. Of repeated ones the last counts."""
    found = dict(headers or ())
    return _as_bytes(found.get(KEY_HEADER)).decode("ascii", "replace"), _as_bytes(found.get(SIGNATURE_HEADER))


def _as_bytes(value: str | bytes | None) -> bytes:
    return value.encode() if isinstance(value, str) else value or b""


def _content(topic: str, message_key: bytes, value: bytes) -> bytes:
    """Every part with its length before it, so that no byte can move from one to the next."""
    parts = (DOMAIN, topic.encode(), message_key, value)
    return b"".join(piece for part in parts for piece in (len(part).to_bytes(4, "big"), part))
