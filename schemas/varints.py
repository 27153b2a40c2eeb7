"""Protobuf varints to arrays: all packed columns of a message decoded in one pass, in O(bytes)."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

__all__ = ["MAX_VARINT_BYTES", "decode_varints", "unzigzag"]

MAX_VARINT_BYTES: Final = 8
"""Values of up to 56 bits, so that a varint fits one 64-bit word; no column needs more."""

_WORD = np.uint64
_MASKS: Final = np.array([(1 << (8 * n)) - 1 for n in range(MAX_VARINT_BYTES + 1)], _WORD)
"""By length: keeps a varint's own bytes of the word that begins with it."""

_FOLDS: Final = (
    # (done where a varint has more bytes than this, keep, move, by): joins neighbours of 7, 14, 28 bits.
    (1, _WORD(0x007F_007F_007F_007F), _WORD(0x7F00_7F00_7F00_7F00), _WORD(1)),
    (2, _WORD(0x0000_3FFF_0000_3FFF), _WORD(0x3FFF_0000_3FFF_0000), _WORD(2)),
    (4, _WORD(0x0000_0000_0FFF_FFFF), _WORD(0x0FFF_FFFF_0000_0000), _WORD(4)),
)


def decode_varints(data: bytes) -> tuple[NDArray[np.int64], NDArray[np.intp]]:
    """Values `(n,)` of all varints in `data`, and the position of each one's last byte `(n,)`.

    Raises ValueError for a varint of more than MAX_VARINT_BYTES, and for bytes that end inside one. Allocates
    some 40 bytes per byte of `data` at most.
    """
    size = len(data)
    padded = data + bytes(MAX_VARINT_BYTES)
    ends = (np.frombuffer(padded, np.uint8, size) < 0x80).nonzero()[0]
    if size and (not ends.size or ends[-1] != size - 1):
        raise ValueError("ends inside a varint")
    if not ends.size:
        return np.empty(0, np.int64), ends
    starts = np.empty_like(ends)
    starts[0] = 0
    np.add(ends[:-1], 1, out=starts[1:])
    lengths = ends - starts
    lengths += 1
    longest = int(np.maximum.reduce(lengths))
    if longest > MAX_VARINT_BYTES:
        raise ValueError(f"a varint of {longest} bytes, at most {MAX_VARINT_BYTES} are allowed")
    words = np.ndarray((size + 1,), "<u8", padded, strides=(1,))[starts]
    words &= _MASKS[lengths]
    words &= _WORD(0x7F7F_7F7F_7F7F_7F7F)
    for length, keep, move, by in _FOLDS:
        if longest > length:
            high = words & move
            words &= keep
            high >>= by
            words |= high
    return words.view(np.int64), ends


def unzigzag(values: NDArray[np.int64]) -> NDArray[np.int64]:
    """Signed numbers of Protobuf's zigzag form: 0, 1, 2, 3 become 0, -1, 1, -2."""
    return (values >> 1) ^ -(values & 1)
