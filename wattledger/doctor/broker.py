"""Whether the broker is there, and its topics as declared."""

from collections.abc import Collection, Iterator
from typing import Final

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from schemas.errors import BrokerUnavailable
from schemas.kafka_address import client_settings, servers_of
from wattledger.doctor.contract import Finding, failed, fine, warned
from wattledger.topics_admin import TopicState, check_topics

__all__ = ["broker_findings", "topic_findings"]

TIMEOUT_S: Final = 10.0
LEAST_REPLICAS: Final = 3
"""With two, an upgrade and one broken disk at the same time lose frames."""


def broker_findings(kafka: str) -> Iterator[Finding]:
    """Whether the broker answers."""
    servers = servers_of(kafka)
    try:
        found = AdminClient(client_settings(kafka) | {"log_level": 0}).list_topics(timeout=TIMEOUT_S)
    except KafkaException as error:
        yield failed(
            "broker",
            f"no answer from {servers}: {error.args[0].str()}",
            "start it, correct WATTLEDGER_KAFKA, or open the network to it; with TLS and SASL see "
            "WATTLEDGER_KAFKA_PROTOCOL, _USERNAME, _PASSWORD and _CA",
        )
        return
    yield fine("broker", f"{len(found.brokers)} brokers at {servers}")


def topic_findings(kafka: str, names: Collection[str] | None = None) -> Iterator[Finding]:
    """Every declared topic, or those of `names`, beside its declaration."""
    try:
        states = check_topics(kafka)
    except BrokerUnavailable as error:
        yield failed(
            "topics", str(error), "grant DESCRIBE and DESCRIBE_CONFIGS on wattledger.* (docs/security.md)"
        )
        return
    looked_at = [state for state in states if names is None or state.topic.name in names]
    for state in looked_at:
        yield from _topic(state)
    together = {state.topic.name: state.partitions for state in states if state.topic.co_partitioned}
    if len(set(together.values()) - {0}) > 1:
        yield failed(
            "co-partitioning",
            ", ".join(f"{name} has {count} partitions" for name, count in together.items()),
            "give all three the same number: docs/operations/partitions.md",
        )


def _topic(state: TopicState) -> Iterator[Finding]:
    name = f"topic {state.topic.name}"
    if not state.partitions:
        yield failed(name, "missing", "run `wattledger topics create`")
        return
    wrong = False
    for difference in state.differences:
        what, _, fix = difference.partition(": ")
        wrong = True
        yield failed(name, what, f"{fix} --entity-type topics --entity-name {state.topic.name}")
    if state.replication < LEAST_REPLICAS:
        wrong = True
        yield warned(
            name,
            f"replication {state.replication}: the loss of {state.replication} brokers loses frames",
            f"raise it to {LEAST_REPLICAS} with kafka-reassign-partitions.sh",
        )
    if not wrong:
        yield fine(name, f"{state.partitions} partitions × {state.replication}, settings as declared")
