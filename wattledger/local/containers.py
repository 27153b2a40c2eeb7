"""Kafka in a container, where a Docker engine answers and testcontainers (development only) is there."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from schemas.errors import BrokerUnavailable

__all__ = ["docker_answers", "kafka_container"]

IMAGE: Final = "confluentinc/cp-kafka:7.9.1"
"""Kafka 3.9 in the layout that testcontainers' start script expects."""
SOCKET: Final = "/var/run/docker.sock"
"""Where an engine listens unless DOCKER_HOST names another place."""
ENGINE_TIMEOUT_S: Final = 2
"""A Docker client without an engine must cost no more than this."""


def docker_answers() -> bool:
    """Whether a Docker engine answers and testcontainers is installed; never raises, never waits long."""
    # docker-py leaves its socket open when nobody listens, so look before it tries.
    if "DOCKER_HOST" not in os.environ and not Path(SOCKET).exists():
        return False
    try:
        import docker
        import testcontainers.community.kafka  # noqa: F401
    except ImportError:
        return False
    try:
        client = docker.from_env(timeout=ENGINE_TIMEOUT_S)
    except docker.errors.DockerException:
        return False
    try:
        return bool(client.ping())
    except (docker.errors.DockerException, OSError):
        return False
    finally:
        client.close()


@contextmanager
def kafka_container() -> Iterator[str]:
    """Run one broker in a container for the duration of the block; yields its bootstrap address."""
    from testcontainers.community.kafka import KafkaContainer

    container = KafkaContainer(IMAGE).with_kraft()
    container.with_env("KAFKA_LOG_MESSAGE_TIMESTAMP_TYPE", "LogAppendTime")
    container.with_env("KAFKA_AUTO_CREATE_TOPICS_ENABLE", "false")
    try:
        container.start()
    except Exception as error:
        container.stop()
        raise BrokerUnavailable(
            f"Docker answers but {IMAGE} did not start ({type(error).__name__}: {error}); "
            "set WATTLEDGER_KAFKA=host:port to use a broker of your own"
        ) from error
    try:
        yield container.get_bootstrap_server()
    finally:
        container.stop()
