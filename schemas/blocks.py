"""Packed Protobuf columns of a message, decoded together into blocks of equal-length columns."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from schemas.errors import MalformedMessage
from schemas.varints import MAX_VARINT_BYTES, decode_varints, unzigzag

__all__ = ["decode_blocks", "stack_columns", "undo_deltas"]

Int64s = NDArray[np.int64]


def decode_blocks(
    fields: Sequence[Sequence[str]], columns: Sequence[bytes], counts: Sequence[int]
) -> list[Int64s]:
    """One `(columns, count)` array per block; `columns` are the blocks' bytes, one block after another.

    Cost: one pass over all bytes. Raises MalformedMessage where a column does not hold its block's count of
    varints, naming it. The counts are the message's own, already bounded: no more than 9 values per row of
    MAX_ROWS get decoded, whatever the columns hold.
    """
    expected = [count for block, count in zip(fields, counts, strict=True) for _ in block]
    total = sum(expected)
    data = b"".join(columns)
    if not total <= len(data) <= MAX_VARINT_BYTES * total:
        raise MalformedMessage(f"columns: {len(data)} bytes for the {total} values that the counts state")
    try:
        values, ends = decode_varints(data)
    except ValueError as error:
        raise MalformedMessage(f"{_first_undecodable(fields, columns)}: {error}") from error
    begin = byte = 0
    for place, (count, column) in enumerate(zip(expected, columns, strict=True)):
        begin, byte = begin + count, byte + len(column)
        if begin > len(values) or (ends[begin - 1] != byte - 1 if begin else byte):
            names = [name for block in fields for name in block]
            raise MalformedMessage(f"{names[place]}: does not hold the {count} values that the counts state")
    if begin != len(values):
        raise MalformedMessage(f"columns: {len(values)} values, the counts state {total}")
    blocks, begin = [], 0
    for block, count in zip(fields, counts, strict=True):
        end = begin + len(block) * count
        blocks.append(values[begin:end].reshape(len(block), count))
        begin = end
    return blocks


def _first_undecodable(fields: Sequence[Sequence[str]], columns: Sequence[bytes]) -> str:
    names = (name for block in fields for name in block)
    for name, column in zip(names, columns, strict=True):
        try:
            decode_varints(column)
        except ValueError:
            return name
    return "columns"


def stack_columns(name: str, *columns: NDArray[np.integer[Any]] | Sequence[int]) -> Int64s:
    """Columns of integers as `(columns, n)`; raises MalformedMessage, naming `name`, for other kinds or lengths."""
    for column in columns:
        if isinstance(column, np.ndarray) and column.dtype.kind not in "iu":
            raise MalformedMessage(f"{name} columns: one is of {column.dtype}; all must be integers")
    try:
        return np.array(columns, np.int64)
    except ValueError as error:
        lengths = ", ".join(str(len(column)) for column in columns)
        raise MalformedMessage(f"{name} columns: lengths {lengths}; all must be equal") from error


def undo_deltas(deltas: Int64s, limit: int, fields: Sequence[str]) -> Int64s:
    """Columns `(columns, n)` of zigzag differences as running sums; each difference must be within ±limit.

    `limit * n` must be below 2^63.
    """
    bad = deltas > 2 * limit
    if np.count_nonzero(bad):
        column, place = (int(axis[0]) for axis in bad.nonzero())
        raise MalformedMessage(f"{fields[column]}[{place}]: differs from the one before by more than {limit}")
    return np.cumsum(unzigzag(deltas), axis=1)
