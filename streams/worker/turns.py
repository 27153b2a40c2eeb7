"""Booking and receiving take turns: two threads of one interpreter that both compute take its lock from each other.

A thread that gives the lock up for a moment, as NumPy and the compiled passes do, gets it back five milliseconds
later where another computes; both then run on caches that the other has emptied. Measured on one core, a sixth of
the worker's time.
"""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

__all__ = ["Turns"]

LOOK_S: Final = 0.005
"""How often who must wait looks again; the event loop is free meanwhile, for heartbeats and fetches."""


class Turns:
    """Whose turn it is: booking goes first, for windows that are due are what somebody waits for."""

    def __init__(self) -> None:
        self._free = threading.Event()
        self._free.set()

    @contextmanager
    def booking(self) -> Iterator[None]:
        """Hold receiving back for the block: computing only, nothing that waits for another machine."""
        self._free.clear()
        try:
            yield
        finally:
            self._free.set()

    async def receiving(self) -> None:
        """Return as soon as nobody books."""
        while not self._free.is_set():
            await asyncio.sleep(LOOK_S)
