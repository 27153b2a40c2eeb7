"""A Kafka that asks for TLS and a login: every kind of client gets in, and nobody else."""

import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from producers.grid.publish import publisher
from schemas.errors import BrokerUnavailable
from schemas.kafka_address import KafkaAddress
from schemas.side_inputs import GridIntensity
from streams.ledger.client import connect
from streams.ledger.migrations import up
from tests.rig.certificates import Certificates, make_certificates
from wattledger.local.kraft import cluster
from wattledger.local.processes import free_ports
from wattledger.local.worker import worker
from wattledger.topics_admin import check_topics, create_topics

PASSWORD = "p@ss/w:rd?"
HOUR_NS = 3_600_000_000_000


@dataclass(frozen=True, slots=True)
class Secured:
    """One broker: a listener with TLS and SCRAM, and one that knows its clients by their certificates."""

    sasl: str
    mutual: str
    certificates: Certificates

    def login(self, password: str = PASSWORD) -> KafkaAddress:
        return KafkaAddress(
            self.sasl, "sasl_ssl", "SCRAM-SHA-512", "alice", password, ca=str(self.certificates.ca)
        )


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    made = make_certificates(tmp_path_factory.mktemp("certificates"))
    sasl, mutual = free_ports(2)
    listeners = {"SECURED": ("SASL_SSL", sasl), "MUTUAL": ("SSL", mutual)}
    secure = [f"{name}://127.0.0.1:{port}" for name, (_, port) in listeners.items()]
    properties = {
        "listeners": ",".join(
            ["PLAINTEXT://127.0.0.1:{port}", "CONTROLLER://127.0.0.1:{controller}", *secure]
        ),
        "advertised.listeners": ",".join(["PLAINTEXT://127.0.0.1:{port}", *secure]),
        "listener.security.protocol.map": ",".join(
            ["PLAINTEXT:PLAINTEXT", "CONTROLLER:PLAINTEXT"]
            + [f"{name}:{protocol}" for name, (protocol, _) in listeners.items()]
        ),
        "inter.broker.listener.name": "PLAINTEXT",
        "sasl.enabled.mechanisms": "SCRAM-SHA-512",
        "listener.name.secured.scram-sha-512.sasl.jaas.config": (
            "org.apache.kafka.common.security.scram.ScramLoginModule required;"
        ),
        "listener.name.mutual.ssl.client.auth": "required",
        "ssl.keystore.type": "PEM",
        "ssl.keystore.location": str(made.server),
        "ssl.truststore.type": "PEM",
        "ssl.truststore.location": str(made.ca),
    }
    user = f"SCRAM-SHA-512=[name=alice,password={PASSWORD}]"
    with cluster(properties=properties, format_arguments=["--add-scram", user]):
        found = Secured(f"127.0.0.1:{sasl}", f"127.0.0.1:{mutual}", made)
        create_topics(found.login().text(), partitions=2)
        yield found


@pytest.mark.kafka
def test_a_worker_logs_in_with_settings_as_a_secret_holds_them(
    secured: Secured, dsn: str, tmp_path: Path
) -> None:
    """Librdkafka for side inputs and offsets, Faust's own client for the group."""
    client = connect(dsn)
    up(client)
    client.close()
    env = {
        "WATTLEDGER_KAFKA_PROTOCOL": "sasl_ssl",
        "WATTLEDGER_KAFKA_MECHANISM": "SCRAM-SHA-512",
        "WATTLEDGER_KAFKA_USERNAME": "alice",
        "WATTLEDGER_KAFKA_PASSWORD": PASSWORD,
        "WATTLEDGER_KAFKA_CA": str(secured.certificates.ca),
    }
    log = tmp_path / "log"
    with worker(kafka=secured.sasl, clickhouse=dsn, log=log, env=env) as running:
        running.wait_until_ready()
        for probe in ("live", "ready"):
            with urllib.request.urlopen(f"http://127.0.0.1:{running.port}/{probe}", timeout=5) as answer:
                assert answer.read() == b"ok\n"
    assert PASSWORD not in log.read_text()


@pytest.mark.kafka
def test_a_client_is_known_by_its_certificate(secured: Secured) -> None:
    made = secured.certificates
    address = KafkaAddress(
        secured.mutual,
        "ssl",
        ca=str(made.ca),
        certificate=str(made.client_certificate),
        key=str(made.client_key),
    ).text()
    publisher(address)(
        [GridIntensity("DE", HOUR_NS, 2 * HOUR_NS, 300.0, "location", "test", estimated=False)]
    )
    assert all(state.partitions for state in check_topics(address))


@pytest.mark.kafka
def test_a_wrong_password_is_refused_and_never_shown(
    secured: Secured, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wattledger.topics_admin.TIMEOUT_S", 3.0)
    with pytest.raises(BrokerUnavailable, match="WATTLEDGER_KAFKA") as refused:
        check_topics(secured.login("wr@ng").text())
    assert "wr@ng" not in str(refused.value)
    assert "wr%40ng" not in str(refused.value)
