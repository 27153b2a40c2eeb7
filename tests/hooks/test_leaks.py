"""The search for leaks finds what is planted in any packing, and nothing in noise."""

import random
import struct

import pytest

from tests.hooks.leaks import leaks, varint

IDS = [409, 311, 487, 223, 461, 379, 433, 271]
RUN = IDS[2:7]


@pytest.mark.parametrize(
    "packed",
    [
        struct.pack("<5H", *RUN),
        struct.pack(">5I", *RUN),
        struct.pack("<5q", *RUN),
        struct.pack("<5H", *RUN).hex().encode(),
        b"".join(map(varint, RUN)),
        b"".join(varint(2 * one) for one in RUN),
        str(RUN).encode(),
        "-".join(map(str, RUN)).encode(),
        "".join(map(chr, RUN)).encode(),
    ],
)
def test_a_run_of_planted_ids_is_found_however_it_is_packed(packed: bytes) -> None:
    noise = random.Random(3).randbytes(997)
    assert leaks([("here", noise + packed + noise)], IDS, [])
    assert not leaks([("here", noise)], IDS, [])


def test_a_word_is_found_and_named() -> None:
    assert leaks([("a frame", b"..w409..")], IDS, ["w409"]) == ["a frame: the word w409"]
