"""The client ids of a decoded frame, cut from its text when somebody asks: most of them nobody ever does."""

from collections.abc import Sequence
from typing import overload

import numpy as np
from numpy.typing import NDArray

__all__ = ["ClientIds"]


class ClientIds(Sequence[str]):
    """R ids that all begin with `prefix`; what follows stands one after another in `text`.

    Strings made at once would be a third of a frame's memory and of the time its decoding takes.
    """

    __slots__ = ("_ends", "lengths", "prefix", "text")

    def __init__(self, prefix: str, text: str, lengths: NDArray[np.int32]) -> None:
        """Of the ids without the prefix the `lengths` (R,), which add up to the text's."""
        self.prefix = prefix
        self.text = text
        self.lengths = lengths
        self._ends: list[int] | None = None

    def __len__(self) -> int:
        return len(self.lengths)

    @overload
    def __getitem__(self, place: int) -> str: ...
    @overload
    def __getitem__(self, place: slice) -> tuple[str, ...]: ...
    def __getitem__(self, place: int | slice) -> str | tuple[str, ...]:
        if isinstance(place, slice):
            return tuple(self[index] for index in range(*place.indices(len(self))))
        ends = self._ends
        if ends is None:
            ends = self._ends = [0, *np.cumsum(self.lengths).tolist()]
        if place < 0:
            place += len(self)
        if not 0 <= place < len(ends) - 1:
            raise IndexError(place)
        return self.prefix + self.text[ends[place] : ends[place + 1]]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and tuple(self) == tuple(other)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"ClientIds({tuple(self)!r})"
