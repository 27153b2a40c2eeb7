"""Names derived from content: the same events give the same batch id and seed on every worker, for ever."""

import hashlib
import struct
from collections.abc import Sequence
from typing import Final

__all__ = ["batch_id", "inputs_digest", "seed"]


def batch_id(group_id: str, incarnations: Sequence[str], start_ns: int, end_ns: int) -> str:
    """32 hexadecimal digits for one group's window `[start_ns, end_ns)`, whatever the incarnations' order.

    BLAKE2b-128 over the fields, each text after its length: no two different inputs are hashed alike.
    """
    names = sorted(incarnations)
    digest = hashlib.blake2b(_text(group_id), digest_size=16, person=b"wattledger-batch")
    digest.update(struct.pack(">I", len(names)))
    for name in names:
        digest.update(_text(name))
    digest.update(struct.pack(">qq", start_ns, end_ns))
    return digest.hexdigest()


def inputs_digest(inputs: Sequence[object]) -> str:
    """16 hexadecimal digits for what a batch's rows were computed from, in order.

    Rows of two attempts at one batch share it only if they were made of the same frames under the same models:
    so the rows of an attempt that was never sealed do not mix with those of one that was.
    """
    texts = [str(one).encode() for one in inputs]
    data = b"".join([_LENGTH.pack(len(text)) + text for text in texts])
    return hashlib.blake2b(data, digest_size=8, person=b"wattledger-input").hexdigest()


def seed(batch: str) -> int:
    """The batch's seed for everything drawn at random in it: 64 bits, unsigned."""
    digest = hashlib.blake2b(batch.encode(), digest_size=8, person=b"wattledger-seed")
    return int.from_bytes(digest.digest(), "big")


def _text(text: str) -> bytes:
    data = text.encode()
    return _LENGTH.pack(len(data)) + data


_LENGTH: Final = struct.Struct(">I")
