"""Receipts are signed with Ed25519 as JWS (RFC 7515, compact form), and checked without a network.

Signatures are libsodium's; what is signed is three parts of base64url with dots between. A keyring is a
directory of JWK files, one per key, `<created>-<key id>.jwk`: the newest signs, all verify. A key is rotated by
making another one; old ones stay, or their receipts could not be checked any more.
"""

import binascii
import json
import os
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from joserfc.errors import JoseError
from joserfc.jwk import OKPKey
from nacl.bindings import crypto_sign, crypto_sign_open, crypto_sign_seed_keypair
from nacl.exceptions import CryptoError

from schemas.errors import ConfigurationError, DataError
from streams.answers.report_files import canonical

__all__ = ["Key", "Keyring", "keyring_of", "load_keyring", "new_key", "public_keys", "sign", "verified"]

ALGORITHM: Final = "Ed25519"
"""RFC 9864; the older name EdDSA does not say which curve."""
TYPE: Final = "wattledger-receipt+jws"
SIGNATURE_BYTES: Final = 64
PUBLIC_BYTES: Final = 32


@dataclass(frozen=True, slots=True)
class Key:
    """One key, made ready to sign or verify with."""

    public: bytes
    secret: bytes
    """Seed and public key together, as libsodium signs; empty for a public key."""
    header: bytes
    """Of every JWS that it signs, encoded."""
    document: dict[str, Any]
    """The public JWK."""


@dataclass(frozen=True, slots=True)
class Keyring:
    """Keys by id; `current` signs, and is None in a ring of public keys only."""

    keys: dict[str, Key]
    current: str | None


def new_key(directory: Path, now: datetime) -> str:
    """Make a key in `directory`, readable by its owner only, which signs from now on; returns its id."""
    key = OKPKey.generate_key("Ed25519", private=True)
    kid = key.thumbprint()
    document = key.as_dict(private=True) | {"kid": kid, "use": "sig", "alg": ALGORITHM}
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    path = directory / f"{now.astimezone(UTC).strftime('%Y%m%dT%H%M%S%f')}-{kid}.jwk"
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as out:
        json.dump(document, out)
    return kid


def load_keyring(directory: Path) -> Keyring:
    """Every key of `directory`. Raises ConfigurationError where there is none or a file is no such key."""
    keys = {}
    current = None
    for path in sorted(directory.glob("*.jwk")):
        try:
            current, keys[current] = _key(json.loads(path.read_text()))
        except (JoseError, ValueError, KeyError, TypeError, OSError) as error:
            raise ConfigurationError(f"{path} is no Ed25519 key in JWK form: {error}") from None
    if not keys:
        raise ConfigurationError(
            f"{directory} holds no signing key: make one with `wattledger receipt --new-key`"
        )
    return Keyring(keys, current)


def public_keys(ring: Keyring) -> dict[str, Any]:
    """The keys that check receipts, as a JWK set, for everyone."""
    return {"keys": [key.document for key in ring.keys.values()]}


def keyring_of(document: Any) -> Keyring:
    """A ring from a published JWK set; DataError if it is none."""
    try:
        return Keyring(dict(_public(document["keys"])), None)
    except (JoseError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"no set of public keys (JWK set, RFC 7517): {error}") from None


def sign(ring: Keyring, receipt: dict[str, Any]) -> str:
    """`receipt` in canonical form, signed: a JWS in compact form, which contains it."""
    assert ring.current is not None, "a ring of public keys cannot sign"
    key = ring.keys[ring.current]
    signed = key.header + b"." + _encoded(canonical(receipt))
    return (signed + b"." + _encoded(crypto_sign(signed, key.secret)[:SIGNATURE_BYTES])).decode()


def verified(ring: Keyring, token: str) -> dict[str, Any]:
    """The receipt in `token`, if one of `ring`'s keys signed it.

    Raises DataError for anything that is no JWS, an unknown key, another algorithm, or a changed byte.
    """
    signed, payload, key, signature = _taken_apart(ring, token)
    try:
        crypto_sign_open(signature + signed, key.public)
    except CryptoError:
        raise DataError(
            "the signature does not fit: the receipt was changed, or not signed by this key"
        ) from None
    receipt: dict[str, Any] = json.loads(payload)
    return receipt


def _taken_apart(ring: Keyring, token: str) -> tuple[bytes, bytes, Key, bytes]:
    """(what was signed, of it the payload, with which key, the signature), before anything is believed."""
    try:
        head, body, tail = token.encode("ascii").split(b".")
        signature, payload = _decoded(tail), _decoded(body)
    except ValueError as error:
        raise DataError(
            f"this is no signed receipt (three parts of base64url with dots between): {error}"
        ) from None
    if len(signature) != SIGNATURE_BYTES:
        raise DataError(
            f"this is no signed receipt: its signature has {len(signature)} bytes, not {SIGNATURE_BYTES}"
        )
    found = next((key for key in ring.keys.values() if key.header == head), None)
    return head + b"." + body, payload, found or _named(ring, head), signature


def _named(ring: Keyring, head: bytes) -> Key:
    """The key that a header names, where it is not written as we write it."""
    try:
        header = json.loads(_decoded(head))
        kid, algorithm, kind = header.get("kid"), header.get("alg"), header.get("typ")
    except (ValueError, AttributeError) as error:
        raise DataError(f"this is no signed receipt: its header is no JSON object: {error}") from None
    if algorithm != ALGORITHM or kind != TYPE or "crit" in header:
        raise DataError(f"signed as {kind!r} with {algorithm!r}, not as {TYPE!r} with {ALGORITHM!r}")
    if not isinstance(kid, str) or kid not in ring.keys:
        raise DataError(
            f"signed with key {kid!r}, which is not among the issuer's: fetch its current /v1/keys"
        )
    return ring.keys[kid]


def _key(document: dict[str, Any]) -> tuple[str, Key]:
    """(id, key) of a JWK, private or public; its id is the stated one or its thumbprint (RFC 7638)."""
    parsed = OKPKey.import_key(document)
    if document.get("crv") != "Ed25519":
        raise ValueError(f"crv is {document.get('crv')!r}, not 'Ed25519'")
    public = _decoded(document["x"].encode())
    if len(public) != PUBLIC_BYTES:
        raise ValueError(f"x has {len(public)} bytes, not {PUBLIC_BYTES}")
    kid = str(document.get("kid") or parsed.thumbprint())
    secret = b""
    if "d" in document:
        made, secret = crypto_sign_seed_keypair(_decoded(document["d"].encode()))
        if made != public:
            raise ValueError("d and x are not of one key")
    header = {"alg": ALGORITHM, "kid": kid, "typ": TYPE}
    shown = parsed.as_dict(private=False) | {"kid": kid, "use": "sig", "alg": ALGORITHM}
    return kid, Key(public, secret, _encoded(canonical(header)), shown)


def _public(documents: Iterable[dict[str, Any]]) -> Iterable[tuple[str, Key]]:
    for one in documents:
        yield _key({name: value for name, value in one.items() if name != "d"})


def _encoded(data: bytes) -> bytes:
    return urlsafe_b64encode(data).rstrip(b"=")


def _decoded(text: bytes) -> bytes:
    """Strictly: no padding, no other characters, and no second spelling of the same bytes."""
    try:
        data = urlsafe_b64decode(text + b"=" * (-len(text) % 4))
    except binascii.Error as error:
        raise ValueError(str(error)) from None
    if _encoded(data) != text:
        raise ValueError("not base64url as RFC 7515 writes it")
    return data
