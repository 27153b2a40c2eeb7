"""Energy frames are decoded alike by the compiled way and by the way of arrays, and refused alike."""

from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings

from schemas import energy_codec
from schemas.energy import EnergyFrame
from schemas.envelope import ENERGY
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
    with mock.patch.object(energy_codec, "_checked", side_effect=AssertionError):
        frame = energy_frame()
        assert meaning(decode_energy(encode_energy(frame))) == meaning(frame)
