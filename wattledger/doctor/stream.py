"""Whether frames arrive and the clocks agree. Listens to the live topics for a few seconds; sends nothing.

The broker's append time is the reference: it is what decides which window is late. A message that is received
as it is appended shows this machine's clock against it, and a frame's own end shows its node's.
"""

import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from confluent_kafka import Consumer, Message, TopicPartition

from schemas.errors import InvalidMessage
from schemas.frames import decode_energy, decode_iterations
from schemas.kafka_address import client_settings
from schemas.topics import ENERGY, ITERATIONS
from wattledger.doctor.contract import Finding, failed, fine, skipped, warned

__all__ = ["Heard", "clock_findings", "frame_findings", "listen"]

TIMEOUT_S: Final = 10.0
ENOUGH: Final = 20
"""Messages of each topic after which nothing new is learned."""
MOST: Final = 2000
"""Messages kept, where one topic is full and the other empty."""
CLOCK_TOLERANCE_S: Final = 0.5
"""The wait for frames out of order: a clock that is further off makes second revisions."""
SLOW_S: Final = 30.0
"""A frame is a second old when it arrives; older ones waited in a spool."""


@dataclass(slots=True)
class Heard:
    """What a few seconds of listening brought."""

    listened_s: float = 0.0
    messages: Counter[str] = field(default_factory=Counter)
    """By topic."""
    refused: list[str] = field(default_factory=list)
    """Why frames could not be read."""
    nodes: set[str] = field(default_factory=set)
    least_delay_s: float = float("inf")
    """Receipt by this machine's clock minus the broker's append time, at least."""
    lead_s: dict[str, float] = field(default_factory=dict)
    """By node: the end of its latest frame minus the broker's append time; above 0 it was sent from the future."""


def listen(kafka: str, seconds: float) -> Heard:
    """Receive what is appended to both frame topics from now on. Raises KafkaException."""
    consumer = Consumer(
        client_settings(kafka)
        | {"group.id": "wattledger-doctor", "enable.auto.commit": False, "log_level": 0}
    )
    heard = Heard()
    try:
        ends = []
        for topic in (ITERATIONS, ENERGY):
            for partition in consumer.list_topics(topic, timeout=TIMEOUT_S).topics[topic].partitions:
                asked = TopicPartition(topic, partition)
                ends.append(
                    TopicPartition(
                        topic, partition, consumer.get_watermark_offsets(asked, timeout=TIMEOUT_S)[1]
                    )
                )
        consumer.assign(ends)
        received: list[Message] = []
        begin_s = time.monotonic()
        while (passed_s := time.monotonic() - begin_s) < seconds:
            message = consumer.poll(min(0.2, seconds - passed_s))
            if message is not None and message.error() is None:
                _count(heard, message, time.time())
                received.append(message)
            if len(received) >= MOST or all(
                heard.messages[topic] >= ENOUGH for topic in (ITERATIONS, ENERGY)
            ):
                break
        heard.listened_s = time.monotonic() - begin_s
    finally:
        consumer.close()
    # Afterwards: the first decoded frame costs a second of loading, which would look like a slow clock.
    for message in received:
        _read(heard, message)
    return heard


def _count(heard: Heard, message: Message, now_s: float) -> None:
    topic = message.topic()
    assert topic is not None
    heard.messages[topic] += 1
    heard.least_delay_s = min(heard.least_delay_s, now_s - message.timestamp()[1] / 1000)


def _read(heard: Heard, message: Message) -> None:
    topic, value = message.topic(), message.value() or b""
    append_s = message.timestamp()[1] / 1000
    try:
        frame = decode_energy(value) if topic == ENERGY else decode_iterations(value)
    except InvalidMessage as error:
        heard.refused.append(str(error))
        return
    node = frame.group_id.rpartition("/")[0]
    heard.nodes.add(node)
    heard.lead_s[node] = frame.end_ns / 1e9 - append_s


def frame_findings(heard: Heard) -> Iterator[Finding]:
    """Whether both kinds of frames arrive and can be read."""
    fixes = {
        ENERGY: "start `wattledger agent` on the GPU nodes, and run `wattledger doctor --agent` there",
        ITERATIONS: "turn the hook on in the engines (docs/engines.md), and see whether their log says it is off",
    }
    for topic, fix in fixes.items():
        if heard.messages[topic]:
            rate = heard.messages[topic] / heard.listened_s
            yield fine(f"frames {topic}", f"{rate:.1f} a second from {len(heard.nodes)} nodes")
        else:
            yield failed(f"frames {topic}", f"none in {heard.listened_s:.0f} s", fix)
    if heard.refused:
        yield failed(
            "frames that can be read",
            f"{len(heard.refused)} of {heard.messages.total()} cannot: {heard.refused[0]}",
            "upgrade what is older, hook, agent or this program; `wattledger dead-letters list` has the rest",
        )


def clock_findings(heard: Heard) -> Iterator[Finding]:
    """This machine's clock and the nodes', against the broker's."""
    if not heard.messages.total():
        yield skipped("clocks", "no frame arrived to compare them by")
        return
    delay_s = heard.least_delay_s
    if delay_s < -CLOCK_TOLERANCE_S:
        yield failed("clock here", f"{-delay_s:.1f} s behind the broker's", "set it: chrony or ntpd")
    elif delay_s > CLOCK_TOLERANCE_S + 1.0:
        yield failed("clock here", f"{delay_s:.1f} s ahead of the broker's", "set it: chrony or ntpd")
    else:
        yield fine("clock here", f"agrees with the broker's within {CLOCK_TOLERANCE_S:.1f} s")
    ahead = {node: lead_s for node, lead_s in heard.lead_s.items() if lead_s > CLOCK_TOLERANCE_S}
    behind = {node: lead_s for node, lead_s in heard.lead_s.items() if lead_s < -SLOW_S}
    if ahead:
        worst = max(ahead, key=lambda node: ahead[node])
        yield failed(
            "clocks of the nodes",
            f"{len(ahead)} of {len(heard.lead_s)} are ahead of the broker's, {worst} by {ahead[worst]:.1f} s; "
            "frames more than 10 s ahead are refused",
            "set them: chrony or ntpd on those nodes",
        )
    if behind:
        worst = min(behind, key=lambda node: behind[node])
        yield warned(
            "clocks of the nodes",
            f"{len(behind)} of {len(heard.lead_s)} send frames that are older than {SLOW_S:.0f} s, {worst} by "
            f"{-behind[worst]:.0f} s",
            "set the clock, or wait until its spool is empty (wattledger_agent_spool_oldest_seconds)",
        )
    if heard.lead_s and not ahead and not behind:
        yield fine("clocks of the nodes", f"{len(heard.lead_s)} agree with the broker's")
