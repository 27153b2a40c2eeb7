"""Reads a trace's CSV with errors that name file, line, column and remedy."""

import csv
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

from schemas.errors import DataError

_T = TypeVar("_T")

__all__ = ["read_rows", "real", "timestamp_us", "whole"]


def read_rows(path: Path, columns: tuple[str, ...]) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield (line, row) of a CSV file with at least `columns`; the header is line 1."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            missing = [name for name in columns if name not in (reader.fieldnames or ())]
            if missing:
                raise DataError(
                    f"{path}:1: column {', '.join(missing)} is missing; the header names "
                    f"{', '.join(reader.fieldnames or ()) or 'nothing'} and must name {', '.join(columns)}"
                )
            for row in reader:
                yield reader.line_num, row
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(
            f"{path}: cannot be read as CSV ({error}); give a UTF-8 CSV file with a header"
        ) from error


def whole(path: Path, line: int, row: dict[str, str], column: str) -> int:
    """The whole number in `column`."""
    return _parse(path, line, row, column, int, "a whole number")


def real(path: Path, line: int, row: dict[str, str], column: str) -> float:
    """The number in `column`."""
    return _parse(path, line, row, column, float, "a number")


def timestamp_us(path: Path, line: int, row: dict[str, str], column: str) -> int:
    """An ISO 8601 time as Unix microseconds: UTC where it names no zone, digits beyond microseconds cut."""
    return _parse(path, line, row, column, _iso_us, "a time such as 2023-11-16 18:17:03.979")


def _iso_us(text: str) -> int:
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    since = moment - datetime(1970, 1, 1, tzinfo=UTC)
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds


def _parse(
    path: Path, line: int, row: dict[str, str], column: str, convert: Callable[[str], _T], kind: str
) -> _T:
    text = row.get(column) or ""  # a row may be shorter than the header
    try:
        return convert(text)
    except ValueError as error:
        raise DataError(
            f"{path}:{line}: column {column} is {text!r}, not {kind}; correct or remove the row"
        ) from error
