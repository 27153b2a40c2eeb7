"""Throw mutated frames at the decoders: `python -m tools.fuzz_frames --frames 1000000`.

Every input must be decoded to a frame that encodes again, or be refused as InvalidMessage; nothing else may
come out, no input may take longer than a second, and the process may not grow beyond its memory limit.
"""

import argparse
import collections
import contextlib
import multiprocessing
import resource
import signal
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from google.protobuf.message import Message

from schemas.envelope import ENERGY, ITERATIONS, pack, unpack
from schemas.errors import InvalidMessage
from schemas.frames import decode_energy, decode_iterations, encode_energy, encode_iterations
from schemas.proto import columns_v1_pb2

EXAMPLES = Path(__file__).resolve().parent.parent / "schemas" / "examples"
MEMORY_BYTES = 3 * 1024**3
"""Address space of one fuzzing process: libraries map most of 2 GiB, the largest frame decodes in 0.1 GiB."""
MESSAGES: dict[int, type[Message]] = {
    ITERATIONS: columns_v1_pb2.IterationFrame,
    ENERGY: columns_v1_pb2.EnergyFrame,
}
SLOWEST_S = 1.0
PROCESSES = 2

Mutation = Callable[[np.random.Generator, bytes, bytes], bytes]


@dataclass(slots=True)
class Tally:
    """What became of the inputs."""

    accepted: int = 0
    refused: collections.Counter[str] = field(default_factory=collections.Counter)
    slowest_s: float = 0.0

    def add(self, other: "Tally") -> None:
        """Take another process's counts in."""
        self.accepted += other.accepted
        self.refused += other.refused
        self.slowest_s = max(self.slowest_s, other.slowest_s)


def seeds() -> list[bytes]:
    """Messages to begin from: every recorded example."""
    return [path.read_bytes() for path in sorted(EXAMPLES.glob("v*/*.bin"))]


def mutants(rng: np.random.Generator, messages: list[bytes], count: int) -> Iterator[bytes]:
    """`count` messages that were valid once, mutated outside the compression, inside it, or field by field."""
    payloads = [(message[1], unpack(message[1], message)) for message in messages]
    for _ in range(count):
        mutate = MUTATIONS[rng.integers(len(MUTATIONS))]
        first, second = rng.integers(len(messages), size=2)
        kind, payload = payloads[first]
        depth = rng.integers(4)
        if depth == 0:
            yield mutate(rng, messages[first], messages[second])
        elif depth == 1:
            yield pack(kind, mutate(rng, payload, payloads[second][1]))
        else:
            yield pack(kind, _change_field(rng, kind, payload, mutate))


def judge(data: bytes, tally: Tally) -> None:
    """Decode one input as both kinds of frame; raises what a decoder must never raise."""
    begun = time.perf_counter()
    for kind in (ITERATIONS, ENERGY):
        try:
            if kind == ITERATIONS:
                encode_iterations(decode_iterations(data))
            else:
                encode_energy(decode_energy(data))
            tally.accepted += 1
        except InvalidMessage as error:
            tally.refused[f"{error.reason}: {str(error).partition(':')[0].partition('[')[0]}"] += 1
    tally.slowest_s = max(tally.slowest_s, time.perf_counter() - begun)


def _change_field(rng: np.random.Generator, kind: int, payload: bytes, mutate: Mutation) -> bytes:
    """One to three fields of a message: columns mutated as bytes, numbers replaced by neighbours or extremes."""
    message = MESSAGES[kind]()
    message.ParseFromString(payload)
    fields = [field for field in message.DESCRIPTOR.fields if not field.is_repeated]
    for place in rng.integers(len(fields), size=rng.integers(1, 4)):
        name = fields[place].name
        value = getattr(message, name)
        if isinstance(value, bytes):
            setattr(message, name, mutate(rng, value, payload))
        elif isinstance(value, int):
            number = int(
                rng.choice([value - 1, value + 1, value * 1000, 0, 1, 2**31, 2**32 - 1, 2**62, 2**63 - 1])
            )
            with contextlib.suppress(ValueError):
                setattr(message, name, number)
    return message.SerializeToString()


def _flip(rng: np.random.Generator, data: bytes, _: bytes) -> bytes:
    """One to eight bits."""
    changed = bytearray(data)
    for place in rng.integers(len(data), size=rng.integers(1, 9)) if data else ():
        changed[place] ^= 1 << int(rng.integers(8))
    return bytes(changed)


def _overwrite(rng: np.random.Generator, data: bytes, _: bytes) -> bytes:
    """A few bytes by ones that mean much in a varint: 0, 1, 127, 128, 255."""
    changed = bytearray(data)
    for place in rng.integers(len(data), size=rng.integers(1, 5)) if data else ():
        changed[place] = int(rng.choice([0, 1, 127, 128, 255]))
    return bytes(changed)


def _truncate(rng: np.random.Generator, data: bytes, _: bytes) -> bytes:
    return data[: rng.integers(len(data) + 1)]


def _splice(rng: np.random.Generator, data: bytes, other: bytes) -> bytes:
    """The beginning of one message and the end of another."""
    return data[: rng.integers(len(data) + 1)] + other[rng.integers(len(other) + 1) :]


def _repeat(rng: np.random.Generator, data: bytes, _: bytes) -> bytes:
    """A piece of the message up to a thousand times, 64 kB at most."""
    begin, end = sorted(rng.integers(len(data) + 1, size=2))
    return data[:end] + (data[begin:end] * int(rng.integers(1, 1000)))[:65_536] + data[end:]


def _random(rng: np.random.Generator, data: bytes, _: bytes) -> bytes:
    """Noise, often behind a true header."""
    return data[: rng.integers(8)] + rng.bytes(int(rng.integers(200)))


MUTATIONS: tuple[Mutation, ...] = (_flip, _flip, _overwrite, _overwrite, _truncate, _splice, _repeat, _random)


def fuzz(seed: int, count: int) -> Tally:
    """Judge `count` mutants drawn from `seed`."""
    for message in seeds():
        judge(message, Tally())  # loads the compiled decoder, which is not to count as a slow input
    tally = Tally()
    for data in mutants(np.random.default_rng(seed), seeds(), count):
        try:
            judge(data, tally)
        except BaseException:
            Path("fuzz-failure.bin").write_bytes(data)
            raise
    return tally


def _confined(seed: int, count: int) -> Tally:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    return fuzz(seed, count)


def main() -> int:
    """Fuzz in two processes and print what became of the inputs."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--frames", type=int, default=1_000_000, help="inputs in all (default 1000000)")
    parser.add_argument("--seed", type=int, default=0, help="the same seed gives the same inputs (default 0)")
    arguments = parser.parse_args()
    begun = time.perf_counter()
    shares = [arguments.frames // PROCESSES] * PROCESSES
    work = [(arguments.seed * PROCESSES + place, share) for place, share in enumerate(shares)]
    total = Tally()
    with multiprocessing.get_context("spawn").Pool(PROCESSES) as pool:
        for tally in pool.starmap(_confined, work):
            total.add(tally)
    print(f"{sum(shares)} inputs, each to both decoders, in {time.perf_counter() - begun:.0f} s")
    print(
        f"decoded {total.accepted}, refused {sum(total.refused.values())}, slowest {total.slowest_s * 1e3:.0f} ms"
    )
    for reason, times in total.refused.most_common(40):
        print(f"  {times:9d}  {reason}")
    return 0 if total.slowest_s < SLOWEST_S else 1


if __name__ == "__main__":
    sys.exit(main())
