"""Frames survive their codecs unchanged, whatever their shape; what does not hold together is refused by name."""

import dataclasses
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings

from schemas.energy import EnergyFrame
from schemas.errors import InvalidMessage, MalformedMessage, UnknownVersion
from schemas.frames import decode_energy, decode_iterations, encode_energy, encode_iterations
from schemas.iterations import IterationFrame, expand
from tests.samples import energy_frame, iteration_frame
from tests.strategies import energy_frames, iteration_frames


def assert_same(found: object, expected: object) -> None:
    """Every field equal, arrays in value and type."""
    for field in dataclasses.fields(expected):
        one, other = getattr(found, field.name), getattr(expected, field.name)
        if isinstance(other, np.ndarray):
            assert one.dtype == other.dtype, field.name
            assert one.tolist() == other.tolist(), field.name
        else:
            assert one == other, field.name


@given(iteration_frames())
@settings(max_examples=300)
def test_iteration_frames_come_back_unchanged(frame: IterationFrame):
    assert_same(decode_iterations(encode_iterations(frame)), frame)


@given(energy_frames())
@settings(max_examples=300)
def test_energy_frames_come_back_unchanged(frame: EnergyFrame):
    assert_same(decode_energy(encode_energy(frame)), frame)


@given(iteration_frames())
def test_encoding_is_deterministic(frame: IterationFrame):
    assert encode_iterations(frame) == encode_iterations(decode_iterations(encode_iterations(frame)))


@given(iteration_frames())
def test_expand_writes_out_what_a_loop_over_spans_does(frame: IterationFrame):
    rows = expand(frame)
    exceptions = {int(row): place for place, row in enumerate(frame.exception_row)}
    position = 0
    for request, first, length, context in zip(
        frame.span_request.tolist(),
        frame.span_first_iteration.tolist(),
        frame.span_length.tolist(),
        frame.span_entry_context.tolist(),
        strict=True,
    ):
        for iteration in range(first, first + length):
            new, drafts, rejected, emitted = 1, 0, 0, 1
            if position in exceptions:
                place = exceptions[position]
                new = int(frame.exception_new_tokens[place])
                drafts = int(frame.exception_drafts[place])
                rejected = int(frame.exception_rejected[place])
                emitted = int(frame.exception_emitted[place])
            row = (
                rows.iteration[position],
                rows.request[position],
                rows.new_tokens[position],
                rows.context_tokens[position],
                rows.drafts[position],
                rows.emitted[position],
            )
            assert row == (iteration, request, new, context, drafts, emitted)
            context += new - rejected
            position += 1
    assert position == len(rows.iteration)


def test_a_newer_version_is_told_without_decoding():
    data = bytearray(encode_iterations(iteration_frame()))
    data[2] = 7
    with pytest.raises(UnknownVersion, match=r"has 7, this program reads 1"):
        decode_iterations(bytes(data[:3]) + b"anything at all")


def test_a_frame_of_the_other_topic_is_told():
    with pytest.raises(MalformedMessage, match="an energy frame where an iteration frame belongs"):
        decode_iterations(encode_energy(energy_frame()))


@pytest.mark.parametrize("length", [0, 1, 2, 3, 4, 11, 200, -1])
def test_a_truncated_message_is_malformed(length: int):
    for encode, decode, frame in (
        (encode_iterations, decode_iterations, iteration_frame()),
        (encode_energy, decode_energy, energy_frame()),
    ):
        with pytest.raises(MalformedMessage):
            decode(encode(frame)[:length])


def test_bytes_after_a_frame_are_malformed():
    with pytest.raises(MalformedMessage):
        decode_iterations(encode_iterations(iteration_frame()) + b"x")


def _with(field: str, place: int, value: int) -> IterationFrame:
    frame = iteration_frame()
    column = getattr(frame, field).copy()
    column[place] = value
    return replace(frame, **{field: column})


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (replace(iteration_frame(), group_id=""), "group_id"),
        (replace(iteration_frame(), engine_id="x" * 513), "engine_id"),
        (replace(iteration_frame(), start_ns=-1000), "start_ns"),
        (replace(iteration_frame(), start_ns=iteration_frame().start_ns + 1), "start_ns"),
        (replace(iteration_frame(), end_ns=iteration_frame().start_ns - 1000), "end_ns"),
        (replace(iteration_frame(), end_ns=iteration_frame().end_ns + 10**13), "end_ns"),
        (replace(iteration_frame(), watermark_ns=iteration_frame().end_ns + 1000), "watermark_ns"),
        (replace(iteration_frame(), sequence=-1), "sequence"),
        (replace(iteration_frame(), tenants=()), "request_tenant"),
        (replace(iteration_frame(), loads=()), "request_load"),
        (replace(iteration_frame(), request_client_id=("a",)), "request_client_id"),
        (replace(iteration_frame(), span_length=np.zeros(1, np.int32)), "span columns"),
        (replace(iteration_frame(), span_length=np.ones(79)), "span columns: one is of float64"),
        (replace(iteration_frame(), request_prefix_group=np.full(79, -1)), "request_prefix_group: of int64"),
        (_with("iteration_start_ns", 3, 0), "iteration_start_ns"),
        (_with("iteration_start_ns", 3, int(iteration_frame().iteration_start_ns[3]) + 1), "iteration 3"),
        (_with("iteration_end_ns", 3, int(iteration_frame().iteration_start_ns[3])), "iteration_end_ns"),
        (_with("iteration_end_ns", -1, iteration_frame().end_ns + 1000), "iteration_end_ns"),
        (_with("iteration_kind", 0, 9), "iteration_kind"),
        (_with("iteration_padded_tokens", 0, -1), "iteration_padded_tokens"),
        (_with("request_ordinal", 1, int(iteration_frame().request_ordinal[0])), "request_ordinal"),
        (_with("request_ordinal", 1, -1), "request_ordinal"),
        (_with("request_tenant", 0, 99), "request_tenant"),
        (_with("request_adapter", 0, 99), "request_adapter"),
        (_with("request_load_ordinal", 0, 0), "request_load_ordinal"),
        (_with("request_cached_tokens", 0, 1_000_000), "request_cached_tokens"),
        (_with("request_prompt_tokens", 0, -5), "request_prompt_tokens"),
        (_with("span_request", 0, 99_999), "span_request"),
        (_with("span_request", 0, -1), "span_request"),
        (_with("span_request", 1, 0), "span_first_iteration"),
        (_with("span_first_iteration", 0, 49), "span_length"),
        (_with("span_length", 0, 0), "span_length"),
        (_with("span_entry_context", 0, -1), "span_entry_context"),
        (_with("span_entry_context", 0, 2**31 - 3), "context_tokens"),
        (_with("exception_row", 0, 100_000), "exception_row"),
        (_with("exception_row", 1, 0), "exception_row"),
        (_with("exception_new_tokens", 0, 0), "exception_drafts"),
        (_with("exception_drafts", 0, 1_000_000), "exception_drafts"),
        (_with("exception_rejected", 0, 1), "exception_rejected"),
        (_with("exception_emitted", 0, -1), "exception_emitted"),
    ],
)
def test_an_iteration_frame_that_contradicts_itself_is_refused_by_name(frame: IterationFrame, message: str):
    with pytest.raises(MalformedMessage, match=message):
        encode_iterations(frame)


def _reading(field: str, place: int, value: int) -> EnergyFrame:
    frame = energy_frame()
    column = getattr(frame, field).copy()
    column[place] = value
    return replace(frame, **{field: column})


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (replace(energy_frame(), node_id=""), "node_id"),
        (replace(energy_frame(), watermark_ns=energy_frame().end_ns + 1), "watermark_ns"),
        (replace(energy_frame(), meters=energy_frame().meters[:1]), "reading_meter"),
        (replace(energy_frame(), meters=energy_frame().meters[:1] * 4), r"meters\[1\]: .* twice"),
        (replace(energy_frame(), meters=(replace(energy_frame().meters[0], kind="tpu"),)), "kind: 'tpu'"),
        (replace(energy_frame(), reading_uj=energy_frame().reading_uj[:-1]), "reading columns"),
        (replace(energy_frame(), loads=(replace(energy_frame().loads[0], end_ns=1),)), r"loads\[0\].end_ns"),
        (_reading("reading_time_ns", -1, 5), "reading_time_ns"),
        (_reading("reading_time_ns", -1, energy_frame().end_ns + 1), "reading_time_ns"),
        (_reading("reading_uj", -1, 5), "reading_uj"),
        (_reading("reading_uj", 0, -5), "reading_uj"),
        (_reading("reading_meter", 0, -1), "reading_meter"),
    ],
)
def test_an_energy_frame_that_contradicts_itself_is_refused_by_name(frame: EnergyFrame, message: str):
    with pytest.raises(MalformedMessage, match=message):
        encode_energy(frame)


def test_half_a_surrogate_pair_in_an_id_is_refused():
    with pytest.raises(InvalidMessage, match="request_client_id"):
        encode_iterations(replace(iteration_frame(), request_client_id=("\ud800",) * 79))
