"""What each stage of the pipeline takes of an engine's second: `python -m benchmarks.stages`, in one process.

The frames are `fleet_load`'s, without broker and database: receive (decode, hold), window (close, forget), split
and book, rows (encode). What a worker takes beyond their sum is fetch, Faust, insert and jobs (`benchmarks.fleet`).
"""

import argparse
import gc
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import numpy as np

from benchmarks.fleet_load import MEAN_BATCH, Load, frames, known_side_inputs
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
WINDOW_S: Final = 5.0
ITERATIONS_PER_S: Final = 50.0
OF_WINDOWS: Final = ("window", "split and book", "rows")
"""Stages whose time is of the windows that closed; the others' is of all events."""


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--engines", type=int, default=20, help="20")
    parser.add_argument("--seconds", type=float, default=16.0, help="of event time (16)")
    parser.add_argument("--rounds", type=int, default=7, help="of which minimum and median are shown (7)")
    arguments = parser.parse_args()
    prepare_booking()
    gc.collect()
    gc.freeze()
    gc.set_threshold(GC_ALLOCATIONS)
    load = Load(arguments.engines, arguments.seconds, "stages")
    side, slots = known_side_inputs(load, ORIGIN_NS), list(_slots(load))
    rounds = [_round(load, side, slots) for _ in range(arguments.rounds)]
    print(f"{'':<24}{'µs per engine and second':>26}{'ns per request-iteration':>26}")
    for stage in (*rounds[0], "all"):
        spent = [sum(one.values()) if stage == "all" else one[stage] for one in rounds]
        least, middle = min(spent), float(np.median(spent))
        per_row = 1e3 / (ITERATIONS_PER_S * MEAN_BATCH)
        print(
            f"{stage:<24}{least:>17.0f} ({middle:>5.0f}){least * per_row:>18.1f} ({middle * per_row:>5.1f})"
        )


def _round(load: Load, side: SideInputs, slots: list[list[Message]]) -> dict[str, float]:
    """µs per engine and second by stage."""
    pipeline = Pipeline(WindowRules(), side, Frontier())
    spent_s: dict[str, float] = defaultdict(float)
    windows = 0
    for messages in slots:
        of_energy = [message for message in messages if message.topic == ENERGY]
        of_iterations = [message for message in messages if message.topic != ENERGY]
        for stage, received in (("receive energy", of_energy), ("receive iterations", of_iterations)):
            with _timed(spent_s, stage):
                for message in received:
                    pipeline.receive(message)
        while True:
            with _timed(spent_s, "window"):
                work = pipeline.take()
            if not work:
                break
            with _timed(spent_s, "split and book"):
                batches = [book(closed, side, SplitRules()) for closed in work.windows]
            with _timed(spent_s, "rows"):
                for table in (rows.ledger_table, rows.meter_table, rows.batch_table):
                    table(batches)
            with _timed(spent_s, "window"):
                pipeline.settle(work)
            windows += len(batches)
    return {
        stage: 1e6 * spent / (windows * WINDOW_S if stage in OF_WINDOWS else load.engines * load.seconds)
        for stage, spent in spent_s.items()
    }


@contextmanager
def _timed(spent_s: dict[str, float], stage: str) -> Iterator[None]:
    began = time.perf_counter()
    yield
    spent_s[stage] += time.perf_counter() - began


def _slots(load: Load) -> Iterator[list[Message]]:
    """By frame interval, every engine's messages as the log holds them."""
    for slot, (end_ns, messages) in enumerate(frames(load, ORIGIN_NS)):
        yield [
            Message(topic, 0, slot * load.engines + place // 2, end_ns, key, value)
            for place, (topic, key, value) in enumerate(messages)
        ]


if __name__ == "__main__":
    main()
