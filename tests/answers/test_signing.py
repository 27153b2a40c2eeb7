"""Receipts are JWS as others write them: a library that is not ours reads ours, and we read its."""

import json
from base64 import urlsafe_b64encode
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from joserfc import jws
from joserfc.jwk import OKPKey

from schemas.errors import ConfigurationError, DataError
from streams.answers.signing import (
    ALGORITHM,
    TYPE,
    Keyring,
    keyring_of,
    load_keyring,
    new_key,
    public_keys,
    sign,
    verified,
)

RECEIPT: dict[str, Any] = {"request_id": "r1", "energy_uj": 12345, "tenant": "café ☕", "carbon_g": None}


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("keys")
    new_key(path, datetime(2026, 9, 1, tzinfo=UTC))
    return path


@pytest.fixture(scope="module")
def ring(directory: Path) -> Keyring:
    return load_keyring(directory)


def theirs(directory: Path) -> OKPKey:
    return OKPKey.import_key(json.loads(next(directory.glob("*.jwk")).read_text()))


def test_another_library_verifies_what_we_sign(directory: Path, ring: Keyring) -> None:
    content = jws.deserialize_compact(sign(ring, RECEIPT), theirs(directory), algorithms=[ALGORITHM])
    assert json.loads(content.payload) == RECEIPT
    assert content.headers() == {"alg": ALGORITHM, "kid": ring.current, "typ": TYPE}


def test_we_verify_what_another_library_signs_however_it_orders_its_header(
    directory: Path, ring: Keyring
) -> None:
    header = {"typ": TYPE, "kid": ring.current, "alg": ALGORITHM}
    token = jws.serialize_compact(header, json.dumps(RECEIPT), theirs(directory), algorithms=[ALGORITHM])
    assert verified(keyring_of(public_keys(ring)), token) == RECEIPT


def test_published_keys_hold_no_secret(ring: Keyring) -> None:
    published = public_keys(ring)
    assert all("d" not in key for key in published["keys"])
    assert keyring_of(published).current is None


@given(place=st.integers(min_value=0), letter=st.sampled_from("Ab9-_.=+/ \x00é"))
def test_any_changed_character_is_noticed(ring: Keyring, place: int, letter: str) -> None:
    token = sign(ring, RECEIPT)
    at = place % len(token)
    changed = token[:at] + letter + token[at + 1 :]
    if changed == token:
        assert verified(ring, changed) == RECEIPT
    else:
        with pytest.raises(DataError):
            verified(ring, changed)


@given(token=st.text(max_size=200))
def test_what_is_no_receipt_is_said_to_be_none(ring: Keyring, token: str) -> None:
    with pytest.raises(DataError):
        verified(ring, token)


def test_an_algorithm_of_the_senders_choice_is_refused(directory: Path, ring: Keyring) -> None:
    for header in (
        {"alg": "none", "kid": ring.current, "typ": TYPE},
        {"alg": "EdDSA", "kid": ring.current, "typ": TYPE},
        {"alg": ALGORITHM, "kid": ring.current, "typ": "JWT"},
        {"alg": ALGORITHM, "kid": "someone-else", "typ": TYPE},
        {"alg": ALGORITHM, "kid": ring.current, "typ": TYPE, "crit": ["b64"]},
    ):
        parts = sign(ring, RECEIPT).split(".")
        parts[0] = urlsafe_b64encode(json.dumps(header).encode()).rstrip(b"=").decode()
        with pytest.raises(DataError, match=r"signed (as|with)"):
            verified(ring, ".".join(parts))


def test_a_key_whose_halves_differ_is_refused(directory: Path, tmp_path: Path) -> None:
    new_key(tmp_path, datetime(2026, 9, 1, tzinfo=UTC))
    path = next(tmp_path.glob("*.jwk"))
    document = json.loads(path.read_text())
    document["x"] = theirs(directory).as_dict(private=False)["x"]
    path.write_text(json.dumps(document))
    with pytest.raises(ConfigurationError, match="not of one key"):
        load_keyring(tmp_path)
