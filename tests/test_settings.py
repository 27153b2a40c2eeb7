"""Settings: variables over the file over defaults, and errors that name what is wrong."""

from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

import pytest

from schemas.errors import ConfigurationError
from schemas.kafka_address import parse_address
from wattledger.settings import load


def test_without_anything_the_database_is_embedded_in_the_working_directory(tmp_path: Path) -> None:
    found = load({}, directory=tmp_path)
    assert found.clickhouse == f"chdb://{tmp_path}/.wattledger/clickhouse"
    assert found.kafka is None


def test_a_variable_overrides_the_file_and_the_file_the_default(tmp_path: Path) -> None:
    (tmp_path / "wattledger.toml").write_text('kafka = "file:1"\nclickhouse = "http://file"\n')
    found = load({"WATTLEDGER_KAFKA": "env:2"}, directory=tmp_path)
    assert (found.kafka, found.clickhouse) == ("env:2", "http://file")


def test_an_empty_variable_is_none(tmp_path: Path) -> None:
    assert load({"WATTLEDGER_KAFKA": " "}, directory=tmp_path).kafka is None


@pytest.mark.parametrize(
    ("text", "named"),
    [("kafak = 'x'", "'kafak'"), ("kafka = 9092", "kafka = 9092"), ("kafka = ", "is not TOML")],
)
def test_a_mistake_in_the_file_is_named_with_the_file(tmp_path: Path, text: str, named: str) -> None:
    (tmp_path / "own.toml").write_text(text)
    with pytest.raises(ConfigurationError, match=named) as refused:
        load({"WATTLEDGER_CONFIG": str(tmp_path / "own.toml")}, directory=tmp_path)
    assert "own.toml" in str(refused.value)


def test_a_file_that_was_named_must_exist(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="no such file"):
        load({"WATTLEDGER_CONFIG": str(tmp_path / "absent.toml")}, directory=tmp_path)
    with pytest.raises(ConfigurationError, match="set WATTLEDGER_KAFKA"):
        load({}, directory=tmp_path).require_kafka()


def test_user_and_certificates_come_from_settings_of_their_own(tmp_path: Path) -> None:
    """As a secret holds them: nothing is percent-encoded, and nothing of it is printed."""
    found = load(
        {
            "WATTLEDGER_KAFKA": "a:1,b:2",
            "WATTLEDGER_KAFKA_PROTOCOL": "sasl_ssl",
            "WATTLEDGER_KAFKA_MECHANISM": "SCRAM-SHA-512",
            "WATTLEDGER_KAFKA_USERNAME": "me",
            "WATTLEDGER_KAFKA_PASSWORD": "p@ss/w:rd?",
            "WATTLEDGER_KAFKA_CA": "/etc/kafka/ca.crt",
            "WATTLEDGER_CLICKHOUSE": "https://db:8443/ledger",
            "WATTLEDGER_CLICKHOUSE_USERNAME": "writer",
            "WATTLEDGER_CLICKHOUSE_PASSWORD": "s@me/?",
            "WATTLEDGER_CLICKHOUSE_CA": "/etc/db/ca.crt",
        },
        directory=tmp_path,
    )
    kafka = parse_address(found.require_kafka())
    assert (kafka.servers, kafka.username, kafka.password) == ("a:1,b:2", "me", "p@ss/w:rd?")
    parts = urlsplit(found.clickhouse)
    assert (unquote(parts.username or ""), unquote(parts.password or "")) == ("writer", "s@me/?")
    assert (parts.hostname, parts.port, parts.path) == ("db", 8443, "/ledger")
    assert parse_qs(parts.query) == {"ca_cert": ["/etc/db/ca.crt"]}


@pytest.mark.parametrize(
    ("variables", "named"),
    [
        ({"KAFKA": "ssl://a:1", "KAFKA_CA": "/ca"}, "WATTLEDGER_KAFKA_CA is set too"),
        ({"KAFKA": "a:1", "KAFKA_USERNAME": "me"}, "plaintext knows no user"),
        ({"CLICKHOUSE": "chdb:///d", "CLICKHOUSE_USERNAME": "me"}, "embedded database"),
        ({"CLICKHOUSE": "http://db:8123", "CLICKHOUSE_CA": "/ca"}, "not https"),
        (
            {"CLICKHOUSE": "https://db:8443", "CLICKHOUSE_PASSWORD": "x"},
            "needs WATTLEDGER_CLICKHOUSE_USERNAME",
        ),
    ],
)
def test_settings_that_contradict_each_other_are_refused(
    tmp_path: Path, variables: dict[str, str], named: str
) -> None:
    with pytest.raises(ConfigurationError, match=named):
        load({f"WATTLEDGER_{name}": value for name, value in variables.items()}, directory=tmp_path)
