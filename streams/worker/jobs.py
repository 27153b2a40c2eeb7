"""Work beside the stream: jobs over what is durable already, one step at a time between two flushes.

A job is a function of the ledger and keeps nothing; a step that fails is put off, and a rebalance drops the rest.
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from schemas.errors import BrokerUnavailable, DatabaseUnavailable

__all__ = ["Job", "Jobs", "Scope"]

log = logging.getLogger(__name__)

_DONE: Final = object()
SOON_S: Final = 10.0
"""When a job that found nothing durable looks again."""


@dataclass(frozen=True, slots=True)
class Scope:
    """What a job of this worker looks at."""

    partitions: frozenset[int]
    durable_until_ns: int
    """Event time up to which every group with frames in memory is durable."""


@dataclass(frozen=True, slots=True)
class Job:
    """`steps` yields between steps, each short against a window; it runs on the ledger's thread."""

    name: str
    every_s: float
    steps: Callable[[Scope], Iterator[object]]


@dataclass(slots=True)
class Jobs:
    """When each job is due, and the one under way."""

    jobs: Sequence[Job]
    _due_s: dict[str, float] = field(default_factory=dict)
    _under_way: tuple[Job, Iterator[object]] | None = None

    def forget(self) -> None:
        """Drop what is under way: the partitions change."""
        self._under_way = None

    def is_due(self, now_s: float) -> bool:
        """Whether `step` has anything to do."""
        return self._under_way is not None or any(
            now_s >= self._due_s.get(job.name, 0.0) for job in self.jobs
        )

    def step(self, now_s: float, scope: Scope) -> None:
        """Run one step of the job under way, or of the first that is due; on the ledger's thread."""
        if self._under_way is None:
            job = next(job for job in self.jobs if now_s >= self._due_s.get(job.name, 0.0))
            # Nothing is durable yet: a worker that starts would put an hourly job off for an hour.
            self._due_s[job.name] = now_s + (
                job.every_s if scope.durable_until_ns else min(job.every_s, SOON_S)
            )
            self._under_way = (job, job.steps(scope))
        job, steps = self._under_way
        try:
            if next(steps, _DONE) is _DONE:
                self._under_way = None
        except (BrokerUnavailable, DatabaseUnavailable) as error:
            log.warning("%s put off for %.0f s: %s", job.name, job.every_s, error)
            self._under_way = None
