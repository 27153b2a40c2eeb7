"""The compiled way of decoding and the way of arrays are one: the same frames, the same refusals."""

from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings

from schemas import iteration_decoder
from schemas.envelope import ITERATIONS
from schemas.errors import InvalidMessage
from schemas.frames import decode_iterations, encode_iterations, prepare
from schemas.iterations import IterationFrame
from tests.samples import iteration_frame
from tests.strategies import iteration_frames
from tools.frame_examples import meaning
from tools.fuzz_frames import mutants, seeds

pytest.importorskip("numba")


def outcome(data: bytes) -> object:
    """What a decoder makes of a message: its meaning, or its refusal."""
    try:
        return meaning(decode_iterations(data))
    except InvalidMessage as error:
        return type(error), str(error)


def outcome_by_arrays(data: bytes) -> object:
    with mock.patch.object(iteration_decoder, "_certify", return_value=None):
        return outcome(data)


@given(iteration_frames())
@settings(max_examples=200)
def test_every_frame_means_the_same_both_ways(frame: IterationFrame):
    data = encode_iterations(frame)
    assert outcome(data) == outcome_by_arrays(data) == meaning(frame)


def test_every_mutant_ends_the_same_both_ways():
    messages = [message for message in seeds() if message[1] == ITERATIONS] + [
        encode_iterations(iteration_frame())
    ]
    ends = set()
    for data in mutants(np.random.default_rng(7), messages, 6000):
        found = outcome(data)
        assert found == outcome_by_arrays(data)
        ends.add(type(found))
    assert ends == {dict, tuple}


def test_ordinary_frames_are_certified():
    """Otherwise the fast way would be there for nothing."""
    with mock.patch.object(iteration_decoder, "decode_arrays", side_effect=AssertionError):
        for seed in range(20):
            frame = iteration_frame(seed)
            assert meaning(decode_iterations(encode_iterations(frame))) == meaning(frame)


@given(iteration_frames())
@settings(max_examples=50)
def test_a_frame_decodes_where_numba_is_missing(frame: IterationFrame):
    with mock.patch.dict("sys.modules", {"schemas.certificate": None}):
        iteration_decoder._certify.cache_clear()
        try:
            assert iteration_decoder._certify() is None
            assert meaning(decode_iterations(encode_iterations(frame))) == meaning(frame)
        finally:
            iteration_decoder._certify.cache_clear()


def test_a_prepared_decoder_compiles_nothing_at_the_first_frame():
    prepare()
    certify = iteration_decoder._certify()
    known = len(certify.signatures)
    decode_iterations(encode_iterations(iteration_frame()))
    assert len(certify.signatures) == known == 1
