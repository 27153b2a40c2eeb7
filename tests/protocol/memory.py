"""The same bytes give the same frame, the same frames the same window and batch: once is enough.

Only functions whose result follows from what they are given are remembered. Frames and what holds them are made
once each, so that being the same object is being the same frame at the same place in the log.
"""

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from types import ModuleType
from typing import Any, TypeVar

import pytest

import streams.pipeline
import streams.repair
import streams.windows
from streams.batch import Batch
from streams.windows import ClosedWindow, Group
from tests.protocol.store import booked

__all__ = ["remembering"]

Thing = TypeVar("Thing")

MOST_WINDOWS = 30_000
"""Closed windows remembered at a time."""


@contextmanager
def remembering() -> Iterator[None]:
    """What was decoded, held, closed or booked is remembered, and used for the duration of the block."""
    with pytest.MonkeyPatch.context() as patched:
        for module, name, function in _memory():
            patched.setattr(module, name, function)
        yield


@cache
def _memory() -> tuple[tuple[ModuleType, str, Callable[..., Any]], ...]:
    """What remembers, and in whose place it stands: one memory for all blocks of a process."""
    decoders = ("decode_packed", "decode_energy", "decode_load")
    return (
        *((streams.pipeline, name, cache(getattr(streams.pipeline, name))) for name in decoders),
        (streams.pipeline, "Held", _once(streams.pipeline.Held)),
        (streams.windows, "close_window", _closing_once(streams.windows.close_window)),
        (streams.repair, "book", _book),
    )


def _once(make: Callable[[Any, int, int, int], Thing]) -> Callable[[Any, int, int, int], Thing]:
    """One held frame for each frame, offset and time of arrival."""
    known: dict[tuple[int, int, int], tuple[Any, Thing]] = {}

    def made(frame: Any, offset: int, arrival_ns: int, size: int = 0) -> Thing:
        found = known.get((id(frame), offset, arrival_ns))
        if found is None:
            found = known[id(frame), offset, arrival_ns] = (frame, make(frame, offset, arrival_ns, size))
        return found[1]

    return made


def _closing_once(close_window: Callable[..., ClosedWindow]) -> Callable[..., ClosedWindow]:
    """A window by its bounds and everything that its group holds; the frames held are kept by `_once`."""
    known: dict[Any, ClosedWindow] = {}

    def closed(group: Group, start_ns: int, end_ns: int, silent: Collection[str] = ()) -> ClosedWindow:
        held = tuple((engine, *map(id, frames)) for engine, frames in sorted(group.iterations.items()))
        key = (group.group_id, start_ns, end_ns, frozenset(silent), held, tuple(map(id, group.energy)))
        found = known.get(key)
        if found is None:
            if len(known) >= MOST_WINDOWS:
                known.clear()
            found = known[key] = close_window(group, start_ns, end_ns, silent)
        return found

    return closed


def _book(closed: ClosedWindow, *_: object, reason: str) -> Batch:
    return replace(booked(closed).batch, reason=reason)
