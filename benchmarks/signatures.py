"""What signing and checking a message costs, beside decoding it: `python -m benchmarks.signatures`."""

import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from schemas.frames import decode_energy, decode_iterations, prepare
from schemas.signatures import new_signing_key, public_bytes, signer
from schemas.topics import ENERGY, ITERATIONS
from streams.trust import NodeKey, Registry

ROOT = Path(__file__).parent.parent
REPEATS = 15
AT_ONCE = 200
AT = b"prod/node-07/llama"


def each_us(work: Callable[[], object]) -> tuple[float, float, float]:
    """Median, least and most microseconds of one call, over REPEATS runs of AT_ONCE calls, in CPU time."""
    found = []
    for _ in range(REPEATS):
        begin = time.process_time()
        for _ in range(AT_ONCE):
            work()
        found.append((time.process_time() - begin) / AT_ONCE * 1e6)
    return statistics.median(found), min(found), max(found)


def main() -> None:
    """Print a table for docs/security.md."""
    prepare()
    with TemporaryDirectory() as folder:
        key = new_signing_key(Path(folder) / "node.pem")
    known = NodeKey("prod/node-07", public_bytes(key), 0, 2**62, ("prod/node-07/*",))
    registry, sign = Registry({known.key_id: known}), signer(key)
    print("| message | bytes | sign, µs | check, µs | decode, µs |\n|---|---|---|---|---|")
    for name, topic, decode in (
        ("iterations_decode", ITERATIONS, decode_iterations),
        ("energy_four_gpus", ENERGY, decode_energy),
    ):
        value = (ROOT / "schemas" / "examples" / "v1" / f"{name}.bin").read_bytes()
        headers = sign(topic, AT, value)
        figures = (
            each_us(partial(sign, topic, AT, value)),
            each_us(partial(registry.check, topic, AT, value, 1, headers)),
            each_us(partial(decode, value)),
        )
        cells = " | ".join(f"{median:.0f} [{least:.0f}, {most:.0f}]" for median, least, most in figures)
        print(f"| {name} | {len(value):,} | {cells} |")


if __name__ == "__main__":
    main()
