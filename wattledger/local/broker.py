"""A Kafka to work with: the user's own, else a container, else Apache Kafka itself as a child process."""

import logging
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Final

from schemas.errors import BrokerUnavailable
from schemas.kafka_address import servers_of
from wattledger.local.containers import docker_answers, kafka_container
from wattledger.local.kraft import Cluster, cluster
from wattledger.local.probe import answering_brokers

__all__ = ["Broker", "broker"]

ANSWER_TIMEOUT_S: Final = 5.0
"""How long a broker that should be there may take to answer, TLS handshake and a slow network included."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Broker:
    """A cluster that answers."""

    bootstrap: str
    """Its address, as schemas.kafka_address reads it."""
    kind: str
    """`given` (WATTLEDGER_KAFKA), `container` or `kraft` (child processes)."""
    start_s: float
    """Seconds until it answered, downloads included."""
    children: Cluster | None = None
    """The child processes, where kind is `kraft`: only these can be killed and restarted."""

    def kill(self, number: int) -> None:
        """End broker `number` (from 0) as a crash would; its data stays."""
        self._own().kill(number)

    def stop(self, number: int) -> None:
        """Shut broker `number` down in order."""
        self._own().stop(number)

    def restart(self, number: int) -> None:
        """Start broker `number` again on its data and port; returns when it answers."""
        self._own().restart(number)

    def _own(self) -> Cluster:
        if self.children is None:
            raise BrokerUnavailable(
                f"{servers_of(self.bootstrap)} is not ours to stop; ask for broker(address=None, docker=False)"
            )
        return self.children


@contextmanager
def broker(
    brokers: int = 1,
    *,
    address: str | None = None,
    docker: bool = True,
    env: Mapping[str, str] = os.environ,
) -> Iterator[Broker]:
    """A Kafka for the duration of the block; `brokers` is 1, or 3 with replication 3 and two in sync.

    address: the setting WATTLEDGER_KAFKA; used as it is if given, and never silently replaced.
    docker: whether a container may serve (never for three brokers).
    env: where PATH, JAVA_HOME and XDG_CACHE_HOME are read.

    Raises BrokerUnavailable, in one line, when the given address does not answer or nothing can be started.
    """
    began = time.monotonic()
    if address is not None:
        if not answering_brokers(address, timeout_s=ANSWER_TIMEOUT_S):
            raise BrokerUnavailable(
                f"no Kafka broker answered at {servers_of(address)} within {ANSWER_TIMEOUT_S:.0f} s "
                "(WATTLEDGER_KAFKA); start it, correct the address, or unset WATTLEDGER_KAFKA to run a local one"
            )
        yield Broker(address, "given", time.monotonic() - began)
        return
    with ExitStack() as stack:
        if docker and brokers == 1 and docker_answers(env):
            found = Broker(stack.enter_context(kafka_container()), "container", time.monotonic() - began)
        else:
            children = stack.enter_context(cluster(brokers, env=env))
            found = Broker(children.bootstrap, "kraft", time.monotonic() - began, children)
        log.info(
            "Kafka (%s) answers at %s after %.1f s", found.kind, servers_of(found.bootstrap), found.start_s
        )
        yield found
