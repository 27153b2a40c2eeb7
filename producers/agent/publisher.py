"""From the spool to Kafka: idempotent, in order, patient. A message leaves the spool when every replica has
it.

librdkafka keeps at most ON_THEIR_WAY messages; the rest waits on disk, so an hour without a broker costs disk
and no memory. After a fatal error, or a restart, what is not known to be delivered is sent again: frames
carry their identity, so that the worker takes each once.
"""

import logging
import time
from typing import Final

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from producers.agent.spool import DISK_FAILS, ON_THEIR_WAY, Spool, Waiting
from schemas.kafka_address import client_settings, servers_of
from schemas.signatures import Headers, Sign, unsigned

__all__ = ["Publisher"]

log: Final = logging.getLogger(__name__)

RESTART_S: Final = 5.0
TAKING_S: Final = 1.0
"""A broker that took something so lately takes more."""
REPEAT_S: Final = 60.0
"""Between two log lines about the same trouble."""


class Publisher:
    """Sends what the spool holds; `pump` never waits. One thread, the spool's."""

    def __init__(
        self, spool: Spool, bootstrap: str, extra: dict[str, str] | None = None, sign: Sign = unsigned
    ) -> None:
        self._spool = spool
        self._sign = sign
        self._bootstrap = servers_of(bootstrap)
        self._said_s = -REPEAT_S
        self._configuration: dict[str, object] = {
            **client_settings(bootstrap),
            "enable.idempotence": True,
            "acks": "all",
            # Java's partitioner: the worker's topics are co-partitioned with keys that others may produce.
            "partitioner": "murmur2_random",
            "compression.type": "none",  # frames are compressed already
            "linger.ms": 50,
            # Never give a message up: the spool decides what is lost, not a timer of the client.
            "message.timeout.ms": 0,
            "queue.buffering.max.messages": 2 * ON_THEIR_WAY,
            "client.id": "wattledger-agent",
            # An absent broker is said once a minute by us, not at every attempt by the client.
            "log_level": 2,
            "error_cb": self._on_error,
            "reconnect.backoff.max.ms": 10_000,
            **(extra or {}),
        }
        self._producer: Producer | None = None
        self._restart_at = 0.0
        self._took_s = -TAKING_S
        self._last_id = 0
        self._delivered: list[int] = []
        self._fatal = False
        self.in_flight = 0
        self.published = 0
        """Messages that Kafka has acknowledged."""

    def pump(self) -> bool:
        """Take delivery reports, forget what was delivered, hand over what comes next.

        Returns whether Kafka takes messages and more of them wait: then it is worth calling again soon.
        """
        producer = self._producer or self._start()
        if producer is None:
            return False
        self._forget()
        if self._fatal:
            self._restart()
            return False
        if self.in_flight < ON_THEIR_WAY and self._spool.messages > self.in_flight:
            waiting = self._spool.after(self._last_id, ON_THEIR_WAY - self.in_flight)
            # Signed as they leave: what waited on disk while the key was rotated bears the new one.
            signed = self._sign([(one.topic, one.key.encode(), one.value) for one in waiting])
            for message, headers in zip(waiting, signed, strict=True):
                if not self._send(producer, message, headers):
                    break
            producer.poll(0)
        behind = self._spool.messages - len(self._delivered) > self.in_flight
        return behind and time.monotonic() - self._took_s < TAKING_S

    def settled(self) -> list[int]:
        """Ids of messages that Kafka has since the last call: the caller deletes them from the spool."""
        if self._producer is not None:
            self._producer.poll(0)
        delivered, self._delivered = self._delivered, []
        if delivered:
            self.published += len(delivered)
            self._took_s = time.monotonic()
        return delivered

    def close(self, timeout_s: float) -> None:
        """Wait so long for what is in flight; the rest stays in the spool."""
        if self._producer is not None:
            self._producer.flush(timeout_s)
            self._forget()

    def _forget(self) -> None:
        """What Kafka has leaves the spool; later, where the disk takes nothing."""
        delivered = self.settled()
        try:
            self._spool.delete(delivered)
        except DISK_FAILS:
            self.published -= len(delivered)
            self._delivered = delivered + self._delivered

    def _send(self, producer: Producer, message: Waiting, headers: Headers) -> bool:
        def delivered(error: KafkaError | None, _: Message) -> None:
            self.in_flight -= 1
            if error is None:
                self._delivered.append(message.id)
            elif error.fatal() or not error.retriable():
                log.error("Kafka refused %s of %s: %s", message.topic, message.key, error.str())
                self._fatal = True

        try:
            key = message.key.encode()
            producer.produce(message.topic, message.value, key, headers=headers, on_delivery=delivered)
        except BufferError:
            return False
        self._last_id = message.id
        self.in_flight += 1
        return True

    def _on_error(self, error: KafkaError) -> None:
        now_s = time.monotonic()
        if now_s - self._said_s >= REPEAT_S:
            self._said_s = now_s
            log.warning(
                "Kafka at %s: %s; %d messages wait on disk, nothing is lost", self._bootstrap, error.str(),
                self._spool.messages,
            )  # fmt: skip

    def _start(self) -> Producer | None:
        if time.monotonic() < self._restart_at:
            return None
        try:
            self._producer = Producer(self._configuration, logger=log)
        except KafkaException as error:
            log.error("Kafka: %s; check WATTLEDGER_KAFKA", error)  # noqa: TRY400 - the trace tells nothing
            self._restart_at = time.monotonic() + RESTART_S
        return self._producer

    def _restart(self) -> None:
        """Begin anew with a producer that has no history, from the oldest message that may not be there."""
        assert self._producer is not None
        self._producer.purge()
        self._producer.flush(1.0)
        self._forget()
        self._producer = None
        self._fatal = False
        self.in_flight = 0
        self._last_id = 0
        self._restart_at = time.monotonic() + RESTART_S
