"""What would lose energy, receipts or a secret is refused before it is installed, with the value and the fix."""

import pytest

from tests.helm.charts import CHART, template

MINIMAL = CHART / "ci" / "minimal-values.yaml"
POLLER = "grid.pollers[0].name=x,grid.pollers[0].zones[0]=DE"
PRODUCTION = CHART / "ci" / "production-values.yaml"


@pytest.mark.parametrize(
    ("setting", "named"),
    [
        ("cluster=", "cluster is empty"),
        ("image.registry=", "image.registry is empty"),
        ("kafka.bootstrapServers=", "kafka.bootstrapServers is empty"),
        ("kafka.bootstrapServers=sasl_ssl://me:secret@kafka:9092", "must be host:port"),
        ("kafka.bootstrapServers=kafka", "must be host:port"),
        ("kafka.protocol=sasl_ssl", "no Secret with a user"),
        ("kafka.ca.existingSecret=ca", "reads no certificates"),
        ("kafka.topics.replication=1", "kafka.topics.replication is 1"),
        ("kafka.topics.partitions=1", "worker.replicas is 2 and there are 1 partitions"),
        ("clickhouse.url=", "say https://host:8443/database"),
        ("clickhouse.url=chdb:///data", "would live and die inside one pod"),
        ("clickhouse.url=https://me:secret@db:8443/x", "values are no place for secrets"),
        ("clickhouse.existingSecret=", "clickhouse.existingSecret is empty"),
        ("agent.spool.type=emptyDir", "would be lost with the pod"),
        ("agent.hostMeter=rapl", "agent.runAsRoot=true"),
        ("agent.extraEnv[0].name=WATTLEDGER_NODE", "which the chart sets"),
        ("worker.replicas=65", "worker.replicas is 65 and there are 64 partitions"),
        ("worker.terminationGracePeriodSeconds=65", "worst window lasts 65.5 s"),
        ("worker.windowSeconds=300", "worst window lasts 360.5 s"),
        ("worker.deadLetterRatio=1", "drain a topic"),
        ("api.signingKeysSecret=", "receipts that nobody can check"),
        ("api.baseUrl=", "api.baseUrl is empty"),
        ("api.ingress.enabled=true", "share one rate"),
        ("api.ingress.enabled=true,api.trustedProxies=10.0.0.0/8", "needs host and tlsSecret"),
        ("keda.enabled=true", "keda.prometheusAddress is empty"),
        (f"{POLLER},grid.pollers[0].source=entso-e", "wants a token"),
        (f"{POLLER},grid.pollers[0].source=csv", "name its ConfigMap"),
    ],
)
def test_a_dangerous_setting_is_refused(setting: str, named: str) -> None:
    done = template(MINIMAL, setting)
    assert done.returncode != 0
    assert named in done.stderr


@pytest.mark.parametrize(
    ("setting", "named"),
    [
        ("keda.maxReplicas=65", "keda.maxReplicas is 65 and there are 64 partitions"),
        ("keda.minReplicas=33", "keda.minReplicas 33 is above keda.maxReplicas 32"),
        ("worker.enabled=false", "nothing to scale"),
    ],
)
def test_a_dangerous_setting_of_a_large_installation_is_refused(setting: str, named: str) -> None:
    done = template(PRODUCTION, setting)
    assert done.returncode != 0
    assert named in done.stderr


@pytest.mark.parametrize(
    "setting",
    [
        "worker.replica=3",
        "kafka.acks=1",
        "kafka.password=secret",
        "clickhouse.password=secret",
        "agent.socket.mode=rw",
        "worker.method=fast",
        "logFormat=xml",
        "image.pullPolicy=Sometimes",
        "agent.image.digest=latest",
    ],
)
def test_what_the_chart_does_not_know_is_refused_by_the_schema(setting: str) -> None:
    done = template(MINIMAL, setting)
    assert done.returncode != 0
    assert "schema" in done.stderr


def test_a_loss_can_be_accepted_in_words() -> None:
    accepted = ("kafka.topics.replication=1", "kafka.topics.acceptSingleReplica=true")
    spool = ("agent.spool.type=emptyDir", "agent.spool.acceptLoss=true")
    assert template(MINIMAL, *accepted, *spool).returncode == 0


def test_the_defaults_alone_say_what_is_missing() -> None:
    done = template(CHART / "values.yaml")
    assert "cluster is empty" in done.stderr
