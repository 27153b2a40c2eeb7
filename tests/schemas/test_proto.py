"""Generated code is current, and both declarations of a frame are one wire format."""

from pathlib import Path

import pytest
import zstandard
from google.protobuf.descriptor import FieldDescriptor

import schemas
from schemas.frames import encode_iterations
from schemas.proto import columns_v1_pb2, frames_v1_pb2
from tests.samples import iteration_frame
from tools.protoc import stale

ROOT = Path(schemas.__file__).parent.parent


def test_generated_code_is_current():
    assert stale(ROOT) == [], "run `python -m tools.protoc`"


@pytest.mark.parametrize("name", ["IterationFrame", "EnergyFrame", "Meter", "ActiveLoad"])
def test_columns_differ_from_frames_in_packed_numbers_only(name: str):
    frames = frames_v1_pb2.DESCRIPTOR.message_types_by_name[name]
    columns = columns_v1_pb2.DESCRIPTOR.message_types_by_name[name]
    assert list(frames.fields_by_number) == list(columns.fields_by_number)
    for number, field in frames.fields_by_number.items():
        column = columns.fields_by_number[number]
        assert column.name == field.name
        if field.is_packed:
            assert column.type == FieldDescriptor.TYPE_BYTES
        else:
            assert (column.type, column.is_repeated) == (field.type, field.is_repeated)


def test_any_protobuf_reader_reads_the_columns():
    frame = iteration_frame()
    message = frames_v1_pb2.IterationFrame.FromString(zstandard.decompress(encode_iterations(frame)[3:]))
    assert message.schema_version == 1
    assert list(message.request_tenant) == frame.request_tenant.tolist()
    assert list(message.span_length) == frame.span_length.tolist()
    durations_ns = frame.iteration_end_ns - frame.iteration_start_ns
    assert list(message.iteration_duration_us) == (durations_ns // 1000).tolist()
    begins = 0
    for prefix_id, length in zip(frame.request_client_id, message.request_client_id_length, strict=True):
        rest = message.request_client_ids[begins : begins + length]
        assert message.request_client_id_prefix + rest == prefix_id
        begins += length
