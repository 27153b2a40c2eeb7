"""An hour without Kafka, in a minute: the broker is killed, an hour of frames arrives, the broker returns.

    python -m tests.agent.outage      (or: make test-outage)

The agent, its socket, its spool and the broker are real; only the engines hurry: two of them send an hour of
half-second frames (25 iterations of 32 requests each) as fast as the agent takes them. Claims, each with a
figure: memory flat, every frame on the broker once and in order, byte for byte.
"""

import hashlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from confluent_kafka import Consumer, TopicPartition

from producers import wire
from producers.agent.spool import Spool
from producers.hooks.contract import Admission, EngineFacts, Entry, Step
from producers.hooks.spans import FrameHead, SpanRecorder
from schemas.frames import decode_iterations, encode_iterations
from schemas.topics import ITERATIONS
from tests.meters import nvml_stub
from wattledger.local.broker import Broker, broker
from wattledger.topics_admin import create_topics

ENGINES: Final = 2
FRAMES: Final = 7200
"""An hour of half seconds."""
REQUESTS: Final = 32
ITERATIONS_A_FRAME: Final = 25
FRAME_NS: Final = 500_000_000
UNACKNOWLEDGED: Final = 400
"""Frames that a hurrying engine has under way: its hook would keep far more."""
MOST_GROWTH_MB: Final = 16.0
"""Of the agent over the hour: SQLite's and librdkafka's own caches, and no frame (an hour is 40 MB)."""


class Engine:
    """An engine in a hurry: frames of event time that began an hour ago, over the real socket."""

    def __init__(self, index: int, path: Path) -> None:
        self.acknowledged = 0
        self.digest = hashlib.sha256()
        self.sent = 0
        self._recorder = SpanRecorder()
        self._keys = [f"{index}-{number}" for number in range(REQUESTS)]
        self._start_ns = (time.time_ns() - 3600 * 10**9) // 1000 * 1000
        self._stream = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._stream.connect(str(path))
        facts = EngineFacts(f"e{index}", "engine 1", "tiny", "bfloat16", (f"GPU-{index}",))
        hello = wire.Hello(wire.PROTOCOL, f"{self._start_ns}-{index}", self._start_ns, f"c/n/e{index}", facts)
        self._incarnation = hello.incarnation
        self._stream.sendall(wire.json_message(wire.Kind.HELLO, hello))
        self._welcome: wire.Welcome | None = None
        threading.Thread(target=self._hear, daemon=True).start()
        while self._welcome is None:
            time.sleep(0.01)

    def _hear(self) -> None:
        reader = wire.MessageReader()
        while data := self._stream.recv(65536):
            for kind, body in reader.feed(data):
                if kind is wire.Kind.WELCOME:
                    self._welcome = wire.read_json(wire.Welcome, body)
                elif kind is wire.Kind.ACK:
                    self.acknowledged = wire.read_ack(body)

    def send(self, count: int) -> None:
        """So many frames, each once there is room for it."""
        for _ in range(count):
            while self.sent - self.acknowledged >= UNACKNOWLEDGED:
                time.sleep(0.01)
            self._stream.sendall(wire.frame_message(self._frame()))
            self.sent += 1

    def _frame(self) -> wire.Frame:
        assert self._welcome is not None
        start_ns = self._start_ns + self.sent * FRAME_NS
        period_ns = FRAME_NS // ITERATIONS_A_FRAME
        batch = dict.fromkeys(self._keys, 1)
        entered = {} if self.sent else {key: Entry(0, Admission(key, "acme", 100)) for key in self._keys}
        for number in range(ITERATIONS_A_FRAME):
            at_ns = start_ns + number * period_ns
            new = entered if number == 0 else {}
            self._recorder.add(Step(at_ns, at_ns + period_ns, batch, REQUESTS, new), lambda _: "")
        end_ns = start_ns + FRAME_NS
        names = self._welcome
        head = FrameHead(
            names.group_id,
            names.engine_id,
            self._incarnation,
            self._start_ns,
            self.sent,
            start_ns,
            end_ns,
            end_ns,
        )
        payload = encode_iterations(self._recorder.build(head))
        self.digest.update(payload)
        return wire.Frame(self.sent, names.naming, payload)


def main() -> int:
    """Run it and print what was found; returns the exit status."""
    with broker(address=None, docker=False) as kafka, tempfile.TemporaryDirectory() as folder:
        create_topics(kafka.bootstrap, partitions=4)
        found = outage(kafka, Path(folder))
    print(json.dumps(found, indent=2))
    return 0 if found["held"] else 1


def outage(kafka: Broker, folder: Path) -> dict[str, object]:
    """The hour; every claim with its figure."""
    stub = nvml_stub.build(folder)
    stub.write(*[f"uuid=GPU-{index} power_w=300" for index in range(ENGINES)])
    environment = {**stub.environment(), "WATTLEDGER_KAFKA": kafka.bootstrap}
    command = [
        sys.executable, "-m", "wattledger", "agent", "--cluster", "c", "--node", "n", "--metrics-port", "0",
        "--host", "off", "--socket", str(folder / "agent.sock"), "--spool", str(folder / "spool.db"),
    ]  # fmt: skip
    agent = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
    try:
        while not (folder / "agent.sock").exists():
            time.sleep(0.05)
        engines = [Engine(index, folder / "agent.sock") for index in range(ENGINES)]
        run(engines, FRAMES // 20)
        kafka.kill(0)
        run(engines, FRAMES // 10)
        early_mb = rss_mb(agent.pid)
        began_s = time.monotonic()
        run(engines, FRAMES - FRAMES // 20 - FRAMES // 10)
        hour_s = time.monotonic() - began_s
        late_mb = rss_mb(agent.pid)
        waited = messages(folder)
        kafka.restart(0)
        began_s = time.monotonic()
        while messages(folder) > 20 and time.monotonic() - began_s < 300:
            time.sleep(0.5)
        drain_s = time.monotonic() - began_s
        drained_mb = rss_mb(agent.pid)
    finally:
        agent.send_signal(signal.SIGTERM)
        agent.wait(30)
    frames = taken(kafka.bootstrap)
    exact = all(
        [sequence for sequence, _ in frames[f"c/n/e{index}"]] == list(range(FRAMES))
        and digest(payload for _, payload in frames[f"c/n/e{index}"]) == engine.digest.hexdigest()
        for index, engine in enumerate(engines)
    )
    return {
        "frames_sent": ENGINES * FRAMES,
        "waited_on_disk_at_the_end": waited,
        "seconds_for_the_hour": round(hour_s, 1),
        "rss_mb_early_in_the_outage": round(early_mb, 1),
        "rss_mb_at_its_end": round(late_mb, 1),
        "rss_mb_once_published": round(drained_mb, 1),
        "seconds_to_publish_the_hour": round(drain_s, 1),
        "every_frame_once_in_order_byte_for_byte": exact,
        "held": exact and max(late_mb, drained_mb) - early_mb < MOST_GROWTH_MB,
    }


def run(engines: list[Engine], count: int) -> None:
    """So many frames of every engine, all of them on the agent's disk."""
    threads = [threading.Thread(target=engine.send, args=(count,)) for engine in engines]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    while any(engine.acknowledged < engine.sent for engine in engines):
        time.sleep(0.01)


def taken(bootstrap: str) -> dict[str, list[tuple[int, bytes]]]:
    """By engine: sequence and bytes of every iteration frame that Kafka holds, in its order."""
    found: dict[str, list[tuple[int, bytes]]] = {f"c/n/e{index}": [] for index in range(ENGINES)}
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "outage", "enable.partition.eof": True})
    for partition in consumer.list_topics(ITERATIONS, timeout=20).topics[ITERATIONS].partitions:
        consumer.assign([TopicPartition(ITERATIONS, partition, 0)])
        while (message := consumer.poll(20)) is not None and not message.error():
            payload = message.value() or b""
            frame = decode_iterations(payload)
            found[frame.engine_id].append((frame.sequence, payload))
    consumer.close()
    return found


def digest(payloads: Iterable[bytes]) -> str:
    """Of all payloads, one after another."""
    total = hashlib.sha256()
    for payload in payloads:
        total.update(payload)
    return total.hexdigest()


def messages(folder: Path) -> int:
    """What waits in the spool."""
    spool = Spool(folder / "spool.db", 1 << 40)
    count = spool.messages
    spool.close()
    return count


def rss_mb(pid: int) -> float:
    """Resident memory."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


if __name__ == "__main__":
    sys.exit(main())
