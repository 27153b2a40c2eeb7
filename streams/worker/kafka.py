"""What every Kafka client beside Faust's own consumer is told: say nothing, we do; and commit nothing."""

from typing import Any

from schemas.kafka_address import client_settings

__all__ = ["consumer_settings", "producer_settings"]


def producer_settings(bootstrap: str) -> dict[str, Any]:
    """Idempotent, acknowledged by every replica in sync, keys where Java and Faust put them."""
    return {
        **client_settings(bootstrap),
        "enable.idempotence": True,
        "acks": "all",
        "partitioner": "murmur2_random",
        "log_level": 0,
    }


def consumer_settings(bootstrap: str, group: str, **more: Any) -> dict[str, Any]:
    """A reader of stated offsets; the client demands a group's name, and its offsets are not ours to move."""
    return {
        **client_settings(bootstrap),
        "group.id": group,
        "enable.auto.commit": False,
        "log_level": 0,
        **more,
    }
