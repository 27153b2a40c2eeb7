"""Publishes a simulated fleet to Kafka as node agents would: idempotent, every message acknowledged.

In real time an event is sent when its time has come; faster, event times lie in the past so that the replay
ends at now. Side inputs first, and every key on the partition that Java's partitioner gives it, because the
worker's topics are co-partitioned.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from producers.simulation.fleet import Fleet, FleetEvent, events
from schemas.energy import EnergyFrame
from schemas.errors import BrokerUnavailable
from schemas.frames import encode_energy, encode_iterations
from schemas.iterations import IterationFrame
from schemas.kafka_address import client_settings, servers_of
from schemas.side_input_codec import encode_engine, encode_load
from schemas.side_inputs import EngineDescriptor
from schemas.signatures import Headers, Sign, unsigned
from schemas.topics import ENERGY, ENGINES, ITERATIONS, LOADS

__all__ = ["Published", "encode_event", "origin_for", "publish"]

_BROKER_TIMEOUT_S = 10.0
"""A broker that does not answer in this time is reported, not waited for."""
_FLUSH_TIMEOUT_S = 60.0
_LEAST_SLEEP_S = 0.002


@dataclass(frozen=True, slots=True)
class Published:
    """What was sent, all of it acknowledged."""

    origin_ns: int
    """Event time of the scenario's start."""
    end_ns: int
    messages: int
    bytes: int
    elapsed_s: float


def origin_for(fleet: Fleet, speed: float, now_ns: int) -> int:
    """Event time of the scenario's start for a replay begun at `now_ns`; `speed` 0 is as fast as possible.

    On the frame grid in real time; else on the accounting window's grid, early enough that no event lies in
    the future when it is sent.
    """
    if speed == 1.0:
        return now_ns // 500_000_000 * 500_000_000
    length_ns = fleet.end_us * 1000
    spare_ns = round(length_ns / speed) if speed else 0
    window_ns = fleet.scenario.window_us * 1000
    return (now_ns + min(spare_ns, length_ns) - length_ns) // window_ns * window_ns


def encode_event(event: FleetEvent) -> tuple[str, bytes, bytes]:
    """(topic, key, value) of an event."""
    value = event.value
    if isinstance(value, IterationFrame):
        return ITERATIONS, event.group_id.encode(), encode_iterations(value)
    if isinstance(value, EnergyFrame):
        return ENERGY, event.group_id.encode(), encode_energy(value)
    if isinstance(value, EngineDescriptor):
        return ENGINES, value.engine_id.encode(), encode_engine(value)
    return LOADS, event.group_id.encode(), encode_load(value)


def publish(
    fleet: Fleet,
    bootstrap: str,
    *,
    speed: float = 1.0,
    origin_ns: int | None = None,
    progress: Callable[[float], None] | None = None,
    sign: Sign = unsigned,
) -> Published:
    """Send every event of `fleet`, paced to `speed` × real time (0: as fast as the broker takes them).

    `origin_ns` overrides the event time of the start; `progress` is told the part of event time that was
    sent; `sign` signs as an agent would. Returns when all is acknowledged. Raises BrokerUnavailable; what was
    sent until then stays sent.
    """
    begun_ns = time.time_ns()
    origin = origin_for(fleet, speed, begun_ns) if origin_ns is None else origin_ns
    failures: list[KafkaError] = []
    producer = _connect(bootstrap)

    def delivered(error: KafkaError | None, message: Message) -> None:
        del message
        if error is not None:
            failures.append(error)

    messages = size = 0
    told = 0.0
    for event in events(fleet, origin):
        done = (event.at_ns - origin) / (fleet.end_us * 1000)
        if progress is not None and done > told:
            progress(done)
            told = done
        if speed:
            _wait_until(producer, begun_ns + round((event.at_ns - origin) / speed))
        topic, key, value = encode_event(event)
        _produce(producer, topic, key, value, sign([(topic, key, value)])[0], delivered)
        if failures:
            raise _unavailable(bootstrap, failures[0])
        messages += 1
        size += len(value)
    left = producer.flush(_FLUSH_TIMEOUT_S)
    if failures:
        raise _unavailable(bootstrap, failures[0])
    if left:
        raise BrokerUnavailable(
            f"{left} messages were not acknowledged by {servers_of(bootstrap)} within {_FLUSH_TIMEOUT_S:.0f} s; "
            "check that the brokers are up and min.insync.replicas can be met"
        )
    return Published(
        origin_ns=origin,
        end_ns=origin + fleet.end_us * 1000,
        messages=messages,
        bytes=size,
        elapsed_s=(time.time_ns() - begun_ns) / 1e9,
    )


def _connect(bootstrap: str) -> Producer:
    """A producer whose broker has answered and has the topics."""
    producer = Producer(
        {
            **client_settings(bootstrap),
            "client.id": "wattledger-replay",
            "enable.idempotence": True,
            "acks": "all",
            # librdkafka's own default is CRC32: it would break co-partitioning with Java and Faust producers.
            "partitioner": "murmur2_random",
            "linger.ms": 20,
            "log_level": 0,
        }
    )
    try:
        found = producer.list_topics(timeout=_BROKER_TIMEOUT_S).topics
    except KafkaException as error:
        raise _unavailable(bootstrap, error.args[0]) from error
    missing = [topic for topic in (ITERATIONS, ENERGY, LOADS, ENGINES) if topic not in found]
    if missing:
        raise BrokerUnavailable(
            f"topic {', '.join(missing)} does not exist on {servers_of(bootstrap)}; create it with "
            "`wattledger topics create`"
        )
    return producer


def _wait_until(producer: Producer, at_ns: int) -> None:
    while (wait_s := (at_ns - time.time_ns()) / 1e9) > _LEAST_SLEEP_S:
        producer.poll(min(wait_s, 0.5))


def _produce(
    producer: Producer,
    topic: str,
    key: bytes,
    value: bytes,
    headers: Headers,
    delivered: Callable[[KafkaError | None, Message], None],
) -> None:
    """Queue one message, waiting while the local queue is full."""
    while True:
        try:
            producer.produce(topic, value, key, headers=headers, on_delivery=delivered)
        except BufferError:
            producer.poll(0.1)
        else:
            producer.poll(0)
            return


def _unavailable(bootstrap: str, error: KafkaError) -> BrokerUnavailable:
    return BrokerUnavailable(
        f"no Kafka broker took the replay at {servers_of(bootstrap)}: {error.str()}; "
        "check WATTLEDGER_KAFKA=host:port and that the broker is up"
    )
