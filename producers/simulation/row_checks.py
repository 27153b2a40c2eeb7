"""Checks of one row of a trace, with errors that name file, line, column and remedy."""

from math import isfinite
from pathlib import Path
from typing import Any, Final

from producers.simulation.requests import MAX_TOKENS
from schemas.errors import DataError

__all__ = ["arrival_us", "token_count"]

MAX_ARRIVAL_US: Final = 10 * 366 * 86_400 * 1_000_000
"""Ten years after the first request: no trace is longer, so a later arrival is in another unit."""


def token_count(path: Path, line: int, column: str, value: Any) -> int:
    """A length as it was read: a whole number in 1..MAX_TOKENS."""
    whole = isinstance(value, int) and not isinstance(value, bool)
    if not whole or not 1 <= value <= MAX_TOKENS:
        raise DataError(
            f"{path}:{line}: column {column} is {value!r}; it must be a whole number between 1 and {MAX_TOKENS}. "
            "Correct or remove the row"
        )
    return int(value)


def arrival_us(path: Path, line: int, column: str, microseconds: float, before: list[int]) -> int:
    """An arrival, given those of the rows above it: finite, not earlier than they, within ten years."""
    number = isinstance(microseconds, int | float) and not isinstance(microseconds, bool)
    if not number or not isfinite(microseconds):
        raise DataError(
            f"{path}:{line}: column {column} is {microseconds!r}; it must be a finite number. "
            "Correct or remove the row"
        )
    time_us = round(microseconds)
    if before and time_us < before[-1]:
        raise DataError(
            f"{path}:{line}: column {column} is {(before[-1] - time_us) / 1e6:g} s earlier than in the row above; "
            "sort the file by time"
        )
    if before and time_us - before[0] > MAX_ARRIVAL_US:
        raise DataError(
            f"{path}:{line}: column {column} is {(time_us - before[0]) / 1e6:g} s after the first row; "
            "correct the unit or remove the row"
        )
    return time_us
