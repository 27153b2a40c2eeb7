"""`python -m tests.faults --faults N --seed S`: runs until N faults have happened, resumable, with a table."""

import json
import logging
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from tests.faults.plan import draw
from tests.faults.runs import Outcome, run, site

__all__ = ["main"]


@click.command()
@click.option(
    "--faults", default=240, show_default=True, help="Faults to reach, those of the journal included."
)
@click.option("--seed", default=1, show_default=True, help="Of the first run; the others follow.")
@click.option(
    "--journal",
    type=click.Path(dir_okay=False, path_type=Path),
    default=Path("tests-out/faults.jsonl"),
    show_default=True,
    help="One line per run; runs that it holds are not run again.",
)
@click.option("--keep", is_flag=True, help="Keep databases and logs of a run that broke something.")
def main(faults: int, seed: int, journal: Path, keep: bool) -> None:
    """Break things on purpose and show what it did to the books."""
    journal.parent.mkdir(parents=True, exist_ok=True)
    done = _read(journal)
    logging.disable(logging.WARNING)
    with _directory(keep=keep) as directory:
        click.echo(f"seed {seed}, logs in {directory}")
        with site(Path(directory)) as where:
            while sum(one["faults"] for one in done.values()) < faults:
                if seed not in done:
                    done[seed] = _line(run(where, draw(seed)))
                    with journal.open("a") as lines:
                        lines.write(json.dumps(done[seed]) + "\n")
                    click.echo(_said(done[seed]))
                seed += 1
    click.echo(table(list(done.values())))
    sys.exit(1 if any(one["broken"] for one in done.values()) else 0)


@contextmanager
def _directory(*, keep: bool) -> Iterator[str]:
    directory = tempfile.mkdtemp(prefix="wattledger-faults-")
    yield directory
    if not keep:
        shutil.rmtree(directory, ignore_errors=True)


def _read(journal: Path) -> dict[int, dict[str, Any]]:
    if not journal.exists():
        return {}
    return {one["seed"]: one for one in map(json.loads, journal.read_text().splitlines())}


def _line(outcome: Outcome) -> dict[str, Any]:
    plan, verdict = outcome.plan, outcome.verdict
    return {
        "seed": plan.seed,
        "faults": plan.size,
        "kinds": Counter([*(one.kind for one in plan.machines), *(one.kind for one in plan.messages)]),
        "destructive": plan.destructive,
        "lost_uj": verdict.lost_uj,
        "duplicated_uj": verdict.duplicated_uj,
        "moved_uj": verdict.moved_uj,
        "windows_hit": verdict.windows_hit,
        "worker_starts": outcome.worker_starts,
        "seconds": round(outcome.seconds, 1),
        "broken": list(verdict.broken),
    }


def _said(one: dict[str, Any]) -> str:
    verdict = "as undisturbed" if not one["destructive"] else f"{one['windows_hit']} windows hit"
    broken = "".join(f"\n    {what}" for what in one["broken"])
    return (
        f"run {one['seed']}: {one['faults']} faults, {one['worker_starts']} worker starts, "
        f"lost {one['lost_uj']} µJ, duplicated {one['duplicated_uj']} µJ, "
        f"{'BROKEN' if one['broken'] else verdict}, {one['seconds']} s{broken}"
    )


def table(done: list[dict[str, Any]]) -> str:
    """All runs together: every kind of fault, how often, and what was lost."""
    kinds: Counter[str] = Counter()
    for one in done:
        kinds.update(one["kinds"])
    width = max(map(len, (*kinds, "duplicated µJ")), default=20)
    lines = [f"{kind:<{width}} {count:>7}" for kind, count in sorted(kinds.items())]
    totals = {
        "faults": sum(kinds.values()),
        "runs": len(done),
        "runs that broke something": sum(bool(one["broken"]) for one in done),
        "lost µJ": sum(one["lost_uj"] for one in done),
        "duplicated µJ": sum(one["duplicated_uj"] for one in done),
        "moved to unobserved µJ": sum(one["moved_uj"] for one in done),
        "windows with destroyed frames": sum(one["windows_hit"] for one in done),
        "minutes": round(sum(one["seconds"] for one in done) / 60),
    }
    width = max(width, *map(len, totals))
    return "\n".join(
        [*lines, "-" * (width + 8), *(f"{name:<{width}} {value:>7}" for name, value in totals.items())]
    )


if __name__ == "__main__":
    main()
