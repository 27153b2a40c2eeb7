"""What signing and checking a message costs, beside decoding it: `python -m benchmarks.signatures`."""

import statistics
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from schemas.frames import decode_iterations, prepare
from schemas.signatures import Content, new_signing_key, public_bytes, signer
from schemas.topics import ITERATIONS
from streams.trust import NodeKey, Registry

FRAME = Path(__file__).parent.parent / "schemas" / "examples" / "v1" / "iterations_decode.bin"
REPEATS = 15
MESSAGES = 320
"""Of each run."""


def batches(value: bytes, run: int, size: int) -> list[list[Content]]:
    """MESSAGES different messages of one node, so many to a signature."""
    keys = [f"prod/node-07/{run}-{number}".encode() for number in range(MESSAGES)]
    return [[(ITERATIONS, key, value) for key in keys[n : n + size]] for n in range(0, MESSAGES, size)]


def spread(costs: Iterator[float]) -> str:
    """Median [least, most] of costs per run, in microseconds of CPU per message."""
    found = sorted(cost / MESSAGES * 1e6 for cost in costs)
    return f"{statistics.median(found):.0f} [{found[0]:.0f}, {found[-1]:.0f}]"


def main() -> None:
    """Print a table for docs/security.md."""
    prepare()
    with TemporaryDirectory() as folder:
        key = new_signing_key(Path(folder) / "node.pem")
    known = NodeKey("prod/node-07", public_bytes(key), 0, 2**62, ("prod/node-07/*",))
    registry, sign, value = Registry({known.key_id: known}), signer(key), FRAME.read_bytes()

    def signing(size: int) -> Iterator[float]:
        for run in range(REPEATS):
            begin = time.process_time()
            for batch in batches(value, run, size):
                sign(batch)
            yield time.process_time() - begin

    def checking(size: int) -> Iterator[float]:
        for run in range(REPEATS):
            sent = [
                (one, headers)
                for batch in batches(value, run, size)
                for one, headers in zip(batch, sign(batch), strict=True)
            ]
            begin = time.process_time()
            for (topic, at, content), headers in sent:
                registry.check(topic, at, content, 1, headers)
            yield time.process_time() - begin

    def decoding() -> Iterator[float]:
        for _ in range(REPEATS):
            begin = time.process_time()
            for _ in range(MESSAGES):
                decode_iterations(value)
            yield time.process_time() - begin

    print("| messages that leave together | sign, µs each | check, µs each |\n|---|---|---|")
    for size in (1, 2, 4, 16, 64):
        print(f"| {size} | {spread(signing(size))} | {spread(checking(size))} |")
    print(f"\ndecoding the same frame ({len(value)} bytes): {spread(decoding())} µs")


if __name__ == "__main__":
    main()
