"""The same bytes decode to the same frame: once is enough for a hundred thousand schedules."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import pytest

import streams.pipeline

__all__ = ["decoding_once"]


@contextmanager
def decoding_once() -> Iterator[None]:
    """The pipeline remembers every frame it has decoded, for the duration of the block."""
    with pytest.MonkeyPatch.context() as patched:
        for name in ("decode_iterations", "decode_energy"):
            patched.setattr(streams.pipeline, name, cache(getattr(streams.pipeline, name)))
        yield
