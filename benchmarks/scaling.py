"""`make bench-scaling`: what the pipeline's cost grows with, and what an engine takes of its memory.

Pure: bytes to Arrow rows in one process, no broker, no database. Cost is fitted as a per message + b per
request-iteration over batches of 8 to 512 for each attribution tier, then held against fleets of different sizes.
Memory is what one more engine adds while its window is open. Churn: engines that live for seconds, for a day.
"""

import argparse
import gc
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np

from benchmarks.fleet_load import KINDS, Kind, Load, frames, known_side_inputs
from producers.simulation.fleet import FRAME_US
from schemas.envelope import ENERGY as ENERGY_KIND
from schemas.envelope import ITERATIONS as ITERATIONS_KIND
from schemas.envelope import pack, unpack
from schemas.topics import ENERGY
from streams.booking import book
from streams.ledger import rows
from streams.pipeline import Frontier, Message, Pipeline
from streams.preparation import prepare_booking
from streams.side_inputs import SideInputs
from streams.split import SplitRules
from streams.windows import WindowRules
from streams.worker.run import GC_ALLOCATIONS

ORIGIN_NS: Final = 1_760_000_000_000_000_000
SECONDS: Final = 11.0
"""Two windows close; what lies behind them is their wait."""
NUMBER: Final = b"-00000"
"""In every id of the first engine; replaced by another's number, of the same length."""


@dataclass(frozen=True, slots=True)
class Cost:
    """CPU of one run."""

    messages: int
    request_iterations: int
    cpu_s: float


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--engines", type=int, nargs="*", default=[10, 100, 1000], help="fleets (10 100 1000)"
    )
    parser.add_argument("--repeats", type=int, default=3, help="of which the fastest counts")
    parser.add_argument(
        "--generations", type=int, default=100, help="of ten engines, in a day of churn (100)"
    )
    arguments = parser.parse_args()
    prepare_booking()
    # As a worker does.
    gc.collect()
    gc.freeze()
    gc.set_threshold(GC_ALLOCATIONS)
    # First of all: what later runs give back to the allocator would hide it.
    print(f"memory: {_memory_kb(500):.0f} kB an engine, its window open, mean batch 64\n")
    _run(KINDS, 20)
    _batches(arguments.repeats)
    _fleets(arguments.engines, arguments.repeats)
    _churn(arguments.generations)


def _batches(repeats: int) -> None:
    print(
        f"{'tier':<28}{'a, µs per message':>20}{'b, ns per request-iteration':>30}{'largest deviation':>20}"
    )
    dense, experts, _ = KINDS
    plain = replace(dense, coefficients=tuple(c for c in dense.coefficients if c[0] != "excess_token_j"))
    for name, kind in (("linear terms", plain), ("token knee (hinge)", dense), ("experts", experts)):
        costs = [
            min((_run((replace(kind, batch=batch, of_twenty=1),), 10) for _ in range(repeats)), key=_cpu_s)
            for batch in (8, 32, 128, 512)
        ]
        work = np.array([[one.messages, one.request_iterations] for one in costs], float)
        spent = np.array([one.cpu_s for one in costs])
        # Relative errors count alike: divided by what was measured.
        (a, b), *_ = np.linalg.lstsq(work / spent[:, None], np.ones(len(costs)), rcond=None)
        worst = float(np.max(np.abs(work @ [a, b] / spent - 1.0)))
        print(f"{name:<28}{a * 1e6:>20.0f}{b * 1e9:>30.0f}{worst:>19.0%}")


def _fleets(sizes: list[int], repeats: int) -> None:
    print(
        f"\n{'engines':>8}{'µs per message':>18}{'ns per request-iteration':>28}{'ms per engine-second':>24}"
    )
    for engines in sizes:
        one = min((_run(KINDS, engines) for _ in range(repeats if engines < 5000 else 1)), key=_cpu_s)
        print(
            f"{engines:>8}{one.cpu_s / one.messages * 1e6:>18.0f}"
            f"{one.cpu_s / one.request_iterations * 1e9:>28.0f}{one.cpu_s / engines / SECONDS * 1e3:>24.2f}"
        )


def _cpu_s(cost: Cost) -> float:
    return cost.cpu_s


def _run(kinds: tuple[Kind, ...], engines: int) -> Cost:
    """The pipeline's CPU over SECONDS of `engines` engines; making the messages is not counted."""
    load = Load(engines, SECONDS, "scale", kinds)
    side = _renumbered_side(load)
    pipeline = Pipeline(WindowRules(), side, Frontier())
    spent = 0.0
    count = 0
    for messages in _renumbered(load):
        begun = time.process_time()
        for message in messages:
            pipeline.receive(message)
        _flush(pipeline, side)
        spent += time.process_time() - begun
        count += len(messages)
    return Cost(count, load.request_iterations, spent)


def _flush(pipeline: Pipeline, side: SideInputs) -> int:
    """Book and settle what is due; the windows."""
    windows = 0
    while work := pipeline.take():
        batches = [book(closed, side, SplitRules()) for closed in work.windows]
        rows.ledger_table(batches)
        rows.meter_table(batches)
        rows.batch_table(batches)
        pipeline.settle(work)
        windows += len(batches)
    return windows


def _renumbered(load: Load) -> Iterator[list[Message]]:
    """By frame interval, every engine's messages, made from one engine's of each kind by its number alone."""
    drawn = [frames(Load(1, load.seconds, load.cluster, (kind,)), ORIGIN_NS) for kind in load.kinds]
    offset = 0
    for slots in zip(*drawn, strict=True):
        arrival_ns = slots[0][0]
        found = []
        payloads = [
            [
                (topic, unpack(ENERGY_KIND if topic == ENERGY else ITERATIONS_KIND, value))
                for topic, _, value in messages
            ]
            for _, messages in slots
        ]
        for engine in range(load.engines):
            number = f"-{engine:05d}".encode()
            key = f"{load.cluster}/node-00000/engine-00000".encode().replace(NUMBER, number)
            for topic, payload in payloads[load.kind_of(engine)]:
                kind = ENERGY_KIND if topic == ENERGY else ITERATIONS_KIND
                value = pack(kind, payload.replace(NUMBER, number))
                found.append(Message(topic, 0, offset + engine, arrival_ns, key, value))
        offset += load.engines
        yield found


def _memory_kb(engines: int) -> float:
    """What resident memory grows by, per engine, from the first frame to just before the window closes."""
    load = Load(engines, SECONDS, "memory")
    pipeline = Pipeline(WindowRules(), _renumbered_side(load), Frontier())
    before = _resident_kb()
    for slot, messages in enumerate(_renumbered(load)):
        for message in messages:
            pipeline.receive(message)
        if (slot + 1) * FRAME_US >= 5_500_000:
            break
    return (_resident_kb() - before) / engines


def _renumbered_side(load: Load) -> SideInputs:
    """Descriptors under the names that `_renumbered` gives."""
    side = known_side_inputs(load, ORIGIN_NS)
    for engine in range(load.engines):
        name = f"{load.cluster}/node-{engine:05d}/engine-{engine:05d}"
        known = side.engine(load.engine_id(engine), ORIGIN_NS)
        assert known is not None
        side.add_engine(replace(known, engine_id=name, group_id=name))
    return side


def _resident_kb() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4.0


def _churn(generations: int) -> None:
    """Engines under new names all day, each alive for seven seconds: what is left of them."""
    gap_ns = 86_400_000_000_000 // generations
    side, pipeline = SideInputs(), None
    held: list[tuple[int, int]] = []
    offset = windows = 0
    for generation in range(generations):
        origin_ns = ORIGIN_NS + generation * gap_ns // 5_000_000_000 * 5_000_000_000
        load = Load(10, 7.0, f"churn-{generation:04d}")
        fresh = known_side_inputs(load, origin_ns)
        side.engines.update(fresh.engines)
        side.models.update(fresh.models)
        if pipeline is None:
            pipeline = Pipeline(WindowRules(), side, Frontier())
        for end_ns, messages in frames(load, origin_ns):
            for place, (topic, key, value) in enumerate(messages):
                pipeline.receive(Message(topic, 0, offset + place // 2, end_ns, key, value))
            offset += len(messages) // 2
        windows += _flush(pipeline, side)
        held.append((len(pipeline.groups), pipeline.held_bytes))
    late = held[len(held) // 2 :]
    print(
        f"churn: {generations * 10} engines in a day, {windows} windows; in memory at most "
        f"{max(groups for groups, _ in late)} engines and {max(size for _, size in late) / 1e3:.0f} kB of frames, "
        f"at the end {held[-1][0]} and {held[-1][1] / 1e3:.0f} kB"
    )


if __name__ == "__main__":
    main()
