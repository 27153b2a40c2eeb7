"""The agents' side as a child process: `python -m tests.faults.agent PLAN BOOTSTRAP` sends what lies in its spool.

It remembers how far the brokers have acknowledged in a journal; killed at any instant and started again it sends
the rest, and what was on its way a second time.
"""

import pickle
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from confluent_kafka import KafkaError, Message, Producer

from tests.faults.traffic import Sending

__all__ = ["Spool"]


@dataclass(frozen=True, slots=True)
class Spool:
    """What is to be sent: `sendings` in order, each `speed` times as fast as its event time, from `begin_s` on."""

    sendings: tuple[Sending, ...]
    first_ns: int
    begin_s: float
    """Wall clock at which event time `first_ns` is sent."""
    speed: float


def main(path: Path, bootstrap: str) -> None:
    """Send everything; returns when the brokers have it."""
    spool: Spool = pickle.loads(path.read_bytes())
    journal = path.with_suffix(".acked")
    done = int(journal.read_text()) if journal.exists() else 0
    acknowledged: set[int] = set()
    producer = Producer(
        {
            "bootstrap.servers": bootstrap,
            "enable.idempotence": True,
            "acks": "all",
            "partitioner": "murmur2_random",
            "linger.ms": 5,
            "log_level": 0,
        }
    )

    def delivered(index: int, error: KafkaError | None, _: Message) -> None:
        assert error is None, error
        acknowledged.add(index)

    for index, sending in enumerate(spool.sendings[done:], done):
        due_s = spool.begin_s + (sending.at_ns - spool.first_ns) / 1e9 / spool.speed
        while (wait_s := due_s - time.time()) > 0:
            producer.poll(min(wait_s, 0.1))
            done = _journal(journal, done, acknowledged)
        producer.produce(
            sending.topic,
            sending.value,
            sending.key,
            on_delivery=lambda error, message, index=index: delivered(index, error, message),
        )
        producer.poll(0)
    while producer.flush(0.2):
        done = _journal(journal, done, acknowledged)
    _journal(journal, done, acknowledged)


def _journal(path: Path, done: int, acknowledged: set[int]) -> int:
    """Advance the journal over what is acknowledged without a hole."""
    reached = done
    while reached in acknowledged:
        acknowledged.remove(reached)
        reached += 1
    if reached > done:
        temporary = path.with_suffix(".new")
        temporary.write_text(str(reached))
        temporary.replace(path)
    return reached


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
