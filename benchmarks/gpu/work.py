"""The contract between measuring and running: an engine prepares a cell, its work is queued and looked at."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from benchmarks.gpu.cells import Cell

__all__ = ["Ceiling", "Engine", "Work"]


@dataclass(frozen=True, slots=True)
class Ceiling:
    """What the device can do at best, as measured."""

    name: str
    value: float
    unit: str
    about: str


class Work(Protocol):
    """One cell, ready to be repeated; used by one thread."""

    def submit(self, iterations: int) -> None:
        """Queue a burst of identical iterations behind what is queued; may return before they ran."""
        ...

    def finished(self) -> int:
        """Bursts that are done, without waiting."""
        ...

    def seconds(self, first: int, last: int) -> float:
        """Device time from the end of burst `first` to the end of burst `last`, both finished, counted from 0."""
        ...

    def drain(self) -> None:
        """Wait until nothing is queued."""
        ...


class Engine(Protocol):
    """A device with models loaded."""

    def kv_tokens(self, model: str) -> int:
        """Tokens that the cache holds for a model; a cell that needs more does not fit."""
        ...

    def prepare(self, cell: Cell) -> Work:
        """Make a cell's iteration ready; the work prepared before it is no longer valid."""
        ...

    def ceilings(self) -> Sequence[Ceiling]:
        """Memory bandwidth and matrix rate, a few seconds each."""
        ...

    def environment(self) -> Mapping[str, Any]:
        """Software versions and choices that a reader of the data needs."""
        ...
