"""Messages are taken from whom the registry trusts, for what it trusts them with, while it does."""

import base64
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from schemas.errors import ConfigurationError, UntrustedMessage
from schemas.signatures import (
    KEY_HEADER,
    MOST_AT_ONCE,
    PROOF_HEADER,
    SIGNATURE_HEADER,
    load_signing_key,
    new_signing_key,
    public_bytes,
)
from schemas.signatures import signer as signer_of
from schemas.topics import ENERGY, ITERATIONS
from streams.trust import NodeKey, Registry, Trust, read_registry, stanza

DAY = 86_400 * 1_000_000_000
NODE = "prod/node-7"


@pytest.fixture(scope="module")
def signer(tmp_path_factory: pytest.TempPathFactory):
    return new_signing_key(tmp_path_factory.mktemp("key") / "node.pem")


def headers(signer, topic=ITERATIONS, key=b"prod/node-7/llama", value=b"frame"):
    return signer_of(signer)([(topic, key, value)])[0]


def trusted(signer, *, from_ns=0, until_ns=10 * DAY, groups=(f"{NODE}/*",)) -> Registry:
    known = NodeKey(NODE, public_bytes(signer), from_ns, until_ns, groups)
    return Registry({known.key_id: known})


def reason(registry, found, *, topic=ITERATIONS, key=b"prod/node-7/llama", value=b"frame", at_ns=DAY) -> str:
    with pytest.raises(UntrustedMessage) as refused:
        registry.check(topic, key, value, at_ns, found)
    return refused.value.reason


def test_what_the_node_signed_for_its_own_group_is_taken(signer) -> None:
    trusted(signer).check(ITERATIONS, b"prod/node-7/llama", b"frame", DAY, headers(signer))


def test_each_refusal_has_its_own_name(signer, tmp_path: Path) -> None:
    registry, good = trusted(signer), headers(signer)
    stranger = new_signing_key(tmp_path / "stranger.pem")
    assert reason(registry, None) == "unsigned"
    assert reason(registry, good[:1]) == "unsigned"
    assert reason(registry, headers(stranger)) == "unknown_key"
    assert reason(registry, good, at_ns=10 * DAY) == "expired_key"
    assert reason(trusted(signer, from_ns=2 * DAY), good) == "expired_key"
    assert (
        reason(registry, headers(signer, key=b"prod/node-70/llama"), key=b"prod/node-70/llama")
        == "foreign_key"
    )
    assert reason(registry, good, value=b"another") == "bad_signature"
    assert reason(registry, good, topic=ENERGY) == "bad_signature"
    assert reason(registry, [(KEY_HEADER, good[0][1]), (SIGNATURE_HEADER, b"x" * 64)]) == "bad_signature"
    assert reason(registry, [(KEY_HEADER, good[0][1]), (SIGNATURE_HEADER, b"short")]) == "bad_signature"


@given(st.binary(max_size=40), st.binary(max_size=40), st.integers(-5, 5))
def test_no_byte_moves_between_key_and_value_and_the_signature_still_holds(key, value, shift) -> None:
    signer = SIGNER
    whole = key + value
    cut = max(0, min(len(whole), len(key) + shift))
    found = signer_of(signer)([(ITERATIONS, key, value)])[0]
    registry = trusted(signer, groups=("*",))
    if cut == len(key):
        registry.check(ITERATIONS, key, value, DAY, found)
    else:
        assert reason(registry, found, key=whole[:cut], value=whole[cut:]) == "bad_signature"


@given(st.lists(st.binary(max_size=8), min_size=1, max_size=150), st.data())
def test_each_message_of_a_batch_stands_alone_under_one_signature(values, data) -> None:
    registry = trusted(SIGNER, groups=("*",))
    batch = [(ITERATIONS, b"k%d" % number, value) for number, value in enumerate(values)]
    signed = signer_of(SIGNER)(batch)
    assert len({dict(one)[SIGNATURE_HEADER] for one in signed}) == -(-len(batch) // MOST_AT_ONCE)
    for (topic, key, value), found in zip(batch, signed, strict=True):
        registry.check(topic, key, value, DAY, found)
    number = data.draw(st.integers(0, len(batch) - 1))
    other = data.draw(st.integers(0, len(batch) - 1))
    topic, key, value = batch[number]
    assert reason(registry, signed[number], topic=topic, key=key, value=value + b"!") == "bad_signature"
    if other != number:
        assert reason(registry, signed[other], topic=topic, key=key, value=value) == "bad_signature"


@given(st.binary(min_size=1, max_size=700))
def test_a_proof_of_any_bytes_proves_nothing(proof) -> None:
    registry = trusted(SIGNER, groups=("*",))
    assert reason(registry, [*headers(SIGNER), (PROOF_HEADER, proof)]) == "bad_signature"


def test_a_registry_is_what_its_stanzas_say_and_rotation_keeps_both_keys(signer, tmp_path: Path) -> None:
    other = new_signing_key(tmp_path / "next.pem")
    old = NodeKey(NODE, public_bytes(signer), DAY, 5 * DAY, (f"{NODE}/*",))
    new = NodeKey(NODE, public_bytes(other), 4 * DAY, 2**62, (f"{NODE}/*", "prod/node-8/big"))
    registry = read_registry(stanza(old) + "\n" + stanza(new))
    assert registry == Registry({old.key_id: old, new.key_id: new})
    registry.check(ITERATIONS, b"prod/node-7/a", b"", DAY, headers(signer, key=b"prod/node-7/a", value=b""))
    registry.check(
        ITERATIONS, b"prod/node-8/big", b"", 9 * DAY, headers(other, key=b"prod/node-8/big", value=b"")
    )
    assert reason(registry, headers(signer), at_ns=5 * DAY) == "expired_key"


def test_a_key_that_was_added_is_known_without_a_restart(signer, tmp_path: Path) -> None:
    path = tmp_path / "nodes.toml"
    path.write_text("")
    trust = Trust(path)
    assert trust.refresh()
    with pytest.raises(UntrustedMessage):
        trust.check(ITERATIONS, b"prod/node-7/llama", b"frame", DAY, headers(signer))
    path.write_text(stanza(NodeKey(NODE, public_bytes(signer), 0, 2**62, (f"{NODE}/*",))))
    trust.check(ITERATIONS, b"prod/node-7/llama", b"frame", DAY, headers(signer))


def test_a_slip_in_an_edit_stops_nothing_that_was_trusted(
    signer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "nodes.toml"
    path.write_text(stanza(NodeKey(NODE, public_bytes(signer), 0, 2**62, (f"{NODE}/*",))))
    trust = Trust(path)
    trust.refresh()
    path.write_text("[[key]\n")
    stranger = new_signing_key(tmp_path / "stranger.pem")
    for _ in range(3):
        with pytest.raises(UntrustedMessage):
            trust.check(ITERATIONS, b"prod/node-7/llama", b"frame", DAY, headers(stranger))
        trust.check(ITERATIONS, b"prod/node-7/llama", b"frame", DAY, headers(signer))
    assert sum("stays in force" in record.message for record in caplog.records) == 1


KEY = base64.b64encode(bytes(32)).decode()


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("[[node]]", "unknown entry 'node'"),
        (f'[[key]]\nnode = "a/b"\npublic_key = "{KEY}"\ncolour = "red"', "'colour'"),
        (f'[[key]]\nnode = "b"\npublic_key = "{KEY}"', "must be cluster/node"),
        ('[[key]]\nnode = "a/b"\npublic_key = "AAAA"', "32 bytes"),
        ('[[key]]\nnode = "a/b"\npublic_key = 7', "32 bytes"),
        (f'[[key]]\nnode = "a/b"\npublic_key = "{KEY}"\ngroups = "x"', "list of patterns"),
        (f'[[key]]\nnode = "a/b"\npublic_key = "{KEY}"\nvalid_from = 2026-01-01', "valid_from"),
        (
            f'[[key]]\nnode = "a/b"\npublic_key = "{KEY}"\nvalid_from = 2026-01-02T00:00:00Z\n'
            "valid_until = 2026-01-01T00:00:00Z",
            "after valid_from",
        ),
        (f'[[key]]\nnode = "a/b"\npublic_key = "{KEY}"\n' * 2, "earlier entry"),
        ("[[key]", "not TOML"),
    ],
)
def test_a_mistake_in_the_registry_is_named(text: str, named: str) -> None:
    with pytest.raises(ConfigurationError, match=named):
        read_registry(text)


def test_a_key_file_is_its_owners_is_not_overwritten_and_is_ed25519(tmp_path: Path) -> None:
    path = tmp_path / "node.pem"
    made = new_signing_key(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert public_bytes(load_signing_key(path)) == public_bytes(made)
    with pytest.raises(ConfigurationError, match="exists"):
        new_signing_key(path)
    (tmp_path / "none.pem").write_text("nothing")
    with pytest.raises(ConfigurationError, match="wattledger nodes key"):
        load_signing_key(tmp_path / "none.pem")


SIGNER = Ed25519PrivateKey.generate()
