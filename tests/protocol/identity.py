"""Functions computed once for each object that they are given."""

from collections.abc import Callable
from typing import TypeVar

__all__ = ["by_identity"]

Thing = TypeVar("Thing")
Result = TypeVar("Result")

MOST = 30_000
"""Remembered at a time."""


def by_identity(compute: Callable[[Thing], Result]) -> Callable[[Thing], Result]:
    """`compute`, once for each object; it is kept, so that no other takes its identity."""
    known: dict[int, tuple[Thing, Result]] = {}

    def remembered(thing: Thing) -> Result:
        found = known.get(id(thing))
        if found is None:
            if len(known) >= MOST:
                known.clear()
            found = known[id(thing)] = (thing, compute(thing))
        return found[1]

    return remembered
