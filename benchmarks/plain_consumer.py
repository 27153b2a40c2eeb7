"""A plain confluent-kafka consumer that decodes frames and does nothing else: the floor of a worker."""

import json
import resource
import sys
import time
from collections.abc import Callable

from confluent_kafka import Consumer, TopicPartition

from schemas.frames import decode_energy, decode_iterations, prepare
from schemas.topics import ENERGY, ITERATIONS

DECODE: dict[str, Callable[[bytes], object]] = {ITERATIONS: decode_iterations, ENERGY: decode_energy}


def main(bootstrap: str, frames: int, positions: list[tuple[str, int, int]]) -> None:
    """Read `frames` frames from `positions` on; print CPU seconds and peak memory as JSON."""
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "plain", "enable.auto.commit": False})
    consumer.assign([TopicPartition(*position) for position in positions])
    prepare()
    before_s = time.process_time()
    left = frames
    while left > 0:
        for message in consumer.consume(500, timeout=10):
            topic, value = message.topic(), message.value()
            if topic is not None and value is not None and message.error() is None:
                DECODE[topic](value)
                left -= 1
    cpu_s = time.process_time() - before_s
    consumer.close()
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    json.dump({"cpu_s": cpu_s, "peak_mb": peak_mb}, sys.stdout)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), json.loads(sys.argv[3]))
