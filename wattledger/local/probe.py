"""Ask a Kafka cluster who it is: the only readiness check that means a client can work."""

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from schemas.kafka_address import client_settings

__all__ = ["answering_brokers"]


def answering_brokers(bootstrap: str, *, timeout_s: float) -> set[int]:
    """Ports of the brokers that the cluster at `bootstrap` knows; empty if none answers in `timeout_s`."""
    # librdkafka logs every refused connection to stderr; while a broker starts they are expected.
    admin = AdminClient({**client_settings(bootstrap), "log_level": 0, "reconnect.backoff.max.ms": 200})
    try:
        return {node.port for node in admin.list_topics(timeout=timeout_s).brokers.values()}
    except KafkaException:
        return set()
