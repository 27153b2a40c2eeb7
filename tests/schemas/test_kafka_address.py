"""One address says how Kafka is reached; what contradicts itself is refused by name, and no password is shown."""

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.errors import ConfigurationError
from schemas.kafka_address import MECHANISMS, KafkaAddress, client_settings, parse_address, servers_of

ROOT = Path(__file__).parents[2]
anything = st.text(min_size=1, max_size=20).filter(str.strip)
addresses = st.one_of(
    st.builds(KafkaAddress, st.just("a:1,b:2")),
    st.builds(KafkaAddress, st.just("a:1"), st.just("ssl"), ca=st.just("") | st.just("/ca+1 &.pem")),
    st.builds(
        KafkaAddress,
        st.just("a:1,b:2"),
        st.sampled_from(("sasl_plaintext", "sasl_ssl")),
        st.sampled_from(MECHANISMS),
        anything,
        anything,
    ),
)


@given(addresses)
def test_an_address_reads_back_as_it_was_written(address: KafkaAddress) -> None:
    assert parse_address(address.text()) == address


@given(addresses)
def test_no_password_is_shown(address: KafkaAddress) -> None:
    assert servers_of(address.text()) == address.servers
    assert "password" not in repr(address)


def test_plain_servers_need_no_scheme() -> None:
    assert client_settings("a:1,b:2") == {"bootstrap.servers": "a:1,b:2"}


def test_librdkafka_is_told_what_the_address_says() -> None:
    assert client_settings("sasl_ssl://me:p%40ss@a:1,b:2?mechanism=SCRAM-SHA-512&ca=/ca.pem") == {
        "bootstrap.servers": "a:1,b:2",
        "security.protocol": "sasl_ssl",
        "sasl.mechanism": "SCRAM-SHA-512",
        "sasl.username": "me",
        "sasl.password": "p@ss",
        "ssl.ca.location": "/ca.pem",
    }


@pytest.mark.parametrize(
    ("address", "named"),
    [
        ("tls://a:1", "WATTLEDGER_KAFKA_PROTOCOL is 'tls', must be one of plaintext, ssl"),
        ("sasl_ssl://me:secret@a:1", "WATTLEDGER_KAFKA_MECHANISM is ''"),
        ("sasl_ssl://me@a:1?mechanism=PLAIN", "needs a user and a password"),
        ("ssl://me:secret@a:1", "ssl knows no user"),
        ("plaintext://a:1?ca=/ca.pem", "plaintext reads no certificates"),
        ("ssl://a:1?certificate=/c.pem", "WATTLEDGER_KAFKA_KEY"),
        ("ssl://a:1?cafile=/c.pem", "'cafile', which is unknown"),
        ("ssl://me:secret@a:1/topic", "'topic', which is unknown"),
        ("me:secret@a:1", "host:port"),
    ],
)
def test_a_contradiction_is_named_with_the_setting(address: str, named: str) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(named)):
        parse_address(address)


def test_every_client_takes_its_connection_from_the_address() -> None:
    """A client that is told `bootstrap.servers` alone would not log in."""
    alone = [
        str(path.relative_to(ROOT))
        for room in ("producers", "streams", "wattledger")
        for path in (ROOT / room).rglob("*.py")
        if '"bootstrap.servers"' in path.read_text(encoding="utf-8")
    ]
    assert alone == []


def test_no_message_shows_an_address_that_may_hold_a_password() -> None:
    shown = [
        f"{path.relative_to(ROOT)}: {line.strip()}"
        for room in ("producers", "streams", "wattledger")
        for path in (ROOT / room).rglob("*.py")
        for line in path.read_text(encoding="utf-8").splitlines()
        if re.search(r"\{((kafka\.)?bootstrap|kafka|settings\.kafka|self\._address)\}", line)
        and "ClickHouse" not in line
    ]
    assert shown == []
