"""The same bytes give the same frame, the same window the same batch: once is enough for 100,000 schedules."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cache

import pytest

import streams.pipeline
import streams.repair
from streams.batch import Batch
from streams.windows import ClosedWindow
from tests.protocol.store import Keyed, booked

__all__ = ["decoding_once"]


@contextmanager
def decoding_once() -> Iterator[None]:
    """Every frame decoded and every window booked is remembered, for the duration of the block."""
    with pytest.MonkeyPatch.context() as patched:
        for name in ("decode_iterations", "decode_energy"):
            patched.setattr(streams.pipeline, name, cache(getattr(streams.pipeline, name)))
        patched.setattr(streams.repair, "book", _book)
        yield


def _book(closed: ClosedWindow, *_: object, reason: str) -> Batch:
    return replace(booked(Keyed(closed))[0], reason=reason)
