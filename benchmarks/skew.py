"""How unevenly engines fall on partitions and workers, and what the hottest costs: `python -m benchmarks.skew`.

Engines are keyed as producers key them (Kafka's murmur2 of the group id). Request-iterations per second of an
engine are drawn from a log-normal around the benchmark fleet's 3,200, with one of the heaviest ever measured; a
worker's load is the sum over its partitions of a per message and b per request-iteration (`benchmarks.scaling`).
"""

import argparse
from typing import Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

MESSAGES_PER_S: Final = 4.0
"""Two iteration and two energy frames a second."""
MEAN_ROWS_PER_S: Final = 3200.0
"""50 iterations of 64 requests."""
HOTTEST_ROWS_PER_S: Final = 33_000.0
"""DeepSeek-V3.1 on 8 x B200 at batch 3008, 11 iterations/s: the heaviest engine in the public measurements."""


def main() -> None:
    """Print one line per fleet."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--message-us", type=float, required=True, help="a, as benchmarks.scaling prints it")
    parser.add_argument("--row-ns", type=float, required=True, help="b")
    parser.add_argument("--gpus-per-engine", type=int, default=4)
    parser.add_argument(
        "--target", type=float, default=0.6, help="load of a worker's core that is planned (0.6)"
    )
    parser.add_argument("--draws", type=int, default=20)
    arguments = parser.parse_args()
    print(
        f"{'GPUs':>8}{'engines':>9}{'partitions':>12}{'workers':>9}{'mean core':>11}{'hottest partition':>19}"
        f"{'hottest worker':>16}{'hottest engine':>16}"
    )
    for gpus in (1_000, 10_000, 100_000):
        engines = gpus // arguments.gpus_per_engine
        mean_core = (
            engines * (MESSAGES_PER_S * arguments.message_us + MEAN_ROWS_PER_S * arguments.row_ns / 1e3) / 1e6
        )
        workers = max(1, int(np.ceil(mean_core / arguments.target)))
        for per_worker in (6, 24):
            found = np.array(
                [
                    _loads(
                        engines, workers * per_worker, workers, arguments.message_us, arguments.row_ns, seed
                    )
                    for seed in range(arguments.draws)
                ]
            ).max(axis=0)
            partition, worker, engine = found
            print(
                f"{gpus:>8,}{engines:>9,}{workers * per_worker:>12,}{workers:>9,}{mean_core / workers:>11.2f}"
                f"{partition:>19.2f}{worker:>16.2f}{engine:>16.3f}"
            )


def _loads(
    engines: int, partitions: int, workers: int, message_us: float, row_ns: float, seed: int
) -> tuple[float, float, float]:
    """Cores that the hottest partition, worker and engine take."""
    draw = np.random.default_rng(seed)
    rows_per_s = draw.lognormal(np.log(MEAN_ROWS_PER_S) - 0.32, 0.8, engines)
    rows_per_s[draw.integers(engines)] = HOTTEST_ROWS_PER_S
    cores = (MESSAGES_PER_S * message_us + rows_per_s * row_ns / 1e3) / 1e6
    keys = [f"cluster-{seed}/node-{i // 2:05d}/engine-{i:05d}".encode() for i in range(engines)]
    partition = np.array([(murmur2(key) & 0x7FFFFFFF) % partitions for key in keys])
    by_partition = np.bincount(partition, cores, partitions)
    # The assignor deals partitions out in order, the same number to each.
    by_worker = by_partition.reshape(workers, -1).sum(axis=1)
    return float(by_partition.max()), float(by_worker.max()), float(cores.max())


def murmur2(data: bytes) -> int:
    """Kafka's hash of a key (org.apache.kafka.common.utils.Utils.murmur2), unsigned."""
    mask, m = 0xFFFFFFFF, 0x5BD1E995
    length = len(data)
    h = (0x9747B28C ^ length) & mask
    whole = length & ~3
    for at in range(0, whole, 4):
        k = int.from_bytes(data[at : at + 4], "little") * m & mask
        k = (k ^ (k >> 24)) * m & mask
        h = (h * m & mask) ^ k
    if rest := data[whole:]:
        h = (h ^ int.from_bytes(rest, "little")) * m & mask
    h = (h ^ (h >> 13)) * m & mask
    return h ^ (h >> 15)


if __name__ == "__main__":
    main()
