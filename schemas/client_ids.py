"""The client ids of a decoded frame, cut from its text when somebody asks: most of them nobody ever does."""

from collections.abc import Sequence
from itertools import chain
from typing import overload

import numpy as np
from numpy.typing import NDArray

__all__ = ["ClientIds", "client_ids_at"]


class ClientIds(Sequence[str]):
    """R ids that all begin with `prefix`; what follows stands one after another in `text`.

    A window of ten frames names each of its requests ten times and needs each once: strings made at once are a
    third of a frame's memory and of the time its decoding takes.
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


def client_ids_at(
    ids: Sequence[Sequence[str]], places: NDArray[np.int64], owners: NDArray[np.int64]
) -> list[str]:
    """The ids at `places` (R,) of all frames' ids one after another; owners (R,): which frame's each is."""
    decoded = [one for one in ids if isinstance(one, ClientIds)]
    if len(decoded) != len(ids):
        every = [*chain.from_iterable(ids)]
        return [every[place] for place in places.tolist()]
    lengths = np.concatenate([one.lengths for one in decoded])
    ends = np.cumsum(lengths)[places]
    begins = ends - lengths[places]
    text = "".join([one.text for one in decoded])
    prefixes = [one.prefix for one in decoded]
    cuts = zip(owners.tolist(), begins.tolist(), ends.tolist(), strict=True)
    return [prefixes[owner] + text[begin:end] for owner, begin, end in cuts]
