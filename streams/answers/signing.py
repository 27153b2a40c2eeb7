"""Receipts are signed with Ed25519 as JWS, and checked without a network.

A keyring is a directory of JWK files, one per key, `<created>-<key id>.jwk`: the newest signs, all verify. A key is
rotated by making another one; old ones stay, or their receipts could not be checked any more.
"""

import json
import os
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwk import OKPKey

from schemas.errors import ConfigurationError, DataError
from streams.answers.report_files import canonical

__all__ = ["Keyring", "keyring_of", "load_keyring", "new_key", "public_keys", "sign", "verified"]

ALGORITHM: Final = "Ed25519"
"""RFC 9864; the older name EdDSA does not say which curve."""
TYPE: Final = "wattledger-receipt+jws"


@dataclass(frozen=True, slots=True)
class Keyring:
    """Keys by id; `current` signs, and is None in a ring of public keys only."""

    keys: dict[str, OKPKey]
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
            key = OKPKey.import_key(json.loads(path.read_text()))
        except (JoseError, ValueError, OSError) as error:
            raise ConfigurationError(f"{path} is no Ed25519 key in JWK form: {error}") from None
        current = str(key.kid)
        keys[current] = key
    if not keys:
        raise ConfigurationError(
            f"{directory} holds no signing key: make one with `wattledger receipt --new-key`"
        )
    return Keyring(keys, current)


def public_keys(ring: Keyring) -> dict[str, Any]:
    """The keys that check receipts, as a JWK set, for everyone."""
    return {"keys": [key.as_dict(private=False) for key in ring.keys.values()]}


def keyring_of(document: Any) -> Keyring:
    """A ring from a published JWK set; DataError if it is none."""
    try:
        keys = [OKPKey.import_key(one) for one in document["keys"]]
    except (JoseError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"no set of public keys (JWK set, RFC 7517): {error}") from None
    return Keyring({str(key.kid): key for key in keys}, None)


def sign(ring: Keyring, receipt: dict[str, Any]) -> str:
    """`receipt` in canonical form, signed: a JWS in compact form, which contains it."""
    assert ring.current is not None, "a ring of public keys cannot sign"
    header = {"alg": ALGORITHM, "kid": ring.current, "typ": TYPE}
    key = ring.keys[ring.current]
    return jws.serialize_compact(header, canonical(receipt), key, algorithms=[ALGORITHM])


def verified(ring: Keyring, token: str) -> dict[str, Any]:
    """The receipt in `token`, if one of `ring`'s keys signed it.

    Raises DataError for anything that is no JWS, an unknown key, another algorithm, or a changed byte.
    """
    try:
        header = jws.extract_compact(token.encode()).headers()
    except (JoseError, ValueError) as error:
        raise DataError(f"this is no signed receipt: {error}") from None
    kid = header.get("kid")
    if header.get("alg") != ALGORITHM or header.get("typ") != TYPE:
        raise DataError(
            f"signed as {header.get('typ')!r} with {header.get('alg')!r}, not as {TYPE!r} with {ALGORITHM!r}"
        )
    if not isinstance(kid, str) or kid not in ring.keys:
        raise DataError(
            f"signed with key {kid!r}, which is not among the issuer's: fetch its current /v1/keys"
        )
    try:
        content = jws.deserialize_compact(token, ring.keys[kid], algorithms=[ALGORITHM])
    except (JoseError, ValueError):
        raise DataError(
            "the signature does not fit: the receipt was changed, or not signed by this key"
        ) from None
    receipt: dict[str, Any] = json.loads(content.payload)
    return receipt
