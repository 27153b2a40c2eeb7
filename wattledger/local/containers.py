"""Kafka in a container, where a Docker engine answers and testcontainers (development only) is there."""

import importlib.util
import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Final
from urllib.parse import urlsplit

from schemas.errors import BrokerUnavailable

__all__ = ["docker_answers", "kafka_container"]

IMAGE: Final = "confluentinc/cp-kafka:7.9.1"
"""Kafka 3.9 in the layout that testcontainers' start script expects."""
ENGINE_TIMEOUT_S: Final = 2.0
"""A Docker client without an engine must cost no more than this."""
DEFAULT_ENGINE: Final = "unix:///var/run/docker.sock"


def docker_answers(env: Mapping[str, str] = os.environ) -> bool:
    """Whether a Docker engine answers and testcontainers is installed; never raises, never waits long.

    Asked over the engine's own socket: Docker's Python client leaves sockets open when nobody answers.
    """
    if importlib.util.find_spec("testcontainers") is None:
        return False
    engine = urlsplit(env.get("DOCKER_HOST") or DEFAULT_ENGINE)
    if engine.scheme not in ("unix", "tcp"):
        return False
    family = socket.AF_UNIX if engine.scheme == "unix" else socket.AF_INET
    address = engine.path if engine.scheme == "unix" else (engine.hostname or "", engine.port or 2375)
    with socket.socket(family, socket.SOCK_STREAM) as connection:
        connection.settimeout(ENGINE_TIMEOUT_S)
        try:
            connection.connect(address)
            connection.sendall(b"GET /_ping HTTP/1.0\r\n\r\n")
            return b" 200 " in connection.recv(64)
        except OSError:
            return False


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
