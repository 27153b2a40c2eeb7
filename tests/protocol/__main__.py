"""`python -m tests.protocol --schedules N --seed S`: as many schedules as asked, on every core."""

import sys
import time
from collections.abc import Sequence
from multiprocessing import Pool, cpu_count

import click

from tests.protocol.memory import remembering
from tests.protocol.schedules import Failure, draw, failure_of, shrink, told

CHUNK = 250


def run_chunk(seeds: Sequence[int]) -> Failure | None:
    """The first failure among these seeds; every third schedule has frames later than any wait."""
    with remembering():
        for seed in seeds:
            failure = failure_of(draw(seed, late=seed % 3 == 0))
            if failure is not None:
                return shrink(failure)
    return None


@click.command()
@click.option("--schedules", default=100_000, show_default=True, help="How many to run.")
@click.option("--seed", default=0, show_default=True, help="Of the first; the others follow.")
@click.option("--processes", default=cpu_count(), show_default=True)
def main(schedules: int, seed: int, processes: int) -> None:
    """Run schedules of the commit protocol; the first that fails is shrunk and printed."""
    began = time.monotonic()
    chunks = [
        range(begin, min(begin + CHUNK, seed + schedules)) for begin in range(seed, seed + schedules, CHUNK)
    ]
    done = 0
    with Pool(processes) as pool:
        for chunk, failure in zip(chunks, pool.imap(run_chunk, chunks), strict=True):
            if failure is not None:
                click.echo(told(failure))
                sys.exit(1)
            done += len(chunk)
            if done % 10_000 == 0:
                click.echo(f"{done:,} schedules, {time.monotonic() - began:.0f} s")
    click.echo(
        f"{done:,} schedules from seed {seed} in {time.monotonic() - began:.0f} s: every store as undisturbed"
    )


if __name__ == "__main__":
    main()
