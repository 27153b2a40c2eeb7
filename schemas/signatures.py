"""Messages signed by the node that sends them: what is signed, with what, and in which headers it travels.

Ed25519 by a key of the node's own, which the headers name, over the root of a hash tree (as in RFC 6962) of the
messages that leave together, each by topic, key and value. So a worker checks one signature for all it reads of a
batch, and every message stands alone: its headers hold the siblings on its way to the root. Order and number of the
messages are no part of it: the frames' own sequence numbers tell what is missing or repeated.
"""

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
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
    "MOST_AT_ONCE",
    "PROOF_HEADER",
    "SIGNATURE_HEADER",
    "Content",
    "Headers",
    "Mark",
    "RecordHeaders",
    "Sign",
    "SigningKey",
    "is_signed_by",
    "key_id_of",
    "load_signing_key",
    "mark_of",
    "new_signing_key",
    "public_bytes",
    "signer",
    "unsigned",
]

KEY_HEADER: Final = "wattledger-key"
SIGNATURE_HEADER: Final = "wattledger-signature"
PROOF_HEADER: Final = "wattledger-proof"
DOMAIN: Final = b"wattledger-messages-v1"
"""Keeps a signature from meaning anything elsewhere."""

SigningKey = Ed25519PrivateKey
Header = tuple[str, str | bytes | None]
Headers = list[Header]
Content = tuple[str, bytes, bytes]
"""Topic, key and value of a message."""
RecordHeaders = Mapping[str, str | bytes | None] | Sequence[Header] | None
"""As Kafka's clients hand them over: a header may come without a value."""
Sign = Callable[[Sequence[Content]], list[Headers]]
"""Headers of each of the messages that leave together."""

MOST_AT_ONCE: Final = 64
"""Messages under one signature: the proof of each is six siblings, 198 bytes."""
STEP_BYTES: Final = 33
"""A side and a SHA-256."""
LEFT: Final = 0
RIGHT: Final = 1
"""Where a sibling stands."""
MOST_STEPS: Final = 16
"""A longer proof is nobody's: it would only cost hashing."""


@dataclass(frozen=True, slots=True)
class Mark:
    """A message's signature, as its headers have it."""

    key_id: str
    signature: bytes
    proof: bytes


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


def signer(key: SigningKey) -> Sign:
    """What signs messages with `key`: a batch of them with one signature, which each carries with its own proof."""
    key_id = key_id_of(public_bytes(key)).encode()

    def sign(messages: Sequence[Content]) -> list[Headers]:
        signed: list[Headers] = []
        for begin in range(0, len(messages), MOST_AT_ONCE):
            leaves = [_leaf(*message) for message in messages[begin : begin + MOST_AT_ONCE]]
            root, proofs = _tree(leaves)
            signature = key.sign(DOMAIN + root)
            signed += [
                [
                    (KEY_HEADER, key_id),
                    (SIGNATURE_HEADER, signature),
                    *([(PROOF_HEADER, proof)] if proof else []),
                ]
                for proof in proofs
            ]
        return signed

    return sign


def unsigned(messages: Sequence[Content]) -> list[Headers]:
    """No headers: what a node without a key signs with."""
    return [[] for _ in messages]


def is_signed_by(public: bytes, mark: Mark, topic: str, message_key: bytes, value: bytes) -> bool:
    """Whether `mark` is the key's on this message: by its proof, and by the batch's signature, checked once."""
    if len(mark.proof) % STEP_BYTES or len(mark.proof) > MOST_STEPS * STEP_BYTES:
        return False
    node = _leaf(topic, message_key, value)
    for begin in range(0, len(mark.proof), STEP_BYTES):
        side, sibling = mark.proof[begin], mark.proof[begin + 1 : begin + STEP_BYTES]
        node = _node(sibling, node) if side == LEFT else _node(node, sibling)
    return _is_signed(public, mark.signature, node)


@lru_cache(maxsize=8192)
def _is_signed(public: bytes, signature: bytes, root: bytes) -> bool:
    """O(1) in the batch: the messages of a batch that one worker reads share the answer."""
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, DOMAIN + root)
    except InvalidSignature:
        return False
    return True


def mark_of(headers: RecordHeaders) -> Mark:
    """What a record's headers say of its signature; empty where missing. Of repeated ones the last counts."""
    found = dict(headers or ())
    return Mark(
        _as_bytes(found.get(KEY_HEADER)).decode("ascii", "replace"),
        _as_bytes(found.get(SIGNATURE_HEADER)),
        _as_bytes(found.get(PROOF_HEADER)),
    )


def _as_bytes(value: str | bytes | None) -> bytes:
    return value.encode() if isinstance(value, str) else value or b""


def _tree(leaves: Sequence[bytes]) -> tuple[bytes, list[bytes]]:
    """Root of the hash tree over `leaves`, and for each the siblings on its way up, each behind its side."""
    proofs = [b""] * len(leaves)
    level = [(leaf, [number]) for number, leaf in enumerate(leaves)]
    while len(level) > 1:
        above = []
        for (left, lefts), (right, rights) in zip(level[::2], level[1::2], strict=False):
            for number in lefts:
                proofs[number] += bytes([RIGHT]) + right
            for number in rights:
                proofs[number] += bytes([LEFT]) + left
            above.append((_node(left, right), lefts + rights))
        if len(level) % 2:
            above.append(level[-1])
        level = above
    return level[0][0], proofs


def _leaf(topic: str, message_key: bytes, value: bytes) -> bytes:
    """Every part with its length before it, so that no byte can move from one to the next."""
    parts = (topic.encode(), message_key, value)
    content = b"".join(piece for part in parts for piece in (len(part).to_bytes(4, "big"), part))
    return hashlib.sha256(b"\x00" + content).digest()


def _node(left: bytes, right: bytes) -> bytes:
    """Begins otherwise than a leaf, so that neither can pass for the other."""
    return hashlib.sha256(b"\x01" + left + right).digest()
