"""What the node agent costs: 8 GPUs, 8 engines at 50 iterations/s with 64 requests each, against a real
Kafka.

    python -m benchmarks.agent [--seconds 60] [--speed 1]      (or: make bench-agent)

The agent runs as a process of its own on a stub libnvidia-ml.so.1 (the real binding above it), whose counters step
each at an instant of its own, which costs more wake-ups than steps at once; engines are fed by this process through
the agent's socket, as their hooks would. What a driver takes to answer is not in it. CPU time and memory are the
agent's alone, as the kernel accounts them. With --speed n every engine sends n times as many frames: an hour of
traffic in 3600/n seconds, for the memory.
"""

import argparse
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from producers import wire
from producers.hooks.contract import Admission, EngineFacts, Entry, Step
from producers.hooks.spans import FrameHead, SpanRecorder
from schemas.frames import encode_iterations

GPUS = 8
REQUESTS = 64
ITERATIONS = 25
FRAME_NS = 500_000_000
CHURN = 6
"""Requests replaced per frame: 64 in flight, each living about five seconds."""


WARM_S = 20
"""Not counted: imports, the first frames, and the time in which counters are learnt."""


class EngineFeed:
    """One engine's hook: frames made by the real recorder's spans, sent over the real socket."""

    def __init__(self, index: int, path: Path, speed: int) -> None:
        self.index = index
        self.frame_s = FRAME_NS / 1e9 / speed
        self._recorder = SpanRecorder()
        self._stream = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._stream.connect(str(path))
        self._keys = [f"{index}-{n}" for n in range(REQUESTS)]
        self._next = REQUESTS
        self._start_ns = time.time_ns() // 1000 * 1000
        facts = EngineFacts(f"engine-{index}", "vllm 0.32.0", "llama", "bfloat16", (f"GPU-{index}",))
        hello = wire.Hello(
            wire.PROTOCOL, f"{self._start_ns}-{index}", self._start_ns, f"c/n/engine-{index}", facts
        )
        self._stream.sendall(wire.json_message(wire.Kind.HELLO, hello))
        self._names = self._welcome()
        self._incarnation = hello.incarnation
        self.sent = 0

    def _welcome(self) -> wire.Welcome:
        reader = wire.MessageReader()
        while True:
            for kind, body in reader.feed(self._stream.recv(65536)):
                if kind is wire.Kind.WELCOME:
                    return wire.read_json(wire.Welcome, body)

    def send(self) -> None:
        """One frame of half a second of event time."""
        period_ns = FRAME_NS // ITERATIONS
        frame_ns = self._start_ns + self.sent * FRAME_NS
        finished: list[str] = []
        entered: dict[str, Entry] = {}
        if self.sent == 0:
            entered = {key: entry(key) for key in self._keys}
        else:
            finished, self._keys = self._keys[:CHURN], self._keys[CHURN:]
            fresh = [f"{self.index}-{self._next + n}" for n in range(CHURN)]
            self._next += CHURN
            self._keys += fresh
            entered = {key: entry(key) for key in fresh}
        batch = dict.fromkeys(self._keys, 1)
        for number in range(ITERATIONS):
            start_ns = frame_ns + number * period_ns
            self._recorder.add(
                Step(
                    start_ns, start_ns + period_ns, batch, REQUESTS,
                    entered if number == 0 else {}, finished if number == 0 else (),
                ),
                lambda _: "",
            )  # fmt: skip
        head = FrameHead(
            self._names.group_id, self._names.engine_id, self._incarnation, self._start_ns, self.sent, frame_ns,
            frame_ns + FRAME_NS, frame_ns + FRAME_NS,
        )  # fmt: skip
        payload = encode_iterations(self._recorder.build(head))
        self._stream.sendall(wire.frame_message(wire.Frame(self.sent, self._names.naming, payload)))
        self.sent += 1

    def drain(self) -> None:
        """Read acknowledgements and forget them."""
        while self._stream.recv(65536):
            pass


def entry(key: str) -> Entry:
    """A request of 500 prompt tokens."""
    return Entry(0, Admission(f"chatcmpl-{key:0>32}", f"tenant-{hash(key) % 20}", prompt_tokens=500))


def cpu_s(pid: int) -> float:
    """CPU seconds of a process's threads so far, in nanosecond steps (ticks of 10 ms would be mostly noise)."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9


def rss_mb(pid: int) -> float:
    """Resident memory."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def measure(kafka: str, seconds: float, speed: int) -> dict[str, object]:
    """Run the agent under load; returns the figures."""
    from tests.meters import nvml_stub

    folder = Path(tempfile.mkdtemp(prefix="wattledger-agent-bench-"))
    stub = nvml_stub.build(folder)
    stub.write(
        *[f"uuid=GPU-{index} power_w={300 + index} phase_ms={13 * index % 100}" for index in range(GPUS)]
    )
    path = folder / "agent.sock"
    environment = {
        **stub.environment(),
        "WATTLEDGER_KAFKA": kafka,
        "WATTLEDGER_SOCKET": str(path),
        "WATTLEDGER_SPOOL": str(folder / "spool.db"),
        "WATTLEDGER_METRICS_PORT": "0",
    }
    agent = subprocess.Popen([sys.executable, "-m", "wattledger", "agent"], env=environment)
    try:
        while not path.exists():
            if agent.poll() is not None:
                raise SystemExit(f"the agent ended with {agent.returncode}")
            time.sleep(0.05)
        feeds = [EngineFeed(index, path, speed) for index in range(GPUS)]
        for feed in feeds:
            threading.Thread(target=feed.drain, daemon=True).start()
        samples: list[float] = []
        begun = time.monotonic()
        warm: tuple[float, float] | None = None
        while time.monotonic() - begun < seconds + WARM_S:
            turn = time.monotonic()
            for feed in feeds:
                feed.send()
            if warm is None and turn - begun > WARM_S:
                warm = (turn, cpu_s(agent.pid))
            samples.append(rss_mb(agent.pid))
            time.sleep(max(0.0, feeds[0].frame_s - (time.monotonic() - turn)))
        assert warm is not None
        used = (cpu_s(agent.pid) - warm[1]) / (time.monotonic() - warm[0])
        event_s = feeds[0].sent * FRAME_NS / 1e9
    finally:
        agent.send_signal(signal.SIGTERM)
        agent.wait(30)
    tenth = max(1, len(samples) // 10)
    return {
        "gpus": GPUS,
        "iterations_per_s": GPUS * ITERATIONS * 1e9 / FRAME_NS * speed,
        "requests_per_iteration": REQUESTS,
        "seconds_of_traffic": event_s,
        "agent_cpu_percent_of_a_core": round(100 * used, 2),
        "rss_mb_second_tenth": round(sum(samples[tenth : 2 * tenth]) / tenth, 1),
        "rss_mb_last_tenth": round(sum(samples[-tenth:]) / tenth, 1),
    }


def main() -> None:
    """Run and print one JSON object."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--speed", type=int, default=1)
    arguments = parser.parse_args()
    from wattledger.local.broker import broker
    from wattledger.topics_admin import create_topics

    with broker(address=os.environ.get("WATTLEDGER_KAFKA")) as running:
        create_topics(running.bootstrap, partitions=4)
        print(json.dumps(measure(running.bootstrap, arguments.seconds, arguments.speed), indent=2))


if __name__ == "__main__":
    main()
