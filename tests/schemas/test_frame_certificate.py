"""The compiled way of decoding and the way of arrays are one: the same frames, the same refusals."""

from collections.abc import Iterator
from dataclasses import replace
from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings

from schemas import iteration_decoder
from schemas.envelope import ITERATIONS, pack, unpack
from schemas.errors import InvalidMessage
from schemas.frames import decode_iterations, encode_iterations, prepare
from schemas.iteration_decoder import SHORT, decode_packed
from schemas.iterations import UNRECORDED, IterationFrame
from schemas.packed_iterations import packed, unpacked
from schemas.proto import columns_v1_pb2
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


def fields(payload: bytes) -> list[bytes]:
    """A message's fields, each as a message of its own."""
    message = columns_v1_pb2.IterationFrame.FromString(payload)
    parts = []
    for field, value in message.ListFields():
        for one in value if field.is_repeated else (value,):
            alone = columns_v1_pb2.IterationFrame()
            if field.is_repeated:
                getattr(alone, field.name).append(one)
            else:
                setattr(alone, field.name, one)
            parts.append(alone.SerializeToString())
    return parts


def unusual(parts: list[bytes]) -> Iterator[bytes]:
    """Messages that Protobuf reads and our own writer never writes, or that it refuses."""
    yield b"".join(reversed(parts))  # in another order
    for place, part in enumerate(parts):
        rest = b"".join(parts[:place]), b"".join(parts[place + 1 :])
        yield b"".join((rest[0], part, part, rest[1]))  # twice
        yield b"".join((rest[0], rest[1], part))  # last
        yield b"".join(rest)  # missing
        yield b"".join((rest[0], bytes((part[0] ^ 1,)), part[1:], rest[1]))  # of another wire type
        yield b"".join((rest[0], part[:-1], b"\xff", rest[1]))  # no UTF-8, or a number without end
        yield b"".join((rest[0], part, b"\xfa\x01\x00", rest[1]))  # with an unknown field behind it
        yield b"".join((*rest, part[:-1]))  # cut off
        if part[0] < 128:
            yield b"".join((rest[0], bytes((part[0] | 128, 0)), part[1:], rest[1]))  # a longer tag
            yield b"".join((rest[0], bytes((part[0] | 128, 128, 0)), part[1:], rest[1]))
        if part[-1] < 128 and part[0] & 7 == 0:
            yield b"".join((rest[0], part[:-1], bytes((part[-1] | 128, 0)), rest[1]))  # a longer number


@pytest.mark.parametrize("seed", range(3))
def test_unusual_messages_end_the_same_both_ways(seed: int):
    parts = fields(unpack(ITERATIONS, encode_iterations(iteration_frame(seed))))
    assert b"".join(parts) == unpack(ITERATIONS, encode_iterations(iteration_frame(seed)))
    for payload in unusual(parts):
        data = pack(ITERATIONS, payload)
        assert outcome(data) == outcome_by_arrays(data)


@given(iteration_frames())
@settings(max_examples=100)
def test_a_frame_packed_by_hand_is_unpacked_unchanged(frame: IterationFrame):
    held = packed(frame)
    assert meaning(unpacked(held)) == meaning(frame)
    assert held.earliest_ns == min([frame.start_ns, *frame.iteration_start_ns.tolist()])
    decoded = decode_packed(encode_iterations(frame))
    assert decoded.given_up == held.given_up == (frame.iteration_kind.tolist() == [UNRECORDED])
    assert decoded.earliest_ns == held.earliest_ns
    assert np.array_equal(decoded.wide, held.wide)


def test_ordinary_frames_are_certified():
    """Otherwise the fast way would be there for nothing."""
    with mock.patch.object(iteration_decoder, "decode_arrays", side_effect=AssertionError):
        for seed in range(20):
            frame = iteration_frame(seed)
            assert meaning(decode_iterations(encode_iterations(frame))) == meaning(frame)


def test_texts_that_repeat_are_held_once_and_long_tables_are_not_remembered():
    frame = iteration_frame()
    first, second = (decode_packed(encode_iterations(frame)) for _ in range(2))
    assert first.group_id is second.group_id
    assert first.tenants is second.tenants
    many = tuple(f"tenant-{place}" for place in range(SHORT))
    known = iteration_decoder._tables.cache_info().currsize
    assert decode_packed(encode_iterations(replace(frame, tenants=many))).tenants == many
    assert iteration_decoder._tables.cache_info().currsize == known


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
