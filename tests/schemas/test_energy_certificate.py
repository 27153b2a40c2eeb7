"""Energy frames are decoded alike by the compiled way and by the way of arrays, and refused alike."""

from dataclasses import replace
from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings

from schemas import energy_codec
from schemas.energy import EnergyFrame, Meter
from schemas.envelope import ENERGY, pack
from schemas.errors import InvalidMessage
from schemas.frames import decode_energy, encode_energy
from tests.samples import energy_frame
from tests.strategies import energy_frames
from tools.frame_examples import meaning
from tools.fuzz_frames import mutants, seeds

pytest.importorskip("numba")


def outcome(data: bytes) -> object:
    """What a decoder makes of a message: its meaning, or its refusal."""
    try:
        return meaning(decode_energy(data))
    except InvalidMessage as error:
        return type(error), str(error)


def outcome_by_arrays(data: bytes) -> object:
    with mock.patch.object(energy_codec, "_certify", return_value=None):
        return outcome(data)


@given(energy_frames())
@settings(max_examples=100)
def test_every_frame_means_the_same_both_ways(frame: EnergyFrame):
    data = encode_energy(frame)
    assert outcome(data) == outcome_by_arrays(data) == meaning(frame)


def test_every_mutant_ends_the_same_both_ways():
    messages = [message for message in seeds() if message[1] == ENERGY] + [encode_energy(energy_frame())]
    ends = set()
    for data in mutants(np.random.default_rng(9), messages, 3000):
        found = outcome(data)
        assert found == outcome_by_arrays(data)
        ends.add(type(found))
    assert ends == {dict, tuple}


def test_ordinary_frames_are_certified():
    """Otherwise the fast way would be there for nothing."""
    frame = energy_frame()
    decode_energy(encode_energy(frame))
    with mock.patch.object(energy_codec, "_checked", side_effect=AssertionError):
        assert meaning(decode_energy(encode_energy(frame))) == meaning(frame)


def test_frames_of_one_node_share_what_texts_name():
    first = energy_frame()
    one, other = (decode_energy(encode_energy(replace(first, sequence=number))) for number in (1, 2))
    assert one.meters is other.meters
    assert one.engines is other.engines


def test_frames_with_more_names_than_are_kept_mean_the_same():
    """A dozen meters with long ids have more bytes of names than any frame that is remembered."""
    meters = tuple(Meter("x" * 396 + f"{n:04}", "gpu", "boot-1", "gpu", "counter") for n in range(12))
    frame = replace(energy_frame(), meters=meters)
    held = energy_codec._named.cache_info().currsize
    assert meaning(decode_energy(encode_energy(frame))) == meaning(frame)
    assert energy_codec._named.cache_info().currsize == held


@pytest.mark.parametrize(
    "payload",
    [
        b"\x08\x01\x12\x01a\x12\x01b\x1a\x01n\x22\x01i",  # a field twice: the last counts
        b"\x12\x01a\x08\x01\x1a\x01n\x22\x01i",  # fields in another order
        b"\x08\x01\x12\x01a\x1a\x01n\x22\x01i\x28\x80\x80\x80\x80\x80\x80\x80\x80\x01",  # a number of 57 bits
        b"\x08\x81\x80\x80\x80\x10\x12\x01a\x1a\x01n\x22\x01i",  # a version of more than 32 bits
        b"\x08\x01\x12\x01a\x1a\x01n\x22\x01i\x98\x01\x07",  # a field of a later version
        b"\x08\x01\x12\x01a\x1a\x01n\x22\x01i\x62\x0b\x31" + bytes(8) + b"\x0a\x00",  # base before the id
        b"\x08\x01\x12\x01a\x1a\x01n\x22\x01i\xe2\x00\x04\x0a\x02me",  # a tag longer than it must be
        b"\x08\x01\x12\x01a\x1a\x01n\x22\x01i" + b"\x62\x00" * 40,  # meters without anything
        b"\x08\x01\x12\x01a\x1a\x01n\x22\x02\xc3\x28",  # no UTF-8
        b"\x08\x01\x12\x01a\x1a\x01n\x22\x01i\x31\x00",  # ends inside a number
        b"\x08\x01\x12\x01a\x1a\x01n\x22\x7fi",  # ends inside a text
    ],
)
def test_unusual_bytes_end_the_same_both_ways(payload: bytes):
    data = pack(ENERGY, payload)
    assert outcome(data) == outcome_by_arrays(data)
